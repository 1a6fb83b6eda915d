"""Reward functions as TRL's users write them, and the reward models of older code, in the form used here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from align_scratch.errors import CheckerFailed
from align_scratch.rewards.composition import Judgement, Reward
from align_scratch.rewards.time_limit import call_within
from align_scratch.tasks.problems import Example

RewardFunction = Callable[..., Sequence[float | None]]
"""`(prompts, completions, **columns) -> list[float | None]`; `answer` is always a column."""


class FunctionReward:
    """A function `(prompts, completions, **columns) -> list[float | None]` as a reward.

    It is called with all completions of a batch, and of the columns (`answer`, and what examples have in a mapping
    `columns`) with those it has parameters for. A list of another length judges nothing: CheckerFailed, which ends the
    run. seconds: how long to wait for a call; see `call_within` for what that can and cannot do. None waits for ever.
    """

    def __init__(self, function: RewardFunction, *, name: str | None = None, seconds: float | None = None) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))
        self.seconds = seconds
        taken = inspect.signature(function).parameters.values()
        self._takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken)
        self._takes = {parameter.name for parameter in taken}

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        return self.judge_all([Example(prompt, answer, answer)], [completion])[0]

    def judge_all(self, examples: Sequence[Any], completions: Sequence[str]) -> list[Judgement]:
        """One judgement a completion. Raises CheckerFailed if the function returns another number of values."""
        columns: dict[str, list[Any]] = {"answer": [example.answer for example in examples]}
        rows = [getattr(example, "columns", {}) for example in examples]
        for name in dict.fromkeys(name for row in rows for name in row):
            columns.setdefault(name, [row.get(name) for row in rows])
        extra = {name: values for name, values in columns.items() if self._takes_all or name in self._takes}
        prompts = [example.prompt for example in examples]
        values = call_within(
            self.seconds,
            f"reward {self.name}",
            lambda: self.function(prompts=prompts, completions=list(completions), **extra),
        )
        if hasattr(values, "tolist"):  # an array or a tensor
            values = values.tolist()
        if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != len(completions):
            got = f"{len(values)} values" if hasattr(values, "__len__") else repr(values)[:60]
            raise CheckerFailed(
                f"reward {self.name}: got {got} for {len(completions)} completions: a reward function returns a list "
                "with one number, or None, for each completion"
            )
        return [Judgement(value) for value in values]


def as_feedback(reward: Reward) -> Callable[[str, str, str], dict[str, float | str | None]]:
    """`reward` as a function of (prompt, completion, answer) giving {"reward": ..., "feedback": ...}."""

    def compute(prompt: str, completion: str, answer: str) -> dict[str, float | str | None]:
        judgement = reward(completion, prompt=prompt, answer=answer)
        return {"reward": judgement.value, "feedback": judgement.explanation}

    return compute


class FeedbackReward:
    """The other way round: a function giving {"reward": ..., "feedback": ...} as a reward."""

    def __init__(self, compute: Callable[[str, str, str], Mapping[str, Any]], *, name: str) -> None:
        self.compute, self.name = compute, name

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        told = self.compute(prompt, completion, answer)
        return Judgement(told["reward"], str(told.get("feedback", "")))
