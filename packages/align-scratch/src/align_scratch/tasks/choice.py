"""Task `choice`: multiple choice, from a file in the forms of MMLU, ARC and HellaSwag, or drawn.

Two ways of asking. With style `letter` the choices stand in the prompt, A, B, ..., and the letter is read out of what
the model writes, as a person would read it: after "answer is", leading, in brackets, or last. Capitals stay capitals
("a virus" chooses nothing), and a bare list of letters chooses nothing either. With style `text` the choices are not
shown, and the answer is the text of the right one. In both, `choices` gives what a host can compare the likelihoods of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from align_scratch.config.choice import ChoiceConfig
from align_scratch.errors import DataError
from align_scratch.records.reading import Record, read_records
from align_scratch.rewards.extraction import Choices
from align_scratch.tasks.problems import SPLITS, Example, Score, draw_examples, hash_unit

QUESTION, CHOICES, ANSWER = ("question", "ctx"), ("choices", "endings"), ("answer", "answerKey", "label")
"""The names that data sets give the three fields; the first is ours."""
MOST_CHOICES = len(ascii_uppercase)
SUBJECTS = ("largest number", "smallest number", "last letter")
_LOW, _NUMBERS = 10, 90  # drawn questions compare numbers from 10 to 99


@dataclass(frozen=True, slots=True)
class Question(Example):
    """`options` are the texts of the choices, `right` is the place of the right one."""

    options: tuple[str, ...] = ()
    right: int = 0
    subject: str | None = None


class Choice:
    """Questions with `choices`, marked by the letter or the text of the right one."""

    lesson = "Multiple choice: guessing is right in one of as many cases as there are choices, so compare with that."

    def __init__(self, config: ChoiceConfig) -> None:
        """Raises DataError, naming file and line, for a file that holds something else."""
        self.config = config
        self._letters: dict[int, Choices] = {}
        examples: Any
        if config.path is None:
            examples = draw_examples(
                self._drawn,
                space=len(SUBJECTS) * math.perm(_NUMBERS, 4),
                n_train=config.n_train,
                n_held_out=config.n_held_out,
                seed=config.seed,
            )
        else:
            questions = list(read_questions(Path(config.path), style=config.style, limit=config.max_rows))
            examples = {
                split: tuple(q for q in questions if (_unit(q) < config.held_out) == (split == "held_out"))
                for split in SPLITS
            }

        self._examples: Mapping[str, Sequence[Question]] = examples
        self._most = max(len(q.options) for questions in self._examples.values() for q in questions)

    def examples(self, split: str, /) -> Sequence[Question]:
        if split not in SPLITS:
            raise ValueError(f"split: got {split!r}, must be one of {', '.join(SPLITS)}")
        return self._examples[split]

    def texts(self, split: str = "train", /) -> Iterator[str]:
        return (example.prompt + example.demonstration for example in self.examples(split))

    def choices(self, example: Question, /) -> list[str]:
        """What may stand behind the prompt, one for each choice."""
        return [_answer(place, option, self.config.style) for place, option in enumerate(example.options)]

    def check(self, example: Question, completion: str, /) -> Score:
        """Parts `choice`, which is paid, and `parsed`: whether anything was chosen at all."""
        said = self.final_answer(completion, len(example.options))
        want = (
            ascii_uppercase[example.right] if self.config.style == "letter" else _even(example.options[example.right])
        )
        right = said == want
        explanation = ""
        if not right:
            got = "nothing chosen" if said is None else f"chose {said[:40]!r}"
            explanation = f"{got}, expected {want[:40]!r}"
        return Score(float(right), right, {"choice": float(right), "parsed": float(said is not None)}, explanation)

    def final_answer(self, completion: str, n_choices: int | None = None, /) -> str | None:
        """The letter, or the text with even spacing; None if there is none."""
        if self.config.style == "text":
            return _even(completion[:10_000]) or None
        n_choices = n_choices or self._most
        if n_choices not in self._letters:
            self._letters[n_choices] = Choices(ascii_uppercase[:n_choices])
        return self._letters[n_choices].read(completion)

    def _drawn(self, number: int) -> Question:
        kind, number = number % len(SUBJECTS), number // len(SUBJECTS)
        rest, drawn = list(range(_NUMBERS)), []
        for _ in range(4):
            number, place = divmod(number, len(rest))
            drawn.append(rest.pop(place))
        if kind == 2:  # letters: pairs of them, told apart by the second
            options = tuple(f"{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}" for n in drawn)
            right = max(range(4), key=lambda at: options[at])
            question = "Which comes last in the alphabet?"
        else:
            options = tuple(str(n + _LOW) for n in drawn)
            right = (max if kind == 0 else min)(range(4), key=drawn.__getitem__)
            question = f"Which number is the {SUBJECTS[kind].split()[0]}?"
        if self.config.style == "text":
            question = f"{question} {' '.join(options)}"
        return _question(question, options, right, SUBJECTS[kind], self.config.style)


def read_questions(path: Path, *, style: str = "letter", limit: int | None = None) -> Iterator[Question]:
    """The questions of a file, each prompt once. Raises DataError naming file and line."""
    seen: set[str] = set()
    for count, record in enumerate(read_records(path)):
        if limit is not None and count == limit:
            break
        question = _parsed(record, style)
        if question.prompt not in seen:
            seen.add(question.prompt)
            yield question
    if not seen:
        raise DataError(f"{path}: holds no question")


def _parsed(record: Record, style: str) -> Question:
    """A record's question. MMLU counts its answers from 0, ARC names a label, HellaSwag writes the number as text."""
    asked = _field(record, QUESTION)
    if not isinstance(asked, str) or not asked.strip():
        raise DataError(f"{record.where}: the question is {asked!r:.60}, must be text")
    given: Any = _field(record, CHOICES)
    labels: Any = None
    if isinstance(given, dict):  # ARC: {"text": [...], "label": [...]}
        given, labels = given.get("text"), given.get("label")
    if not isinstance(given, list) or not all(isinstance(option, str) and option.strip() for option in given):
        raise DataError(f"{record.where}: the choices are {given!r:.60}, must be a list of texts")
    if not 2 <= len(given) <= MOST_CHOICES:
        raise DataError(f"{record.where}: has {len(given)} choices, must have 2 to {MOST_CHOICES}: one letter each")
    if len({_even(option) for option in given}) < len(given):
        raise DataError(f"{record.where}: two of its choices are the same, so that none of them is right alone")
    right = _place(_field(record, ANSWER), given, labels)
    if right is None:
        answer = _field(record, ANSWER)
        raise DataError(
            f"{record.where}: the answer is {answer!r:.60}, must be a choice's number from 0, its letter, or its text"
        )
    subject = next((record.values[name] for name in ("subject", "category", "activity_label")
                    if isinstance(record.values.get(name), str)), None)  # fmt: skip
    return _question(asked.strip(), tuple(option.strip() for option in given), right, subject, style)


def _field(record: Record, names: Sequence[str]) -> Any:
    for name in names:
        if record.values.get(name) is not None:
            return record.values[name]
    known = ", ".join(f"`{name}`" for name in names)
    raise DataError(f"{record.where}: has none of the fields {known}; a question needs question, choices and answer")


def _place(answer: Any, options: Sequence[str], labels: Any) -> int | None:
    """Which choice the answer means: a text, a label or letter, or a number from 0."""
    if isinstance(answer, str):
        said = answer.strip()
        if isinstance(labels, list) and len(labels) == len(options) and said in labels:
            return labels.index(said)
        for names in (options, ascii_uppercase[: len(options)], [str(place) for place in range(len(options))]):
            if said in names:
                return list(names).index(said)
        return None
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    return None


def _question(asked: str, options: tuple[str, ...], right: int, subject: str | None, style: str) -> Question:
    lines = [f"{ascii_uppercase[place]}. {option}" for place, option in enumerate(options)] if style == "letter" else []
    prompt = "\n".join([f"Question: {asked}", *lines, "Answer:"])
    answer = _answer(right, options[right], style)
    return Question(prompt, answer, answer, options, right, subject)


def _answer(place: int, option: str, style: str) -> str:
    return f" {ascii_uppercase[place]}" if style == "letter" else f" {option}"


def _unit(question: Question) -> float:
    """Where a question stands between 0 and 1; the same for every order of the file and of the choices."""
    asked = question.prompt.partition("\n")[0]
    return hash_unit("\0".join([asked, *sorted(question.options)]), "scratch choice")


def _even(text: str) -> str:
    return " ".join(text.split())
