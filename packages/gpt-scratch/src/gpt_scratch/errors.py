"""What can go wrong besides a wrong option. `exit_code` is what a command line should end with."""

from __future__ import annotations


class ModelFileError(ValueError):
    """A saved model that cannot be used: damaged, incomplete, or of another model. Names the file and the field."""

    exit_code = 5


class StateError(ValueError):
    """A training state that belongs to another model or to other data."""

    exit_code = 5


class CorpusError(ValueError):
    """A text that cannot be learned from or judged on: too short for one window, or empty."""

    exit_code = 3


class NonFiniteError(RuntimeError):
    """The loss or the gradient is NaN or infinite; the weights are those from before the step.

    `step` counts from 1, `window_starts` are the places in the token stream where the windows of that step begin.
    """

    exit_code = 1

    def __init__(self, message: str, *, step: int, window_starts: list[int]) -> None:
        super().__init__(message)
        self.step = step
        self.window_starts = window_starts
