"""How the options of this package refuse what makes no sense. Imports no torch."""

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


def positive(config: object, *names: str, why: str) -> None:
    """Each of the named options is None or above 0 and finite."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            refuse(name, value, "positive and finite", why)


def within(config: object, low: float, high: float, *names: str, why: str) -> None:
    """Each of the named options is None or between `low` and `high`, both included."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            refuse(name, value, f"between {low} and {high}", why)


def one_of(config: object, name: str, *allowed: str) -> None:
    """The named option is one of the `allowed` words."""
    if getattr(config, name) not in allowed:
        refuse(name, getattr(config, name), f"one of {', '.join(allowed)}", "nothing else is built")


def check_targets(config: object) -> None:
    """`target_modules` is a list of names, not one text."""
    targets = getattr(config, "target_modules")  # noqa: B009
    if isinstance(targets, str) or not all(targets):
        refuse("target_modules", targets, "a list of names", "one layer name, or the last part of it, in each entry")
