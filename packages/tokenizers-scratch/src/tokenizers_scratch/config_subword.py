"""What can be chosen when a word, WordPiece, Unigram or SentencePiece tokenizer is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tokenizers_scratch.patterns import split_pattern
from tokenizers_scratch.special_tokens import ROLES, check_special_tokens

_SPECIAL_TOKENS_HELP = "your own special tokens, after <PAD> <UNK> <BOS> <EOS>, which are ids 0 to 3"

BERT_TOKENS: Mapping[str, str] = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "eos": "[SEP]", "mask": "[MASK]"}
"""The special tokens of BERT, as ids 0 to 4; [CLS] begins a text and [SEP] ends it. `mask` is no role elsewhere."""


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


@dataclass(frozen=True, kw_only=True)
class WordPieceConfig:
    """Options of the `wordpiece` tokenizer."""

    vocab_size: int = field(
        default=2048,
        metadata={
            "help": "entries wanted: special tokens + characters, with and without ## + pieces; fewer if none is left"
        },
    )
    min_frequency: int | None = field(
        default=None,
        metadata={"help": "pairs seen less often are not merged; not set: as high as the text allows, by halving"},
    )
    limit_alphabet: int = field(
        default=1000, metadata={"help": "most characters learned; a word with a rarer one becomes [UNK]"}
    )
    max_word_length: int = field(default=100, metadata={"help": "a word of more characters becomes [UNK]"})
    lowercase: bool = field(default=True, metadata={"help": "whether The and the are one word"})
    strip_accents: bool | None = field(
        default=None, metadata={"help": "whether naïve becomes naive; not set: if lowercase"}
    )
    handle_chinese_chars: bool = field(default=True, metadata={"help": "whether each CJK ideograph is a word"})
    clean_text: bool = field(
        default=True, metadata={"help": "whether control characters are dropped and white space becomes spaces"}
    )
    special_tokens: tuple[str, ...] = field(
        default=(),
        metadata={"help": "your own special tokens, after [PAD] [UNK] [CLS] [SEP] [MASK], which are ids 0 to 4"},
    )

    def __post_init__(self) -> None:
        n_special = _check_own_special_tokens(self.special_tokens, BERT_TOKENS)
        _check_at_least("vocab_size", self.vocab_size, n_special + 1, f"{n_special} special tokens come first")
        if self.min_frequency is not None:
            _check_at_least("min_frequency", self.min_frequency, 2, "a pair seen once gets the best score of all")
        _check_at_least("limit_alphabet", self.limit_alphabet, 1, "pieces are made of characters")
        _check_at_least("max_word_length", self.max_word_length, 1, "words have characters")
        for name in ("lowercase", "handle_chinese_chars", "clean_text"):
            _check_bool(name, getattr(self, name))
        if self.strip_accents is not None:
            _check_bool("strip_accents", self.strip_accents)


@dataclass(frozen=True, kw_only=True)
class UnigramConfig:
    """Options of the `unigram` tokenizer."""

    vocab_size: int = field(
        default=2048,
        metadata={
            "help": "entries wanted: special tokens + 256 bytes, if they are there + pieces; fewer if none is left"
        },
    )
    pattern: str = field(
        default="gpt2",
        metadata={
            "help": "how text is cut into words, which no piece crosses: gpt2, gpt4, none or a regular expression"
        },
    )
    byte_fallback: bool = field(
        default=True,
        metadata={"help": "whether unknown characters are spelled in bytes, so that every text comes back"},
    )
    character_coverage: float = field(
        default=0.9995, metadata={"help": "share of the text whose characters are learned; rarer ones are unknown"}
    )
    max_piece_length: int = field(default=16, metadata={"help": "most characters of a piece"})
    n_seeds: int = field(default=1_000_000, metadata={"help": "how many pieces training begins with, at most"})
    special_tokens: tuple[str, ...] = field(default=(), metadata={"help": _SPECIAL_TOKENS_HELP})

    def __post_init__(self) -> None:
        n_special = _check_own_special_tokens(self.special_tokens)
        _check_bool("byte_fallback", self.byte_fallback)
        _check_learned(self.vocab_size, n_special, self.byte_fallback, self.character_coverage, self.max_piece_length)
        _check_at_least("n_seeds", self.n_seeds, 1, "there is nothing to choose from")
        split_pattern(self.pattern)


@dataclass(frozen=True, kw_only=True)
class SentencePieceConfig:
    """Options of the `sentencepiece` tokenizer."""

    model: Literal["unigram", "bpe"] = field(default="unigram", metadata={"help": "what cuts the text: unigram or bpe"})
    vocab_size: int = field(
        default=2048,
        metadata={
            "help": "entries wanted: special tokens + 256 bytes, if they are there + pieces; fewer if none is left"
        },
    )
    normalization: Literal["identity", "nfkc", "nmt_nfkc"] = field(
        default="identity", metadata={"help": "what becomes of characters: identity, nfkc or nmt_nfkc"}
    )
    add_dummy_prefix: bool = field(
        default=True,
        metadata={"help": "whether a text begins with a space of its own, so its first word is as any other"},
    )
    remove_extra_whitespaces: bool = field(
        default=False, metadata={"help": "whether spaces at both ends go, and runs of spaces become one"}
    )
    byte_fallback: bool = field(
        default=True, metadata={"help": "whether unknown characters are spelled in bytes, so that they come back"}
    )
    character_coverage: float = field(
        default=0.9995, metadata={"help": "share of the text whose characters are learned; rarer ones are unknown"}
    )
    max_piece_length: int = field(default=16, metadata={"help": "most characters of a piece"})
    split_by_unicode_script: bool = field(
        default=True, metadata={"help": "whether a piece has letters of one script only, and digits apart"}
    )
    min_frequency: int = field(default=2, metadata={"help": "bpe: pairs seen less often are not merged"})
    n_seeds: int = field(default=1_000_000, metadata={"help": "unigram: how many pieces training begins with, at most"})
    special_tokens: tuple[str, ...] = field(default=(), metadata={"help": _SPECIAL_TOKENS_HELP})

    def __post_init__(self) -> None:
        n_special = _check_own_special_tokens(self.special_tokens)
        if self.model not in ("unigram", "bpe"):
            raise ValueError(f"model: got {self.model!r}, must be unigram or bpe: no other is known")
        if self.normalization not in ("identity", "nfkc", "nmt_nfkc"):
            raise ValueError(
                f"normalization: got {self.normalization!r}, must be identity, nfkc or nmt_nfkc: no other is known"
            )
        for name in ("add_dummy_prefix", "remove_extra_whitespaces", "byte_fallback", "split_by_unicode_script"):
            _check_bool(name, getattr(self, name))
        _check_learned(self.vocab_size, n_special, self.byte_fallback, self.character_coverage, self.max_piece_length)
        _check_at_least("min_frequency", self.min_frequency, 1, "a pair never seen cannot be merged")
        _check_at_least("n_seeds", self.n_seeds, 1, "there is nothing to choose from")


def _check_learned(
    vocab_size: int, n_special: int, byte_fallback: bool, character_coverage: float, max_piece_length: int
) -> None:
    reserved = n_special + 256 * byte_fallback
    reason = f"{n_special} special tokens{' and 256 bytes' if byte_fallback else ''} come first"
    _check_at_least("vocab_size", vocab_size, reserved + 1, reason)
    if not isinstance(character_coverage, float | int) or not 0 < character_coverage <= 1:
        raise ValueError(
            f"character_coverage: got {character_coverage!r}, must be above 0 and at most 1: it is a share of the text"
        )
    _check_at_least("max_piece_length", max_piece_length, 1, "pieces have characters")


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
