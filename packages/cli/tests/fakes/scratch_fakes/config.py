"""Options of the fake parts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LettersConfig:
    upper: bool = False
    sigterm: bool = False
    """The first training in a working directory gets a SIGTERM."""


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    width: int = 4


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    max_length: int = 64


@dataclass(frozen=True, kw_only=True)
class DrawConfig:
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ShiftConfig:
    start: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DeltaConfig:
    merges: bool = True


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    path: str | None = None
    words: int = 8


@dataclass(frozen=True, kw_only=True)
class ClimbConfig:
    steps: int = 20
    lr: float = 0.1
    pause: float = 0.0
    """Seconds that a step takes at least, so that a test can catch a run at work."""
    stop_at: int | None = None
    nan_at: int | None = None
    signal_at: int | None = None
    """Step in which this process gets a SIGINT."""
    wait_at: int | None = None
    """Step in which to wait, after making a file `waiting` in the working directory, until it is removed."""
    errors_at: int | None = None
    """Step in which three completions cannot be judged."""
    raise_at: int | None = None
    """Step that fails once it has sampled."""
    paid_by: str | None = None
    """A run, as one with a reward model; nothing is read from it."""


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    steps: int = 10
    lr: float = 0.5
