"""Rewards that compare a completion with the answer: as text, by a pattern, as a number, as a choice.

Each is 1.0 for right and 0.0 for wrong. Completions are untrusted: nothing in them is run, and time is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import regex

from align_scratch.rewards.composition import Judgement
from align_scratch.rewards.extraction import Choices, gold, last_box, last_match, last_number, marked_number
from align_scratch.rewards.math_answers import Verdict, compare, read, readable
from align_scratch.tasks.problems import mark

Undecided = Literal["wrong", "masked"]
_SHOWN = 60


def shown(text: str) -> str:
    """At most 60 characters of model text, quoted."""
    return repr(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The completion is the answer, after stripping outer white space; `ignore_case` compares both in lower case."""

    name: str = "exact"
    ignore_case: bool = False

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        if self.ignore_case:
            completion, answer = completion.lower(), answer.lower()
        score = mark(answer, completion)
        return Judgement(float(score.correct), score.explanation)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """The completion matches a regular expression of yours, anywhere in it or (`whole`) as a whole.

    group: compare this group of the last match with the answer, too, after stripping both.
    seconds: a pattern that takes longer raises TimeoutError, which a `Composition` counts and masks. Python's own `re`
        cannot be stopped, so this is the `regex` package's matcher, which understands the same patterns.
    """

    pattern: str
    name: str = "pattern"
    whole: bool = False
    group: int | str | None = None
    seconds: float = 0.1
    _compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.pattern:
            raise ValueError("pattern: got '', must be a regular expression: an empty one matches every completion")
        if not self.seconds > 0:
            raise ValueError(f"seconds: got {self.seconds}, must be positive: it is the time limit of one match")
        try:
            compiled = regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern: got {self.pattern!r}, must be a regular expression: {error}") from error
        if self.group is not None and self.group not in {*range(compiled.groups + 1), *compiled.groupindex}:
            raise ValueError(
                f"group: got {self.group!r}, must be a group of the pattern {self.pattern!r}: it is compared"
            )
        object.__setattr__(self, "_compiled", compiled)

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        if self.whole:
            last = self._compiled.fullmatch(completion, timeout=self.seconds)
        elif self.group is None:
            last = self._compiled.search(completion, timeout=self.seconds)
        else:
            last = last_match(self._compiled.finditer(completion, timeout=self.seconds))
        if last is None:
            return Judgement(0.0, f"does not match {shown(self.pattern)}", unparsed=True)
        if self.group is None:
            return Judgement(1.0)
        got = (last[self.group] or "").strip()
        if got == answer.strip():
            return Judgement(1.0)
        return Judgement(0.0, f"expected {shown(answer.strip())}, got {shown(got)}")


@dataclass(frozen=True, kw_only=True)
class Numeric:
    """The completion's number is the answer's, exactly: $1,600.00 is 1600.

    The answer's is the number after GSM8K's `####`, or in its last box, or its last; an answer whose value is another
    one, such as 1/2 or 10^3, is not judged. mode: "lenient" takes the last
    number of the completion wherever it is, "strict" only one after `####` or in a box. Report both: how they differ
    says what a model knows of the format.
    """

    name: str = "numeric"
    mode: Literal["lenient", "strict"] = "lenient"

    def __post_init__(self) -> None:
        if self.mode not in ("lenient", "strict"):
            raise ValueError(f"mode: got {self.mode!r}, must be lenient or strict: nothing else is built")

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        want = last_number(gold(answer))
        if want is None:
            return Judgement(None, f"the answer {shown(answer)} has no number to compare with")
        if not _is_worth(gold(answer), want):
            return Judgement(None, f"the answer {shown(answer)} is a calculation, not a number: compare it in a box")
        got = last_number(completion) if self.mode == "lenient" else marked_number(completion)
        if got is None:
            where = "no number" if self.mode == "lenient" else "no number after #### or in \\boxed{}"
            return Judgement(0.0, f"{where}, expected {_told(want)}", unparsed=True)
        return Judgement(1.0) if got == want else Judgement(0.0, f"expected {_told(want)}, got {_told(got)}")


def _is_worth(answer: str, number: Fraction) -> bool:
    """Whether the last number of the answer is its value, as far as it can be read at all; 50% counts as 50 here."""
    try:
        value, percent = read(answer)
    except ValueError:
        return True
    return number == (100 * value if percent else value)


def _told(number: Fraction) -> str:
    whole = number.denominator == 1
    text = str(number.numerator) if whole else f"{number.numerator}/{number.denominator}"
    return text if len(text) <= 40 else f"a number of {len(text)} digits"


@dataclass(frozen=True, kw_only=True)
class Boxed:
    """What stands in the last `\\boxed{}` is the answer, by `math_answers.compare`."""

    name: str = "boxed"
    loose_percent: bool = False
    undecided: Undecided = "wrong"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        got = last_box(completion)
        if got is None:
            return Judgement(0.0, "no \\boxed{} with an answer in it", unparsed=True)
        return judge_math(got, answer, loose_percent=self.loose_percent, undecided=self.undecided)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The letter chosen is the answer's; a completion without a letter is wrong, and counted as unparsed."""

    name: str = "choice"
    letters: str = "ABCD"
    _choices: Choices = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_choices", Choices(self.letters))

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        want = answer.strip()
        if len(want) != 1 or want not in self.letters:
            return Judgement(None, f"the answer {shown(answer)} is none of {self.letters}")
        got = self._choices.read(completion)
        if got is None:
            return Judgement(0.0, f"no choice among {self.letters} found, expected {want}", unparsed=True)
        return Judgement(1.0) if got == want else Judgement(0.0, f"expected {want}, got {got}")


def judge_math(got: str, answer: str, *, loose_percent: bool = False, undecided: Undecided = "wrong") -> Judgement:
    """Compare an extracted answer with a data set's.

    undecided: what becomes of a completion where the data's answer itself cannot be read and the texts differ. It is
    counted as `undecided` either way; "wrong" pays 0, "masked" gives no value. Masking leaves only completions that
    repeat the data's spelling, which are right, in the statistics: a group without its wrong ones teaches nothing.
    """
    want = gold(answer)
    verdict = compare(want, got, loose_percent=loose_percent)
    if verdict is Verdict.EQUAL:
        return Judgement(1.0)
    told = f"expected {shown(want)}, got {shown(got.strip())}"
    if verdict is Verdict.NOT_EQUAL:
        return Judgement(0.0, told)
    if readable(want):
        return Judgement(0.0, f"{told}, which cannot be read", unparsed=True)
    value = None if undecided == "masked" else 0.0
    return Judgement(value, f"{told}: the expected answer cannot be read, so other spellings of it cannot be judged",
                     undecided=True)  # fmt: skip
