"""Reward functions as TRL's users write them, and the reward models of older code, in the form used here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from align_scratch.errors import CheckerFailed
from align_scratch.rewards.composition import Judgement, Reward
from align_scratch.rewards.time_limit import call_within

RewardFunction = Callable[..., Sequence[float | None]]
"""`(prompts, completions, **columns) -> list[float | None]`; `answer` is always a column."""


class FunctionReward:
    """A function `(prompts, completions, **columns) -> list[float | None]` as a reward.

    It is called with lists of one, and of the columns with those it has parameters for. A list of another length is no
    judgement of anything: CheckerFailed, which ends the run. seconds: how long to wait for it; see `call_within` for
    what that can and cannot do. None waits for ever.
    """

    takes_columns = True

    def __init__(self, function: RewardFunction, *, name: str | None = None, seconds: float | None = None) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))
        self.seconds = seconds
        taken = inspect.signature(function).parameters.values()
        self._takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken)
        self._takes = {parameter.name for parameter in taken}

    def __call__(self, completion: str, *, prompt: str, answer: str, **columns: Any) -> Judgement:
        given = {"answer": answer, **columns}
        extra = {name: [value] for name, value in given.items() if self._takes_all or name in self._takes}
        values = call_within(
            self.seconds, self.name, lambda: self.function(prompts=[prompt], completions=[completion], **extra)
        )
        if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != 1:
            got = f"{len(values)} values" if hasattr(values, "__len__") else repr(values)[:60]
            raise CheckerFailed(
                f"reward {self.name}: got {got} for 1 completion: a reward function returns a list with one number, "
                "or None, for each completion"
            )
        return Judgement(values[0])


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
