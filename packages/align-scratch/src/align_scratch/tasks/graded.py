"""Any task with rewards of yours in the place of its own checker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from align_scratch.rewards.composition import Composition
from align_scratch.tasks.problems import Score


class Examples(Protocol):
    """What is needed of the task below."""

    def examples(self, split: str, /) -> Sequence[Any]: ...
    def texts(self, split: str = "train", /) -> Iterable[str]: ...


class Graded:
    """The problems of `task`, marked by `rewards`: what a trainer takes as its task.

    For shaping, for functions of your own (`Composition.from_functions`), or to see a reward hacked: the part that
    says what is `correct` is what evaluations report, whatever is paid.
    """

    def __init__(self, task: Examples, rewards: Composition) -> None:
        self.task, self.rewards = task, rewards
        self.lesson = str(getattr(task, "lesson", ""))

    def examples(self, split: str, /) -> Sequence[Any]:
        return self.task.examples(split)

    def texts(self, split: str = "train", /) -> Iterable[str]:
        return self.task.texts(split)

    def check(self, example: Any, completion: str, /) -> Score:
        """As the rewards judge it. Raises CheckerFailed where a reward function returns a list of another length."""
        return self.rewards.score(_asked(example), completion)

    def check_all(self, examples: Sequence[Any], completions: Sequence[str], /) -> list[Score]:
        """The same for many, each with its example, so that functions of a user's get them all at once."""
        return self.rewards.score_all([_asked(example) for example in examples], completions)


def _asked(example: Any) -> Any:
    """What rewards are to be given: of data, whose `answer` has the form of a template, the bare one instead."""
    return getattr(example, "asked", example)
