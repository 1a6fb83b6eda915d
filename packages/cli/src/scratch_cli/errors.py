"""What can go wrong, one class for each exit code. A user sees the message as one line and no traceback."""

from __future__ import annotations


class ScratchError(Exception):
    """A failure with a message for the user: what, where, and what to do."""

    exit_code = 1


class RunFailed(ScratchError):
    """The run itself failed: non-finite loss, full disk, no gradient."""

    exit_code = 1


class UsageError(ScratchError):
    """A misspelt name, a wrong value, parts that do not fit together."""

    exit_code = 2


class DataError(ScratchError):
    """Input data that cannot be used; names the file and the place in it."""

    exit_code = 3


class PluginError(ScratchError):
    """A part that is missing or whose plugin is broken."""

    exit_code = 4


class CheckpointError(ScratchError):
    """No intact checkpoint, or one that belongs to something else."""

    exit_code = 5
