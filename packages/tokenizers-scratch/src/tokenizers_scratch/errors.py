"""What can be wrong with the data a tokenizer is given. `exit_code` 3 is "bad data" for a command-line host."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class TokenizerDataError(ValueError):
    """Data that a tokenizer cannot use; the message says what and where."""

    exit_code: ClassVar[int] = 3


class TokenizerFileError(TokenizerDataError):
    """A file that is missing, damaged, of another kind or hostile; names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class EmptyCorpusError(TokenizerDataError):
    """There is no text to learn a vocabulary from."""


class UnknownIdError(TokenizerDataError):
    """An id that no token has; names the id and the size of the vocabulary."""

    def __init__(self, token_id: object, vocab_size: int) -> None:
        super().__init__(f"id {token_id!r} is no token: ids are the integers 0 to {vocab_size - 1}")
        self.token_id = token_id
        self.vocab_size = vocab_size


class SpecialTokenError(TokenizerDataError):
    """Text holds a special token although the caller asked for an error in that case."""
