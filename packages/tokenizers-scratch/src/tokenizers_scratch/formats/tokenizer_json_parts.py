"""What every `tokenizer.json` is put together from: the file as a whole, its steps, and tokens that are told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.errors import UnsupportedExportError
from tokenizers_scratch.special_tokens import SpecialTokens

Json = dict[str, Any]

BYTE_LEVEL: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
FROM_BYTE_LEVEL: Json = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
FUSE: Json = {"type": "Fuse"}


def tokenizer_json_of(
    tokenizer: BaseTokenizer,
    *,
    model: Json,
    normalizer: Json | None = None,
    pre_tokenizer: Json | None = None,
    decoder: Json | None = None,
) -> Json:
    """The content of a file with these parts, and the special tokens."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    special = sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": token, **plain, "special": True} for token, i in special],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def bpe_model(vocab: Mapping[str, int], merges: Sequence[Sequence[str]] = (), **options: Any) -> Json:
    """A BPE model."""
    plain = {
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return {"type": "BPE", **plain, **options, "vocab": dict(vocab), "merges": [list(merge) for merge in merges]}


def split_step(pattern: Json, behavior: str = "Isolated", *, invert: bool = False) -> Json:
    """A pre-tokenizer that cuts by a pattern."""
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def replace_step(pattern: Json, content: str) -> Json:
    """A normalizer or a decoder that puts `content` where the pattern is."""
    return {"type": "Replace", "pattern": pattern, "content": content}


def unk_of(tokenizer: BaseTokenizer) -> str | None:
    """The special token of what a tokenizer does not know."""
    return next((token for token, i in tokenizer.special_tokens.items() if i == tokenizer.unk_id), None)


def without_clash(tokens: Iterable[str]) -> dict[str, int]:
    """Tokens as texts -> ids. Raises UnsupportedExportError if two are written alike, or one cannot be written."""
    vocab: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if token in vocab:
            raise UnsupportedExportError("tokenizer.json", f"ids {vocab[token]} and {i} are both written {token!r}")
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise UnsupportedExportError("tokenizer.json", f"id {i} holds a lone surrogate, which no file can hold")
        vocab[token] = i
    return vocab


def in_order(vocab: Mapping[str, int], special: SpecialTokens | None = None) -> list[str]:
    """Tokens by id, without special ones if these are given."""
    left_out = special.ids if special is not None else {}
    tokens = sorted(vocab, key=lambda token: vocab[token])
    if [vocab[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError("ids are missing")
    return [token for token in tokens if token not in left_out]
