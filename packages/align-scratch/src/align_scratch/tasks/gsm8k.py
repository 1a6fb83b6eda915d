"""Task `gsm8k`: grade-school word problems whose answers are numbers (Cobbe et al. 2021, "Training verifiers ...").

From a file or directory of yours, or from the Hugging Face hub where there is a network. Solutions are shown without
their calculator marks (`<<48/2=24>>`). Where the answer must stand is a matter of the template: behind `####`, in
`<answer>` tags (r1_zero) or in a box (question_only). That is what is paid for; the part `lenient` says what the last
number anywhere would have earned, and the two together tell not knowing the answer from not knowing the form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from align_scratch.config.data import GSM8KConfig
from align_scratch.errors import DataError, NotAvailable
from align_scratch.records.fields import Message, Row, read_rows, worked_solution
from align_scratch.rewards.composition import Composition, Judgement
from align_scratch.rewards.extraction import answer_block, last_number, marked_number
from align_scratch.rewards.matching import Numeric
from align_scratch.rewards.reasoning import OneBox, OneBoxFormat, ThinkAnswer, ThinkAnswerFormat
from align_scratch.tasks.file import identity, split_by_hash
from align_scratch.tasks.rows import RowTask

HUB = "openai/gsm8k"
REVISION = "e53f048856ff4f594e959d75785d2c2d37b678ee"
"""The commit of the hub's data that is read unless another is asked for, so that a run means the same next year."""
_HUB_FILES = {"train": "main/train-00000-of-00001.parquet", "held_out": "main/test-00000-of-00001.parquet"}
_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
SAMPLE = "sample of gsm8k's kind"


@dataclass(frozen=True, kw_only=True)
class OneMark:
    """`#### ` exactly once: who lists many answers has none."""

    name: str = "format"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        count = completion.count("####")
        return Judgement(1.0) if count == 1 else Judgement(0.0, f"#### must be there exactly once, not {count} times")


def checker(template: str) -> Composition:
    """Parts `format`, a gate that pays nothing; `strict`, 1 for the right answer where it must stand; `lenient`."""
    lenient = Numeric(name="lenient")
    if template == "r1_zero":
        strict, form = ThinkAnswer(name="strict"), ThinkAnswerFormat()
        return Composition([(form, 0.0), (strict, 1.0), (lenient, 0.0)], correct="strict", gate="format")
    if template == "question_only":
        return Composition(
            [(OneBoxFormat(), 0.0), (OneBox(name="strict"), 1.0), (lenient, 0.0)], correct="strict", gate="format"
        )
    marked = Numeric(name="strict", mode="strict")
    return Composition([(OneMark(), 0.0), (marked, 1.0), (lenient, 0.0)], correct=_marked_once, gate="format")


def _marked_once(parts: Mapping[str, float]) -> bool:
    return parts["format"] >= 1.0 and parts["strict"] >= 1.0


class GSM8K(RowTask):
    """The test file, where there is one, is held out; problems that are in both files are not trained on."""

    def __init__(self, config: GSM8KConfig) -> None:
        """Raises DataError for files that are not GSM8K's, NotAvailable if the hub is out of reach."""
        self.config = config
        if config.path is not None:
            source, sides = config.path, _local(Path(config.path))
        elif config.source == "sample":
            source, sides = SAMPLE, split_by_hash(sample(), 0.25, SAMPLE)
        else:
            revision = config.revision or REVISION
            source, sides = HUB, {split: _read(_from_hub(name, revision)) for split, name in _HUB_FILES.items()}
        held_out = {identity(row) for row in sides["held_out"]}
        train = [row for row in sides["train"] if identity(row) not in held_out]
        rows = {"train": train[: config.n_train], "held_out": sides["held_out"][: config.n_held_out]}
        if not all(rows.values()):
            raise DataError(f"{source}: no problem is left to train on, or none to hold out")
        super().__init__(rows, template=config.template, checker=checker(config.template), source=source)
        self.lesson = f"Read {len(rows['train'])} training and {len(rows['held_out'])} held-out problems of {source}."

    def final_answer(self, completion: str, /) -> str | None:
        """The number that a completion ends with, for a vote among several: 1,600 and 1600.0 are one answer."""
        block = answer_block(completion)
        readings = (last_number(block) if block else None, marked_number(completion), last_number(completion))
        return next((str(number) for number in readings if number is not None), None)

    def bare(self, answer: str) -> str:
        return super().bare(answer) if self.template in ("r1_zero", "question_only") else f"#### {answer}"


def _local(path: Path) -> dict[str, list[Row]]:
    """The sides of a directory with a train and a test file, or of one file, split by hash."""
    if not path.is_dir():
        return split_by_hash(_read(path), 1 / 8, str(path))
    found = {}
    for split, word in (("train", "train"), ("held_out", "test")):
        files = sorted(
            file
            for pattern in (f"*{word}*", f"main/*{word}*")
            for file in path.glob(pattern)
            if file.name.endswith(_ENDINGS) and "socratic" not in file.name
        )
        gsm8k = [file for file in files if "gsm8k" in file.name]
        files = gsm8k or files
        if len(files) != 1:
            what = f"{len(files)} files" if files else "no file"
            raise DataError(
                f"{path}: has {what} with {word!r} in the name and one of the endings {', '.join(_ENDINGS)}, must have "
                "one; or name a single file, which is then split"
            )
        found[split] = _read(files[0])
    return found


def _read(path: Path) -> list[Row]:
    """Rows of GSM8K. Raises DataError at the first one without a gold answer behind `####`."""
    rows = []
    for row in read_rows(path):
        if row.completion is None or row.answer is None or "####" not in row.completion:
            raise DataError(
                f"{row.where}: is no problem of GSM8K, which has `question` and `answer` with the gold answer behind "
                "`#### `; for other data take task file"
            )
        rows.append(row)
    return rows


def _from_hub(name: str, revision: str) -> Path:
    """The local copy of a file of the data set as of `revision`, fetched once.

    Raises NotAvailable saying what is missing.
    """
    instead = "or give a local copy: --data gsm8k_train.jsonl, or task.path=DIRECTORY with train and test files"
    try:
        import huggingface_hub
    except ImportError as error:
        raise NotAvailable(
            f"task gsm8k: fetching {HUB} needs huggingface_hub, which is not installed: "
            f"pip install 'align-scratch[hub]', {instead}"
        ) from error
    try:
        return Path(huggingface_hub.hf_hub_download(repo_id=HUB, filename=name, repo_type="dataset", revision=revision))
    except Exception as error:  # whatever the network, the hub or its cache raise: the file is not there
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise NotAvailable(
            f"task gsm8k: {HUB}/{name} of revision {revision} is neither in the cache nor could it be fetched "
            f"({reason}): go online, {instead}"
        ) from error


def sample() -> Sequence[Row]:
    """96 problems in GSM8K's form, written for this package: to try the task without its data."""
    rows = []
    for number in range(96):
        who, thing = ("Ada", "Ben", "Cleo", "Dan")[number % 4], ("apples", "books", "coins")[number % 3]
        a, b, c = 10 + number, 3 + number % 7, 2 + number % 5
        if number % 2:
            question = f"{who} has {a} {thing}, gives {b} away and then buys {c} more. How many {thing} has {who} now?"
            solution = (
                f"After giving {b} away {who} has {a}-{b}=<<{a}-{b}={a - b}>>{a - b} {thing}.\n"
                f"With {c} more these are {a - b}+{c}=<<{a - b}+{c}={a - b + c}>>{a - b + c}.\n#### {a - b + c}"
            )
        else:
            question = f"{who} fills {c} boxes with {a} {thing} each and keeps {b} besides. How many {thing} are there?"
            solution = (
                f"The boxes hold {c}*{a}=<<{c}*{a}={c * a}>>{c * a} {thing}.\n"
                f"Together there are {c * a}+{b}=<<{c * a}+{b}={c * a + b}>>{c * a + b}.\n#### {c * a + b}"
            )
        completion, answer = worked_solution(solution)
        message = Message("user", question)
        rows.append(Row(f"{SAMPLE}, line {number + 1}", context=(message,), completion=completion, answer=answer))
    return rows
