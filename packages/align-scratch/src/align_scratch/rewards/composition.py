"""Several rewards as one: each judged and logged on its own, then weighted, summed and perhaps gated.

A reward that fails says nothing about the completion. Its part is NaN, the failure is counted, and the completion is
masked by a NaN reward (trainers leave it out of statistics and updates); it is never silently zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
    undecided: bool = False
    """An answer was read, and it could not be decided whether it is the right one: also counted apart."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A judgement after the check that it is one: `value` is NaN where it failed."""

    value: float
    told: str
    none: bool = False
    counts: tuple[str, ...] = ()
    """What this is counted as."""


class Reward(Protocol):
    """Anything with a name that judges one completion, which is untrusted text, in bounded time.

    One that also has `judge_all(examples, completions) -> list[Judgement]` gets all completions of a batch at once.
    """

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
    gate: name of a part without which nothing is paid and nothing correct: where it is 0 or less, the reward is 0.
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
        """`NAME/errors`, `NAME/timeouts`, `NAME/none`, `NAME/unparsed` and `NAME/undecided` so far. Of one completion
        its score says the same, which is how trainers and evaluations come to report them."""

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
        return self.score_all([example], [completion])[0]

    def score_all(self, examples: Sequence[Problem], completions: Sequence[str]) -> list[Score]:
        """The marks of each completion, by the example of the same row. Functions of a user's get all rows at once."""
        found = {reward.name: self._judged(reward, examples, completions) for reward, _ in self.rewards}
        return [self._together({name: rows[row] for name, rows in found.items()}) for row in range(len(completions))]

    def _together(self, found: Mapping[str, _Found]) -> Score:
        parts = {name: one.value for name, one in found.items()}
        counts = Counter(f"{name}/{kind}" for name, one in found.items() for kind in one.counts)
        self.counts += counts
        total, is_open = self._total(found), self.gate is None or parts[self.gate] > 0.0
        if math.isfinite(total) and is_open and self._is_correct(parts):
            return Score(total, True, parts, counts=counts)
        told = _told({name: one.told for name, one in found.items() if one.told}, parts)
        return Score(total, False, parts, told, counts)

    def _judged(self, reward: Reward, examples: Sequence[Problem], completions: Sequence[str]) -> list[_Found]:
        judge_all = getattr(reward, "judge_all", None)
        if judge_all is None:
            rows = zip(examples, completions, strict=True)
            return [_found(partial(_judge, reward, *row)) for row in rows]
        failed: Exception | None = None
        judgements: list[Judgement] = []
        try:
            judgements = judge_all(examples, completions)
        except CheckerFailed:
            raise
        except Exception as error:  # the user's own code; it costs all rows their marks
            failed = error

        def one(row: int) -> Judgement:
            if failed is not None:
                raise failed
            return judgements[row]

        return [_found(partial(one, row)) for row in range(len(completions))]

    def _total(self, found: Mapping[str, _Found]) -> float:
        if self.gate is not None and not found[self.gate].value > 0.0:
            return math.nan if math.isnan(found[self.gate].value) else 0.0
        counted = [(found[r.name], w) for r, w in self.rewards if w != 0.0]
        skipped = [one for one, _ in counted if one.none and self.skip_none]
        if counted and len(skipped) == len(counted):
            return math.nan
        total = sum(one.value * weight for one, weight in counted if not (one.none and self.skip_none))
        return total if math.isfinite(total) else math.nan  # NaN if any part is

    def _is_correct(self, parts: Mapping[str, float]) -> bool:
        return parts[self.correct] >= 1.0 if isinstance(self.correct, str) else bool(self.correct(parts))


def _found(judge: Callable[[], Judgement]) -> _Found:
    """The judgement, or why there is none."""
    try:
        judgement = judge()
        value, told = judgement.value, judgement.explanation
        counts = tuple(kind for kind in ("unparsed", "undecided") if getattr(judgement, kind, False))
    except CheckerFailed:  # nothing that another completion could mend
        raise
    except TimeoutError as error:
        return _Found(math.nan, f"could not be judged in time: {error}", counts=("timeouts",))
    except Exception as error:  # a user's own code, fed with text that nobody has seen before
        return _Found(math.nan, f"failed: {type(error).__name__}: {error}", counts=("errors",))
    if value is None:
        return _Found(math.nan, told or "cannot be judged", none=True, counts=(*counts, "none"))
    if not isinstance(value, Real) or not math.isfinite(value):
        return _Found(math.nan, f"failed: gave {value!r:.40}, which is no finite number", counts=(*counts, "errors"))
    return _Found(float(value), told, counts=counts)


def _judge(reward: Reward, example: Problem, completion: str) -> Judgement:
    return reward(completion, prompt=example.prompt, answer=example.answer)


def _told(explanations: Mapping[str, str], parts: Mapping[str, Any]) -> str:
    told = "; ".join(f"{name}: {text}" for name, text in explanations.items())
    shown = told or ", ".join(f"{name} {value:g}" for name, value in parts.items())
    return shown[:_LONGEST].encode("utf-8", "replace").decode()  # a log file can hold it
