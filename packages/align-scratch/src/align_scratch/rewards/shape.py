"""Rewards for how a completion looks: its length and its tags. Alone they can be hacked: weigh them lightly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from align_scratch.rewards.composition import Judgement


def words(text: str) -> int:
    return len(text.split())


def soft_overlong(length: float, *, longest: float, cache: float) -> float:
    """DAPO's soft overlong punishment (Yu et al. 2025, eq. 13): 0 up to longest - cache, then down to -1 at longest."""
    if length <= longest - cache:
        return 0.0
    return max(-1.0, (longest - cache - length) / cache) if cache > 0 else -1.0


@dataclass(frozen=True, kw_only=True)
class Overlong:
    """`soft_overlong` of the completion; `measure` counts characters, unless it is `words` or a function of yours."""

    longest: float
    cache: float
    name: str = "overlong"
    measure: Callable[[str], float] = len

    def __post_init__(self) -> None:
        if not 0 <= self.cache <= self.longest:
            raise ValueError(f"cache: got {self.cache}, must be between 0 and longest ({self.longest}): it ends there")

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        length = self.measure(completion)
        value = soft_overlong(length, longest=self.longest, cache=self.cache)
        return Judgement(
            value, "" if value == 0.0 else f"length {length:g}, wanted at most {self.longest - self.cache:g}"
        )


@dataclass(frozen=True, kw_only=True)
class Length:
    """1 for a length between `least` and `most`; outside, less by 1 / `slack` for each unit, down to 0."""

    least: float = 0
    most: float
    slack: float = 0
    name: str = "length"
    measure: Callable[[str], float] = len

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most:
            raise ValueError(f"least: got {self.least}, must be between 0 and most ({self.most}): it begins a range")
        if not self.slack >= 0:
            raise ValueError(f"slack: got {self.slack}, must be at least 0: it is the width of a slope")

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        length = self.measure(completion)
        beyond = max(self.least - length, length - self.most, 0)
        if beyond == 0:
            return Judgement(1.0)
        value = max(0.0, 1.0 - beyond / self.slack) if self.slack > 0 else 0.0
        return Judgement(value, f"length {length:g}, wanted {self.least:g} to {self.most:g}")


@dataclass(frozen=True, kw_only=True)
class Tags:
    """Each tag opened and closed exactly once, one after another: <think>...</think> ... <answer>...</answer>."""

    tags: tuple[str, ...] = ("think", "answer")
    name: str = "tags"

    def __post_init__(self) -> None:
        if not self.tags or not all(self.tags):
            raise ValueError(f"tags: got {self.tags!r}, must be names: there is nothing to look for")

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        at = 0
        for tag in (form for name in self.tags for form in (f"<{name}>", f"</{name}>")):
            if (count := completion.count(tag)) != 1:
                return Judgement(0.0, f"{tag} must be there exactly once, not {count} times")
            if (place := completion.index(tag)) < at:
                return Judgement(0.0, f"{tag} stands before what it should follow")
            at = place + len(tag)
        return Judgement(1.0)
