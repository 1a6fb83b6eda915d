"""Several rewards as one: each judged and logged on its own, then weighted, summed and perhaps gated.

A reward that fails says nothing about the completion. Its part is NaN, the failure is counted, and the completion is
masked by a NaN reward (trainers leave it out of statistics and updates); it is never silently zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

from align_scratch.errors import CheckerFailed
from align_scratch.tasks.problems import Score

_LONGEST = 500  # characters of an explanation


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one reward says of a completion: its `value`, or None if it cannot judge; and why it is no better."""

    value: float | None
    explanation: str = ""
    unparsed: bool = False
    """No answer could be read out of the completion, which is then wrong, and counted apart from other wrong ones."""


class Reward(Protocol):
    """Anything with a name that judges one completion, which is untrusted text, in bounded time."""

    @property
    def name(self) -> str: ...
    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement: ...


class Problem(Protocol):
    @property
    def prompt(self) -> str: ...
    @property
    def answer(self) -> str: ...


class Composition:
    """A checker made of rewards: `score(example, completion)` is what a task's `check` returns.

    rewards: pairs of a reward and its weight; a weight of 0 means that the part is logged and pays nothing.
    correct: name of the part that says whether a completion is right (value >= 1), or a function of all parts; the
        first part, if None.
    gate: name of a part without which nothing is paid: where it is 0 or less the whole reward is 0.
    skip_none: leave a reward that returns None out of the sum, as TRL does, instead of masking the completion. A
        completion that no reward judges is masked either way.
    """

    def __init__(
        self,
        rewards: Sequence[tuple[Reward, float]],
        *,
        correct: str | Callable[[Mapping[str, float]], bool] | None = None,
        gate: str | None = None,
        skip_none: bool = False,
    ) -> None:
        if not rewards:
            raise ValueError("rewards: got none, must be at least one: there is nothing to score by")
        self.rewards = tuple(rewards)
        self.names = tuple(reward.name for reward, _ in self.rewards)
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"rewards: got names {self.names}, must be different: each part is logged by its name")
        for reward, weight in self.rewards:
            if not math.isfinite(weight):
                raise ValueError(
                    f"rewards: got weight {weight} of {reward.name!r}, must be finite: it multiplies a reward"
                )
        for role, name in (("correct", correct), ("gate", gate)):
            if isinstance(name, str) and name not in self.names:
                raise ValueError(f"{role}: got {name!r}, must be one of {', '.join(self.names)}: it names a reward")
        self.correct = self.names[0] if correct is None else correct
        self.gate = gate
        self.skip_none = skip_none
        self.counts: Counter[str] = Counter()
        """`NAME/errors`, `NAME/timeouts`, `NAME/none` and `NAME/unparsed` so far."""

    @classmethod
    def from_functions(
        cls,
        functions: Sequence[Callable[..., Any]],
        weights: Sequence[float] | None = None,
        *,
        seconds: float | None = None,
        **options: Any,
    ) -> Composition:
        """Of functions as TRL takes them: `(prompts, completions, **columns) -> list[float | None]`.

        Columns are `answer` and what the example has in a mapping `columns`. seconds: how long to wait for one call,
        see `time_limit.py`; None waits for ever. options: those of the constructor. Raises CheckerFailed when scoring,
        if a function returns a list of another length.
        """
        from align_scratch.rewards.functions import FunctionReward  # which imports this module

        if weights is None:
            weights = [1.0] * len(functions)
        if len(weights) != len(functions):
            raise ValueError(f"weights: got {len(weights)}, must be {len(functions)}: one for each function")
        rewards: list[Reward] = [FunctionReward(function, seconds=seconds) for function in functions]
        return cls(list(zip(rewards, weights, strict=True)), **options)

    def score(self, example: Problem, completion: str) -> Score:
        """The marks of `completion`, with one part a reward, NaN where that reward failed."""
        parts: dict[str, float] = {}
        explanations: dict[str, str] = {}
        skipped: set[str] = set()
        for reward, _ in self.rewards:
            value, explanation, none = self._judge(reward, example, completion)
            parts[reward.name] = value
            if none and self.skip_none:
                skipped.add(reward.name)
            if explanation:
                explanations[reward.name] = explanation
        total = self._total(parts, skipped)
        correct = math.isfinite(total) and self._is_correct(parts)
        return Score(total, correct, parts, "" if correct else _told(explanations, parts))

    def _judge(self, reward: Reward, example: Problem, completion: str) -> tuple[float, str, bool]:
        columns = getattr(example, "columns", {}) if getattr(reward, "takes_columns", False) else {}
        try:
            judgement = reward(completion, prompt=example.prompt, answer=example.answer, **columns)
            if judgement.unparsed:
                self.counts[f"{reward.name}/unparsed"] += 1
            value, explanation = judgement.value, judgement.explanation
        except CheckerFailed:  # nothing that another completion could mend
            raise
        except TimeoutError as error:
            self.counts[f"{reward.name}/timeouts"] += 1
            return math.nan, f"could not be judged in time: {error}", False
        except Exception as error:  # a user's own code, fed with text that nobody has seen before
            self.counts[f"{reward.name}/errors"] += 1
            return math.nan, f"failed: {type(error).__name__}: {error}", False
        if value is None:
            self.counts[f"{reward.name}/none"] += 1
            return math.nan, explanation or "cannot be judged", True
        if not isinstance(value, Real) or not math.isfinite(value):
            self.counts[f"{reward.name}/errors"] += 1
            return math.nan, f"failed: gave {value!r:.40}, which is no finite number", False
        return float(value), explanation, False

    def _total(self, parts: Mapping[str, float], skipped: set[str]) -> float:
        if self.gate is not None and parts[self.gate] <= 0.0:  # False if the gate itself is NaN
            return 0.0
        if self.gate is not None and math.isnan(parts[self.gate]):
            return math.nan
        counted = [(parts[r.name], w) for r, w in self.rewards if w != 0.0 and r.name not in skipped]
        if not counted:
            return math.nan if skipped else 0.0
        return math.fsum(value * weight for value, weight in counted)  # NaN if any is

    def _is_correct(self, parts: Mapping[str, float]) -> bool:
        return parts[self.correct] >= 1.0 if isinstance(self.correct, str) else bool(self.correct(parts))


def _told(explanations: Mapping[str, str], parts: Mapping[str, Any]) -> str:
    told = "; ".join(f"{name}: {text}" for name, text in explanations.items())
    shown = told or ", ".join(f"{name} {value:g}" for name, value in parts.items())
    return shown[:_LONGEST].encode("utf-8", "replace").decode()  # a log file can hold it
