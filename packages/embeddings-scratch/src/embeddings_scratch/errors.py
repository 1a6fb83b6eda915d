"""What can be wrong with a user's data, and with a run. Hosts may use `exit_code` as the exit code of a command."""

from __future__ import annotations


class CorpusError(ValueError):
    """Texts that no word vector can be learnt from; names the counts and the option that would help."""

    exit_code = 3


class VectorsFileError(ValueError):
    """Saved vectors that cannot be used; names the file, what was expected and what was found."""

    exit_code = 3


class DivergedError(ArithmeticError):
    """The loss left the range of floating-point numbers."""

    exit_code = 1
