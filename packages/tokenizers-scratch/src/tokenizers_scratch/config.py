"""What can be chosen when a tokenizer is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from tokenizers_scratch.patterns import split_pattern
from tokenizers_scratch.special_tokens import ROLES, check_special_tokens

TieRule = Literal["ids", "lexicographic"]

_SPECIAL_TOKENS_HELP = "your own special tokens, after <PAD> <UNK> <BOS> <EOS>, which are ids 0 to 3"


@dataclass(frozen=True, kw_only=True)
class ByteConfig:
    """Options of the `byte` tokenizer."""

    special_tokens: tuple[str, ...] = field(default=(), metadata={"help": _SPECIAL_TOKENS_HELP})

    def __post_init__(self) -> None:
        _check_own_special_tokens(self.special_tokens)


@dataclass(frozen=True, kw_only=True)
class CharConfig:
    """Options of the `char` tokenizer."""

    vocab_size: int | None = field(
        default=None, metadata={"help": "most entries, special tokens included; rarer characters become <UNK>"}
    )
    min_frequency: int = field(default=1, metadata={"help": "characters seen less often become <UNK>"})
    special_tokens: tuple[str, ...] = field(default=(), metadata={"help": _SPECIAL_TOKENS_HELP})

    def __post_init__(self) -> None:
        _check_own_special_tokens(self.special_tokens)
        n_special = len(ROLES) + len(self.special_tokens)
        if self.vocab_size is not None:
            _check_at_least("vocab_size", self.vocab_size, n_special + 1, f"{n_special} special tokens come first")
        _check_at_least("min_frequency", self.min_frequency, 1, "a character never seen cannot be learned")


@dataclass(frozen=True, kw_only=True)
class BPEConfig:
    """Options of the `bpe` tokenizer."""

    vocab_size: int = field(
        default=1024, metadata={"help": "entries wanted: special tokens + 256 bytes + merges; fewer if merges run out"}
    )
    pattern: str = field(
        default="gpt2",
        metadata={"help": "how text is cut into words, which no merge crosses: gpt2, gpt4, none or a regex of yours"},
    )
    min_frequency: int = field(default=2, metadata={"help": "pairs seen less often are not merged"})
    max_token_length: int | None = field(
        default=None, metadata={"help": "no token gets more bytes than this, such as a long run of ====="}
    )
    ties: TieRule = field(
        default="ids",
        metadata={"help": "of equally frequent pairs first: ids (the smallest) or lexicographic (the greatest)"},
    )
    special_tokens: tuple[str, ...] = field(default=(), metadata={"help": _SPECIAL_TOKENS_HELP})

    def __post_init__(self) -> None:
        _check_own_special_tokens(self.special_tokens)
        n_special = len(ROLES) + len(self.special_tokens)
        reason = f"256 bytes and {n_special} special tokens come first"
        _check_at_least("vocab_size", self.vocab_size, 256 + n_special, reason)
        _check_at_least("min_frequency", self.min_frequency, 1, "a pair never seen cannot be merged")
        if self.max_token_length is not None:
            _check_at_least("max_token_length", self.max_token_length, 1, "single bytes are always tokens")
        split_pattern(self.pattern)
        if self.ties not in get_args(TieRule):
            raise ValueError(f"ties: got {self.ties!r}, must be ids or lexicographic: no other rule is known")


def _check_at_least(name: str, value: int, minimum: int, reason: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name}: got {value!r}, must be an integer: it is a count")
    if value < minimum:
        raise ValueError(f"{name}: got {value}, must be at least {minimum}: {reason}")


def _check_own_special_tokens(tokens: tuple[str, ...]) -> None:
    if not isinstance(tokens, tuple) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"special_tokens: got {tokens!r}, must be a tuple of strings: each becomes one id")
    try:
        check_special_tokens((*ROLES.values(), *tokens))
    except ValueError as error:
        raise ValueError(f"special_tokens: got {tokens!r}, must be distinct, writable texts: {error}") from None
