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


class VocabularyTooSmallError(TokenizerDataError):
    """The training text needs more entries than there may be; says how many."""

    def __init__(self, vocab_size: int, needed: int, reason: str) -> None:
        super().__init__(f"vocab_size {vocab_size} is too small for this text: it needs at least {needed}, {reason}")
        self.vocab_size = vocab_size
        self.needed = needed


class UnknownIdError(TokenizerDataError):
    """An id that no token has; names the id and the size of the vocabulary."""

    def __init__(self, token_id: object, vocab_size: int) -> None:
        super().__init__(f"id {token_id!r} is no token: ids are the integers 0 to {vocab_size - 1}")
        self.token_id = token_id
        self.vocab_size = vocab_size


class SpecialTokenError(TokenizerDataError):
    """Text holds a special token although the caller asked for an error in that case."""


class PatternTimeoutError(TokenizerDataError):
    """A split pattern that takes too long on a text; names both."""

    def __init__(self, pattern: str, n_characters: int, seconds: float) -> None:
        shown = pattern if len(pattern) <= 80 else pattern[:77] + "..."
        super().__init__(f"the pattern {shown!r} took more than {seconds:.1f} s on {n_characters} characters of text")
        self.pattern = pattern


class UnsupportedExportError(TokenizerDataError):
    """A tokenizer that a file of another tool cannot hold so that the tool gives the same ids; says why."""

    def __init__(self, form: str, reason: str) -> None:
        super().__init__(f"cannot be written as {form}: {reason}")
        self.reason = reason


class UnsupportedComponentError(TokenizerFileError):
    """A `tokenizer.json` with a component that is not implemented here; names it and its place."""

    def __init__(self, path: Path, place: str, component: str) -> None:
        super().__init__(path, f"{place}: {component} is not supported")
        self.component = component
