"""What can go wrong here beyond a wrong value: each class carries the exit code that a command should end with."""

from __future__ import annotations


class DataError(ValueError):
    """A file of data that cannot be used; the message names the file and the byte or line where it went wrong."""

    exit_code = 3


class DoesNotFit(ValueError):
    """Parts that are fine alone and wrong together: a task too long for the model, a sampler that RL cannot use."""

    exit_code = 2


class TrainingDiverged(RuntimeError):
    """The loss or the gradient is no longer finite. Raised before the optimizer step, so the weights are still good."""

    exit_code = 1


class CheckerFailed(RuntimeError):
    """A task's checker could not judge a single completion of a batch, so there is nothing to learn from."""

    exit_code = 1


class NotAvailable(RuntimeError):
    """Something that lies outside of this package and is not there: an optional library, the network, a cached file."""

    exit_code = 4
