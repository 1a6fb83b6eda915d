"""Graders by name, for data that brings prompts and answers: what a file's task, or a user, chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from align_scratch.rewards.composition import Composition
from align_scratch.rewards.matching import Boxed, Choice, Exact, Numeric, Pattern, Undecided
from align_scratch.rewards.reasoning import question_only, r1_zero

GRADERS: Mapping[str, Callable[[Undecided], Composition]] = {
    "exact": lambda _: Composition([(Exact(), 1.0)]),
    "numeric": lambda _: Composition([(Numeric(), 1.0), (Numeric(name="strict", mode="strict"), 0.0)]),
    "boxed": lambda undecided: Composition([(Boxed(undecided=undecided), 1.0)]),
    "r1_zero": lambda undecided: r1_zero(undecided=undecided),
    "question_only": lambda undecided: question_only(undecided=undecided),
    "choice": lambda _: Composition([(Choice(), 1.0)]),
}
"""Each pays 1 for a right answer and 0 for a wrong one; `numeric` also logs, unpaid, what a strict reading accepts."""


def grader(name: str, *, pattern: str | None = None, undecided: Undecided = "wrong") -> Composition:
    """The grader of that name, or `pattern`: a regular expression that a completion must match.

    undecided: see `judge_math`, of boxed, r1_zero and question_only.

    Raises ValueError for a name that there is not.
    """
    if name == "pattern":
        return Composition([(Pattern(pattern=pattern or ""), 1.0)])
    if name not in GRADERS:
        raise ValueError(f"grader: got {name!r}, must be one of {', '.join(GRADERS)}, pattern: nothing else is built")
    return GRADERS[name](undecided)
