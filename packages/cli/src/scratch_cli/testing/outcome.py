"""What a check can say: nothing (passed), CheckFailed, or CheckSkipped."""

from __future__ import annotations


class CheckFailed(AssertionError):
    """A part does not behave as the contract says; the message names the input and what was seen."""


class CheckSkipped(Exception):
    """The check cannot be made here, for example because no partner that the part needs is installed."""


def require(condition: object, message: str) -> None:
    """Raise CheckFailed with `message` unless `condition` holds. Unlike `assert`, also under `python -O`."""
    if not condition:
        raise CheckFailed(message)
