"""`tokenizer.json` for tokenizers that are made of scored pieces, which are `unigram` and `sentencepiece`.

What HF tokenizers says otherwise than these two stands in `tokenizer_json_kinds.py`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.errors import UnsupportedExportError
from tokenizers_scratch.formats.tokenizer_json_parts import (
    FUSE,
    Json,
    bpe_model,
    in_order,
    replace_step,
    split_step,
    tokenizer_json_of,
    unk_of,
    without_clash,
)
from tokenizers_scratch.patterns import PATTERNS, published_form
from tokenizers_scratch.scripts import MARKER
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.sentencepiece_rules import CompiledRules
from tokenizers_scratch.sentencepiece_text import TO_NOTHING, TO_SPACE, SentencePieceText
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.unigram import UnigramTokenizer

_BYTE_FALLBACK: Json = {"type": "ByteFallback"}
_MANY = 2**16
_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")

# --- Unigram


def unigram(tokenizer: UnigramTokenizer) -> Json:
    """The content of the file."""
    cuts = tokenizer.pattern != "none"
    return tokenizer_json_of(
        tokenizer,
        model=_unigram_model(tokenizer),
        pre_tokenizer=split_step({"Regex": published_form(tokenizer.pattern)}) if cuts else None,
        decoder={"type": "Sequence", "decoders": [_BYTE_FALLBACK, FUSE]},
    )


def read_unigram(model: Json, normalizer: object, step: Any, special: SpecialTokens) -> BaseTokenizer | None:
    """Our tokenizer of such parts, if it may be one; whether it is, its own file says."""
    if normalizer is not None:
        return None
    text = "none" if step is None else step["pattern"]["Regex"]
    pattern = next((name for name in PATTERNS if published_form(name) == text), text)
    pieces, byte_ids = _parted([piece for piece, _ in model["vocab"]], model, special)
    scored = {i: (piece, model["vocab"][i][1]) for i, piece in pieces.items()}
    return UnigramTokenizer(scored, special, byte_ids=byte_ids, pattern=pattern)


def _unigram_model(tokenizer: UnigramTokenizer | SentencePieceTokenizer) -> Json:
    """Entries that no text may give have a score that is worse than that of their characters."""
    pieces = tokenizer.pieces
    worst = min((score for _, score in pieces.values()), default=0.0)
    bytes_of = {i: byte for byte, i in enumerate(tokenizer.byte_ids)}
    vocab: list[list[Any]] = []
    for token, i in _spelled_pieces(tokenizer, bytes_of).items():
        vocab.append([token, pieces[i][1] if i in pieces else len(token) * min(worst, -1.0) - 1.0])
    return {"type": "Unigram", "unk_id": tokenizer.unk_id, "vocab": vocab, "byte_fallback": bool(bytes_of)}


# --- sentencepiece


def sentencepiece(tokenizer: SentencePieceTokenizer) -> Json:
    """The content of the file. Raises UnsupportedExportError if HF tokenizers has no way to say it."""
    if tokenizer.user_defined or tokenizer.unused or tokenizer.model == "word":
        what = "a model of words" if tokenizer.model == "word" else "user-defined or unused pieces"
        raise UnsupportedExportError("tokenizer.json", f"it has {what}, of which HF tokenizers makes something else")
    rules = tokenizer.text_rules
    spaces = _MANY if rules.remove_extra_whitespaces else int(rules.add_dummy_prefix)
    decoders: list[Json] = [replace_step({"String": MARKER}, " "), _BYTE_FALLBACK, FUSE]
    if spaces:
        decoders.append({"type": "Strip", "content": " ", "start": spaces, "stop": 0})
    model = _unigram_model(tokenizer) if tokenizer.model == "unigram" else _sentencepiece_bpe(tokenizer)
    return tokenizer_json_of(
        tokenizer,
        model=model,
        normalizer={"type": "Sequence", "normalizers": _sentencepiece_steps(rules)},
        pre_tokenizer=split_step({"String": MARKER}, "MergedWithNext") if tokenizer.cuts_words else None,
        decoder={"type": "Sequence", "decoders": decoders},
    )


def _sentencepiece_steps(rules: SentencePieceText) -> list[Json]:
    prefix: list[Json] = [{"type": "Prepend", "prepend": " "}] if rules.add_dummy_prefix else []
    spaces = [replace_step({"String": " "}, MARKER)]
    if not rules.remove_extra_whitespaces:  # the prefix is there also if the rules leave nothing of a text
        return [*prefix, *_character_steps(rules), *spaces]
    ends = replace_step({"Regex": rf"\A +|[ {MARKER}]+\z"}, "")
    return [*_character_steps(rules), ends, replace_step({"Regex": " {2,}"}, " "), *prefix, *spaces]


def _character_steps(rules: SentencePieceText) -> list[Json]:
    if rules.compiled is not None:
        charsmap = base64.b64encode(rules.compiled.charsmap).decode("ascii")
        return [{"type": "Precompiled", "precompiled_charsmap": charsmap}]
    nfkc = {"type": "NFKC"}
    if rules.normalization == "nmt_nfkc":
        # U+FF5E is hidden behind a character that goes in the end, and that one behind another.
        return [
            replace_step({"String": "\x01"}, "\x02"),
            replace_step({"String": "\uff5e"}, "\x01"),
            nfkc,
            replace_step({"String": "\x01"}, "\uff5e"),
            replace_step({"Regex": _class_of(TO_NOTHING)}, ""),
            replace_step({"Regex": _class_of(TO_SPACE)}, " "),
        ]
    return [nfkc] if rules.normalization == "nfkc" else []


def _class_of(characters: Iterable[str]) -> str:
    return "[" + "".join(rf"\x{{{ord(character):04X}}}" for character in characters) + "]"


def _sentencepiece_bpe(tokenizer: SentencePieceTokenizer) -> Json:
    """Two pieces are joined if they make a piece, the best first; so each way to make one is a merge."""
    bytes_of = {i: byte for byte, i in enumerate(tokenizer.byte_ids)}
    merges: list[tuple[str, str]] = []
    if tokenizer.model == "bpe":
        score_of = dict(tokenizer.pieces.values())
        if len({score for piece, score in score_of.items() if len(piece) > 1}) < sum(len(p) > 1 for p in score_of):
            raise UnsupportedExportError("tokenizer.json", "two pieces have the same score")
        for piece in sorted(score_of, key=lambda piece: -score_of[piece]):
            for cut in range(1, len(piece)):
                if piece[:cut] in score_of and piece[cut:] in score_of:
                    merges.append((piece[:cut], piece[cut:]))
    options = {"unk_token": unk_of(tokenizer), "fuse_unk": True, "byte_fallback": bool(bytes_of)}
    return bpe_model(_spelled_pieces(tokenizer, bytes_of), merges, **options)


def read_sentencepiece(model: Json, normalizer: Any, _: object, special: SpecialTokens) -> BaseTokenizer | None:
    """As `read_unigram`."""
    if normalizer is None:
        return None
    steps = normalizer["normalizers"]
    rules = next((rules for rules in _possible_rules(steps) if _sentencepiece_steps(rules) == steps), None)
    if rules is None:
        return None
    if model["type"] == "Unigram":
        pieces, byte_ids = _parted([piece for piece, _ in model["vocab"]], model, special)
        scored = {i: (piece, model["vocab"][i][1]) for i, piece in pieces.items()}
        return SentencePieceTokenizer(scored, special, model="unigram", byte_ids=byte_ids, text=rules)
    pieces, byte_ids = _parted(in_order(model["vocab"]), model, special)
    scored = {i: (piece, -float(rank)) for rank, (i, piece) in enumerate(pieces.items())}
    kind: Any = "bpe" if model["merges"] else "char"
    return SentencePieceTokenizer(scored, special, model=kind, byte_ids=byte_ids, text=rules)


def _possible_rules(steps: list[Json]) -> Iterable[SentencePieceText]:
    tables = [base64.b64decode(s["precompiled_charsmap"]) for s in steps if s["type"] == "Precompiled"]
    forms: list[Json] = [{"normalization": name} for name in ("identity", "nfkc", "nmt_nfkc")]
    forms += [{"normalization": "compiled", "compiled": CompiledRules(table)} for table in tables[:1]]
    for form, prefix, extra in product(forms, (True, False), (True, False)):
        yield SentencePieceText(**form, add_dummy_prefix=prefix, remove_extra_whitespaces=extra)


# --- pieces


def _spelled_pieces(
    tokenizer: UnigramTokenizer | SentencePieceTokenizer, bytes_of: Mapping[int, int]
) -> dict[str, int]:
    special = {i: token for token, i in tokenizer.special_tokens.items()}
    named = {**special, **{i: f"<0x{byte:02X}>" for i, byte in bytes_of.items()}}
    pieces = tokenizer.pieces
    return without_clash(named[i] if i in named else pieces[i][0] for i in range(tokenizer.vocab_size))


def _parted(tokens: Sequence[str], model: Json, special: SpecialTokens) -> tuple[dict[int, str], list[int]]:
    """Pieces by id, and the ids of the bytes."""
    pieces: dict[int, str] = {}
    byte_ids = dict.fromkeys(range(256), -1)
    special_ids = set(special.ids.values())
    for i, token in enumerate(tokens):
        found = _BYTE_PIECE.fullmatch(token) if model["byte_fallback"] else None
        if found:
            byte_ids[int(found[1], 16)] = i
        elif i not in special_ids:
            pieces[i] = token
    return pieces, list(byte_ids.values()) if model["byte_fallback"] else []
