"""What can be chosen when a word, WordPiece, Unigram or SentencePiece tokenizer is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenizers_scratch.special_tokens import ROLES, check_special_tokens

_SPECIAL_TOKENS_HELP = "your own special tokens, after <PAD> <UNK> <BOS> <EOS>, which are ids 0 to 3"


@dataclass(frozen=True, kw_only=True)
class WordConfig:
    """Options of the `word` tokenizer."""

    vocab_size: int | None = field(
        default=None, metadata={"help": "most entries, special tokens included; rarer words become <UNK>"}
    )
    min_frequency: int = field(default=2, metadata={"help": "words seen less often become <UNK>"})
    lowercase: bool = field(default=False, metadata={"help": "whether The and the are one word"})
    special_tokens: tuple[str, ...] = field(default=(), metadata={"help": _SPECIAL_TOKENS_HELP})

    def __post_init__(self) -> None:
        n_special = _check_own_special_tokens(self.special_tokens)
        if self.vocab_size is not None:
            _check_at_least("vocab_size", self.vocab_size, n_special + 1, f"{n_special} special tokens come first")
        _check_at_least("min_frequency", self.min_frequency, 1, "a word never seen cannot be learned")
        _check_bool("lowercase", self.lowercase)


def _check_at_least(name: str, value: int, minimum: int, reason: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name}: got {value!r}, must be an integer: it is a count")
    if value < minimum:
        raise ValueError(f"{name}: got {value}, must be at least {minimum}: {reason}")


def _check_bool(name: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: got {value!r}, must be true or false: there is nothing between")


def _check_own_special_tokens(tokens: tuple[str, ...], standard: Mapping[str, str] = ROLES) -> int:
    """How many special tokens there are, the user's `tokens` and the standard ones."""
    if not isinstance(tokens, tuple) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"special_tokens: got {tokens!r}, must be a tuple of strings: each becomes one id")
    try:
        check_special_tokens((*standard.values(), *tokens))
    except ValueError as error:
        raise ValueError(f"special_tokens: got {tokens!r}, must be distinct, writable texts: {error}") from None
    return len(standard) + len(tokens)
