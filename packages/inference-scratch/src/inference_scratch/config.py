"""Options of the samplers. Free of torch, so that listing and validating options stays quick."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_TEMPERATURE = field(
    default=1.0, metadata={"help": "divides the logits: below 1 sharpens, above 1 flattens the distribution"}
)


def _number(name: str, value: object) -> float:
    """`value` if it is a finite number; True is no number here, though Python says so."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}: got {value!r}, must be a number")
    if not math.isfinite(value):
        raise ValueError(f"{name}: got {value!r}, must be finite")
    return value


def _check_temperature(value: object) -> None:
    # Below 1e-5 the quotient leaves fp32 and nothing but the largest logit is left anyway.
    if _number("temperature", value) < 1e-5:
        raise ValueError(
            f"temperature: got {value!r}, must be at least 1e-5: dividing by it has to leave finite logits; "
            "for the most probable id every time use the sampler 'greedy'"
        )


def _check_top_k(value: object, *, least: int, why: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"top_k: got {value!r}, must be a whole number: it counts ids")
    if value < least:
        raise ValueError(f"top_k: got {value!r}, must be at least {least}: {why}")


@dataclass(frozen=True, kw_only=True)
class GreedyConfig:
    """Options of `greedy`: none."""


@dataclass(frozen=True, kw_only=True)
class MultinomialConfig:
    """Options of `multinomial`."""

    temperature: float = _TEMPERATURE

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)


@dataclass(frozen=True, kw_only=True)
class TopKConfig:
    """Options of `top-k`."""

    temperature: float = _TEMPERATURE
    top_k: int = field(default=50, metadata={"help": "how many of the most probable ids stay; ties with the last stay"})

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        _check_top_k(self.top_k, least=1, why="one id has to stay; 'multinomial' samples from all")


@dataclass(frozen=True, kw_only=True)
class TopPConfig:
    """Options of `top-p`."""

    temperature: float = _TEMPERATURE
    top_k: int = field(default=0, metadata={"help": "keep only this many ids before top_p looks at them; 0 keeps all"})
    top_p: float = field(
        default=0.9, metadata={"help": "share of the probability to keep; the id that crosses it stays"}
    )

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        _check_top_k(self.top_k, least=0, why="it counts ids; 0 keeps all")
        if not 0 < _number("top_p", self.top_p) <= 1:
            raise ValueError(f"top_p: got {self.top_p!r}, must be above 0 and at most 1: it is a share of probability")
