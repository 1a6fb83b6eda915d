"""How every configuration here declares its options and refuses values that make no sense.

A configuration is a frozen, keyword-only dataclass; nothing under `config` imports more than the standard library, so
that a host can list and check options without loading torch.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any


def option(default: Any, help: str) -> Any:
    """A field with its default and the line that describes it to a user."""
    return field(default=default, metadata={"help": help})


def refuse(name: str, got: object, must: str, why: str) -> None:
    """Raises ValueError: `name: got X, must be ...: why`."""
    raise ValueError(f"{name}: got {got!r}, must be {must}: {why}")


def at_least(config: object, least: float, *names: str, why: str) -> None:
    """Each of the named options is None or not below `least`."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:  # `not >=` also catches NaN
            refuse(name, value, f"at least {least}", why)


def within(config: object, low: float, high: float, *names: str, why: str) -> None:
    """Each of the named options is None or between `low` and `high`, both included."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            refuse(name, value, f"between {low} and {high}", why)


def positive(config: object, *names: str, why: str) -> None:
    """Each of the named options is None or above 0 and finite."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            refuse(name, value, "positive and finite", why)


def check_betas(config: object) -> None:
    """The decay rates `beta1` and `beta2` of AdamW."""
    for name in ("beta1", "beta2"):
        if not 0.0 <= getattr(config, name) < 1.0:
            refuse(name, getattr(config, name), "at least 0 and below 1", "it is a decay rate")


def one_of(config: object, name: str, *allowed: str) -> None:
    """The named option is one of the `allowed` words."""
    if getattr(config, name) not in allowed:
        refuse(name, getattr(config, name), f"one of {', '.join(allowed)}", "nothing else is built")
