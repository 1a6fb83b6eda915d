"""Tasks made of data: what a file offers, what it has not got, how it is split, and GSM8K."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from align_scratch.config.data import FileConfig, GSM8KConfig, InstructionsConfig
from align_scratch.config.sft import SFTConfig
from align_scratch.demonstrations import encode_rows
from align_scratch.errors import CheckerFailed, DataError, NotAvailable
from align_scratch.records.fields import Message, Row
from align_scratch.rewards.composition import Composition
from align_scratch.sft import SFT
from align_scratch.tasks.file import File, built_in, identity, split_by_hash
from align_scratch.tasks.graded import Graded
from align_scratch.tasks.gsm8k import GSM8K, checker, sample
from align_scratch.tasks.instructions import KINDS, Instructions
from align_scratch.tasks.problems import hash_unit
from align_scratch.tasks.rows import MissingField
from align_scratch.templates import TEMPLATES

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def write(path: Path, records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def both(task: Any, what: str) -> Iterator[Any]:
    for split in ("train", "held_out"):
        yield from getattr(task, what)(split)


# --- file ----------------------------------------------------------------------------------------------------------


def test_demonstrations(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [{"prompt": f"{i} =", "completion": f" {i * i}"} for i in range(50)])
    task = File(FileConfig(path=path))
    examples = list(both(task, "examples"))
    assert len(examples) == 50
    assert all(e.demonstration == e.answer == e.gold for e in examples)
    first = task.examples("train")[0]
    assert task.check(first, first.answer).correct
    assert not task.check(first, "x").correct
    assert next(iter(task.texts())) == first.prompt + first.demonstration
    assert task.lesson.startswith(f"Read {len(task.examples('train'))} rows of {path} and held")
    with pytest.raises(ValueError, match="split: got 'test', must be one of train, held_out"):
        task.examples("test")


def test_demonstrations_with_answers_are_marked_by_the_answer(tmp_path: Path) -> None:
    records = [{"prompt": f"{i}?", "completion": f"so it is {i}.5", "answer": f"{i}.5"} for i in range(9)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records), checker="numeric"))
    example = task.examples("train")[0]
    assert (example.demonstration, example.answer) == (f"so it is {example.gold}", example.gold)
    assert task.check(example, example.demonstration).correct
    assert task.check(example, f"$ {example.gold}0").correct
    assert not task.check(example, example.gold + " or 7").correct


def test_pairs_labels_and_margins(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i}", "chosen": "good", "rejected": "bad", "margin": i} for i in range(20)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records)))
    pairs = list(both(task, "pairs"))
    assert len(pairs) == 20
    assert {pair.margin for pair in pairs} == set(map(float, range(20)))
    assert (pairs[0].chosen, pairs[0].rejected) == ("good", "bad")
    labelled = task.labelled("train")
    assert [(x.completion, x.label) for x in labelled[:2]] == [("good", True), ("bad", False)]
    assert task.examples("train")[0].demonstration == "good"
    prompts = [{pair.prompt for pair in task.pairs(split)} for split in ("train", "held_out")]
    assert not prompts[0] & prompts[1]


def test_labelled_completions(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i}", "completion": "x", "label": i % 2 == 0} for i in range(20)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records)))
    assert sum(x.label for x in both(task, "labelled")) == 10
    assert len(list(both(task, "examples"))) == 10  # what was not liked is not shown
    with pytest.raises(MissingField, match=r"has no `chosen` and `rejected`, so there are no pairs: add both, or let"):
        task.pairs("train")
    disliked = [{**record, "label": False} for record in records]
    with pytest.raises(MissingField, match="every `label` is false, so there is nothing to show"):
        File(FileConfig(path=write(tmp_path / "e.jsonl", disliked))).examples("train")


def test_texts(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"name {i % 30}" for i in range(60)))
    task = File(FileConfig(path=str(path), held_out=0.3))
    sides = [set(task.texts(split)) for split in ("train", "held_out")]
    assert len(sides[0] | sides[1]) == 30
    assert not sides[0] & sides[1]
    with pytest.raises(MissingField, match=r"has only `text`, and problems need `prompt` with .*trainer pretrain"):
        task.examples("train")
    assert not hasattr(task, "pairs")  # as trainers ask
    assert not hasattr(task, "labelled")


def test_prompts_alone_cannot_be_marked_or_imitated(tmp_path: Path, parts: Any) -> None:
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", [{"prompt": f"ask {i}"} for i in range(9)])))
    with pytest.raises(MissingField, match=r"has no `answer`, .* so nothing can be marked: add `answer`") as e:
        task.check(task.examples("train")[0], "x")
    assert e.value.exit_code == 3
    assert not hasattr(task, "check")  # as trainers ask
    with pytest.raises(DataError, match="has no demonstration to imitate; sft needs data with `completion`"):
        SFT(SFTConfig(), **parts(task))


def test_conversations(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    records = [{"messages": [{"role": "user", "content": f"{i}"}, talk[1], *talk]} for i in range(9)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records)))
    assert task.template == "chat"
    example = task.examples("train")[0]
    assert [piece.text for piece in example.pieces if piece.reply] == ["b", "b"]
    assert "".join(piece.text for piece in example.pieces[:-1]) == example.prompt
    assert example.prompt.endswith("<|im_start|>assistant\n")
    forged = [*records, {"messages": [{"role": "user", "content": "<|im_end|>"}, *talk[1:]]}]
    with pytest.raises(DataError, match=r"line 10: a message holds '<\|im_end\|>', by which the template 'chat' tells"):
        File(FileConfig(path=write(tmp_path / "e.jsonl", forged)))


def test_assistant_only_learns_every_reply_and_otherwise_the_last(tmp_path: Path) -> None:
    reply = {"role": "assistant", "content": "bcd"}
    records = [
        {"messages": [{"role": "user", "content": f"{i}"}, reply, {"role": "user", "content": "a"}, reply]}
        for i in range(9)
    ]
    examples = File(FileConfig(path=write(tmp_path / "d.jsonl", records))).examples("train")
    tokenizer = SimpleNamespace(eos_id=0, encode_batch=lambda texts: [[1 + b for b in t.encode()] for t in texts])
    (every, *_), (last, *_) = (encode_rows(tokenizer, examples, assistant_only=x) for x in (True, False))
    assert every.reads == last.reads
    assert every.learned == 2 * last.learned == 8


def test_the_split_is_a_matter_of_the_prompt_alone(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i % 40}", "completion": f"c{i}"} for i in range(120)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records), held_out=0.25))
    sides = [{e.prompt for e in task.examples(split)} for split in ("train", "held_out")]
    assert not sides[0] & sides[1]
    assert len(list(both(task, "examples"))) == 120  # several completions of a prompt are kept
    grown = records + [{"prompt": f"new {i}", "completion": "x"} for i in range(100)]
    later = File(FileConfig(path=write(tmp_path / "e.jsonl", grown), held_out=0.25))
    assert sides[1] <= {e.prompt for e in later.examples("held_out")}
    assert not sides[1] & {e.prompt for e in later.examples("train")}


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("share", [1e-9, 0.1, 0.5])
def test_both_sides_have_something(n: int, share: float) -> None:
    rows = [Row(f"line {i}", text=f"text {i}") for i in range(n)]
    sides = split_by_hash(rows, share, "file")
    assert sides["train"]
    assert sides["held_out"]
    assert len(sides["train"]) + len(sides["held_out"]) == n
    if share == 0.5 and n == 7:
        expected = [row for row in rows if hash_unit(identity(row), "scratch split") < 0.5]
        assert sides["held_out"] == expected


def test_a_file_of_its_own_to_hold_out(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [{"prompt": f"p{i}", "answer": "1"} for i in range(10)])
    test = write(tmp_path / "b.jsonl", [{"prompt": f"p{i}", "answer": "1"} for i in range(8, 12)])
    task = File(FileConfig(path=train, held_out_path=test))
    assert [e.prompt for e in task.examples("train")] == [f"p{i}" for i in range(8)]
    assert [e.prompt for e in task.examples("held_out")] == ["p8", "p9", "p10", "p11"]
    assert "Left 2 out of training, whose prompts are held out." in task.lesson
    with pytest.raises(DataError, match=r"every prompt is in .*a\.jsonl, too: none is left"):
        File(FileConfig(path=train, held_out_path=train))


def test_faulty_rows_stop_or_are_counted(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i}", "chosen": "a", "rejected": "a" if i == 3 else "b"} for i in range(10)]
    path = write(tmp_path / "d.jsonl", records)
    with pytest.raises(DataError, match="line 4: `chosen` and `rejected` are the same"):
        File(FileConfig(path=path))
    task = File(FileConfig(path=path, bad_rows="skip"))
    assert task.skipped == {"chosen equals rejected": 1}
    assert "Skipped faulty ones: 1 chosen equals rejected." in task.lesson
    with pytest.raises(DataError, match="every record was skipped: 1 chosen equals rejected"):
        File(FileConfig(path=write(tmp_path / "e.jsonl", records[3:4]), bad_rows="skip"))
    with pytest.raises(DataError, match="has one prompt or text only, and a split needs two"):
        File(FileConfig(path=write(tmp_path / "f.jsonl", records[:1])))


def test_templates_and_graders(tmp_path: Path) -> None:
    records = [{"prompt": f"{i}+1?", "answer": str(i + 1)} for i in range(12)]
    path = write(tmp_path / "d.jsonl", records)
    for name in TEMPLATES:
        task = File(FileConfig(path=path, template=name))  # type: ignore[arg-type]
        for example in both(task, "examples"):
            assert task.check(example, example.answer).correct, name
            assert task.check(example, example.demonstration).correct, name
            assert not task.check(example, "no").correct, name
    choices = write(tmp_path / "e.jsonl", [{"prompt": f"{i}?", "answer": "ABCD"[i % 4]} for i in range(12)])
    task = File(FileConfig(path=choices, checker="choice"))
    example = task.examples("train")[0]
    assert task.check(example, f"The answer is ({example.gold})").correct
    task = File(FileConfig(path=path, checker="pattern", pattern=r"^\d+$"))
    assert task.check(task.examples("train")[0], "77").correct
    with pytest.raises(ValueError, match=r"pattern: got '\(', must be a regular expression"):
        File(FileConfig(path=path, checker="pattern", pattern="("))


def test_a_solution_that_has_a_box_already_is_shown_with_one(tmp_path: Path) -> None:
    """As in MATH: the grader wants exactly one box, so a demonstration with two would teach what earns nothing."""
    records = [
        {"prompt": f"{i}+1?", "completion": f"It is $\\boxed{{{i + 1}}}$.", "answer": f"{i + 1}"} for i in range(9)
    ]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records), template="question_only"))
    for example in both(task, "examples"):
        assert task.check(example, example.demonstration).correct
        assert example.demonstration == f"It is ${example.gold}$.\nThe answer is \\boxed{{{example.gold}}}."


def test_the_built_in_sums() -> None:
    task = File(FileConfig())
    assert len(built_in()) == 200 == len({identity(row) for row in built_in()})
    example = task.examples("train")[0]
    assert eval_sum(example.prompt) == int(example.answer)
    assert all(pair.chosen != pair.rejected for pair in both(task, "pairs"))


def eval_sum(prompt: str) -> int:
    left, right = prompt.removeprefix("What is ").removesuffix("? ").split(" + ")
    return int(left) + int(right)


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (FileConfig, {"held_out": 0.0}, "held_out: got 0.0, must be above 0 and at most 0.5"),
        (FileConfig, {"template": "llama"}, "template: got 'llama', must be one of auto, chat"),
        (FileConfig, {"checker": "llm"}, "checker: got 'llm', must be one of auto, exact"),
        (FileConfig, {"checker": "pattern"}, "pattern: got None, must be given with checker=pattern"),
        (FileConfig, {"pattern": "x"}, "pattern: got 'x', must be given with checker=pattern, and only then"),
        (FileConfig, {"held_out_path": "x"}, "held_out_path: got 'x', must be none without path"),
        (FileConfig, {"max_rows": 1}, "max_rows: got 1, must be at least 2"),
        (FileConfig, {"bad_rows": "fix"}, "bad_rows: got 'fix', must be one of error, skip"),
        (GSM8KConfig, {"source": "web"}, "source: got 'web', must be one of hub, sample"),
        (GSM8KConfig, {"n_train": 0}, "n_train: got 0, must be at least 1"),
        (InstructionsConfig, {"length": 1}, "length: got 1, must be between 2 and 16"),
        (
            InstructionsConfig,
            {"template": "r1_zero"},
            "template: got 'r1_zero', must be one of chat, alpaca, qa, plain",
        ),
    ],
)
def test_options_that_make_no_sense(cls: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**wrong)


# --- gsm8k ---------------------------------------------------------------------------------------------------------


def test_strict_and_lenient_are_told_apart() -> None:
    score = checker("qa").score
    problem = SimpleNamespace(prompt="", answer="1,600")
    for completion, expected in {
        "It is 1,500+100.\n#### 1600": (1, 1, 1),
        "It is 1600.": (0, 0, 1),
        "#### 1600.00": (1, 1, 1),
        "#### 1600 #### 1600": (0, 1, 1),
        "#### 1500\nor 1600": (1, 0, 1),
        "#### $1,600": (1, 1, 1),
        "####": (1, 0, 0),
        "": (0, 0, 0),
    }.items():
        marks = score(problem, completion)
        assert (marks.parts["format"], marks.parts["strict"], marks.parts["lenient"]) == expected, completion
        assert marks.correct == (marks.reward == 1.0) == (expected[:2] == (1, 1)), completion
    assert checker("r1_zero").score(problem, "x </think> <answer> 1600 </answer>").correct
    assert checker("question_only").score(problem, "so \\boxed{1600}").correct
    assert not checker("question_only").score(problem, "#### 1600").correct


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_template_accepts_its_demonstrations(name: str) -> None:
    task = GSM8K(GSM8KConfig(source="sample", template=name))  # type: ignore[arg-type]
    for example in both(task, "examples"):
        assert task.check(example, example.demonstration).correct
        assert task.check(example, example.answer).correct
        assert "<<" not in example.demonstration
        assert "####" not in example.demonstration or name not in ("r1_zero", "question_only")


@pytest.mark.parametrize("name", ["qa", "r1_zero", "question_only"])
def test_rewards_of_a_users_get_the_bare_answer(name: Any) -> None:
    """And not the completion that the template makes of it, which no reward could read."""
    seen = []

    def told(prompts: list[str], completions: list[str], answer: list[str]) -> list[float]:
        seen.extend(answer)
        return [1.0] * len(answer)

    task = GSM8K(GSM8KConfig(source="sample", template=name))
    example = task.examples("train")[0]
    shaped = Graded(task, Composition.from_functions([told]))
    assert shaped.check(example, "x").reward == shaped.check_all([example], ["x"])[0].reward == 1.0
    assert seen == [example.gold] * 2
    assert Graded(task, checker(name)).check(example, example.demonstration).correct


def test_the_samples_golds_are_right() -> None:
    for row in sample():
        numbers = [int(word) for word in row.context[0].content.replace(".", "").split() if word.isdigit()]
        gold = int(row.answer or "")
        keeps = "keeps" in row.context[0].content
        assert gold == (numbers[0] * numbers[1] + numbers[2] if keeps else numbers[0] - numbers[1] + numbers[2])


def gsm(n: int, start: int = 0) -> list[dict[str, str]]:
    return [{"question": f"q{i}?", "answer": f"<<1+{i}=2>>x\n#### {i}"} for i in range(start, start + n)]


def test_local_files_and_directories(tmp_path: Path) -> None:
    single = GSM8K(GSM8KConfig(path=write(tmp_path / "gsm8k_train.jsonl", gsm(40))))
    assert len(list(both(single, "examples"))) == 40
    with pytest.raises(DataError, match="has no file with 'test' in the name and one of the endings"):
        GSM8K(GSM8KConfig(path=str(tmp_path)))
    (tmp_path / "gsm8k_test.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, gsm(6, 38))).encode()))
    whole = GSM8K(GSM8KConfig(path=str(tmp_path), n_held_out=5))
    assert len(whole.examples("train")) == 38  # two of them are in the test file
    assert [e.gold for e in whole.examples("held_out")] == ["38", "39", "40", "41", "42"]
    assert whole.examples("held_out")[0].prompt == "Question: q38?\nAnswer: "
    write(tmp_path / "train.jsonl", gsm(3))
    assert len(GSM8K(GSM8KConfig(path=str(tmp_path))).examples("train")) == 38  # the one that has gsm8k in its name
    (tmp_path / "gsm8k_test.jsonl.gz").rename(tmp_path / "test.jsonl.gz")
    (tmp_path / "gsm8k_train.jsonl").rename(tmp_path / "train-2.jsonl")
    with pytest.raises(DataError, match="has 2 files with 'train' in the name"):
        GSM8K(GSM8KConfig(path=str(tmp_path)))
    with pytest.raises(DataError, match=r"line 1: is no problem of GSM8K, which has `question` and `answer`"):
        GSM8K(GSM8KConfig(path=write(tmp_path / "x.jsonl", [{"prompt": "a", "answer": "b"}])))
    with pytest.raises(DataError, match=r"line 1: is no problem of GSM8K"):
        GSM8K(GSM8KConfig(path=write(tmp_path / "x.jsonl", [{"question": "a", "answer": "no gold"}])))


def test_the_hub_out_of_reach(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        NotAvailable, match=r"needs huggingface_hub, .*pip install 'align-scratch\[hub\]', or give"
    ) as e:
        GSM8K(GSM8KConfig())
    assert e.value.exit_code == 4

    def offline(**_: Any) -> str:
        raise OSError("no route to host\nmore")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=offline))
    with pytest.raises(
        NotAvailable,
        match=r"openai/gsm8k/main/train-.*parquet of revision \w+ is neither in the cache .*no route to ho",
    ):
        GSM8K(GSM8KConfig())


def test_the_hub_in_reach(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("pyarrow", reason="the hub's files are Parquet: extra align-scratch[hub]")
    import pyarrow
    import pyarrow.parquet

    def fetch(*, repo_id: str, filename: str, repo_type: str, revision: str) -> str:
        assert (repo_id, repo_type) == ("openai/gsm8k", "dataset")
        path = tmp_path / filename.replace("/", "-")
        rows = gsm(9) if "train" in filename else gsm(4, 20)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return str(path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=fetch))
    task = GSM8K(GSM8KConfig())
    assert (len(task.examples("train")), len(task.examples("held_out"))) == (9, 4)


def test_the_real_thing() -> None:
    """Counts of the published test file; golds with commas and signs included."""
    if not (DATA / "gsm8k_test.jsonl").exists():
        pytest.skip("the GSM8K files are not here")
    task = GSM8K(GSM8KConfig(path=str(DATA)))
    held_out = task.examples("held_out")
    assert len(held_out) == 1319
    assert len(task.examples("train")) > 7400
    golds = [example.gold for example in held_out]
    values = [int(gold.replace(",", "")) for gold in golds]
    assert sum(value >= 1000 for value in values) == 131
    assert sum("," in gold for gold in golds) == 14
    assert sum(value < 0 for value in values) == 2
    assert not any("<<" in example.demonstration for example in held_out)
    for example in held_out:
        assert task.check(example, example.demonstration).correct
    assert not {e.prompt for e in held_out} & {e.prompt for e in task.examples("train")}


# --- instructions --------------------------------------------------------------------------------------------------


def test_instructions() -> None:
    task = Instructions(InstructionsConfig(n_train=600, n_held_out=100))
    examples = list(both(task, "examples"))
    assert len(examples) == 700
    words = [e.prompt.split("### Instruction:\n")[1].split("\n")[0] for e in examples]
    for text, example in zip(words, examples, strict=True):
        items = [word.strip(".?") for word in text.split() if len(word.strip(".?")) == 1]
        expected = {
            "Write": " ".join(items).upper() if "capitals" in text else " ".join(reversed(items)),
            "Repeat": " ".join(items),
            "How": str(len(items)),
            "Sort": " ".join(sorted(items)),
            "What": (items or [""])[0] if "first" in text else (items or [""])[-1],
        }[text.split()[0]]
        assert example.answer == (max(items) if "largest" in text else expected), text
    starts = {text.split(" of ")[0].split(" ")[0] for text in words}
    assert starts == {"Write", "Repeat", "What", "How", "Sort"}
    assert task.check(examples[0], examples[0].answer).correct
    assert len(KINDS) == 8


def test_a_small_space_gives_what_it_has() -> None:
    task = Instructions(InstructionsConfig(length=2, n_train=4500, n_held_out=600, template="plain"))
    prompts = [e.prompt for e in both(task, "examples")]
    assert len(prompts) == len(set(prompts)) > 3000


def test_an_instruction_stands_on_one_side_whatever_the_template() -> None:
    sides = {}
    for name in ("alpaca", "plain"):
        task = Instructions(InstructionsConfig(n_train=300, n_held_out=60, template=name))  # type: ignore[arg-type]
        texts = [[e.prompt for e in task.examples(split)] for split in ("train", "held_out")]
        sides[name] = [{text.split("### Instruction:\n")[-1].split("\n")[0] for text in side} for side in texts]
    assert not sides["alpaca"][0] & sides["plain"][1]
    assert not sides["plain"][0] & sides["alpaca"][1]


def test_sft_on_a_file_learns_it(tmp_path: Path, parts: Any) -> None:
    """End to end: from lines on disk to exact match on prompts that were held out."""
    words = [f"{a}{b}" for a in "abcdefghijklm" for b in "abcdefghijklm"]
    path = write(tmp_path / "d.jsonl", [{"prompt": f"{w} =", "completion": w[::-1]} for w in words])
    built = parts(File(FileConfig(path=path)), n_embd=48)
    trainer = SFT(SFTConfig(steps=120, batch_size=32, lr=1e-2, packing="buckets"), **built)
    for _ in trainer.train():
        pass
    after = trainer.evaluate()
    assert after["exact_match"] == after["greedy"] >= 0.5  # chance: 1 in 169
    assert torch.isfinite(torch.tensor([v for v in after.values() if v is not None])).all()


def test_a_checker_that_cannot_mark_anything_says_why(tmp_path: Path, parts: Any) -> None:
    from align_scratch.evaluation import Evaluation

    records = [{"prompt": f"a {i}", "answer": "many"} for i in range(9)]
    built = parts(File(FileConfig(path=write(tmp_path / "d.jsonl", records), checker="numeric")))
    del built["seed"]
    with pytest.raises(CheckerFailed, match=r"none of .* could be marked: .*the answer 'many' has no number"):
        Evaluation(max_new_tokens=2, **built).run()


def test_messages_stand_for_prompts() -> None:
    row = Row("x", context=(Message("user", "a"),))
    assert identity(row) != identity(Row("x", context=(Message("system", "a"),)))
    assert identity(row) == identity(Row("x", context=(Message("user", "a \n"),)))  # one question, on one side
