r"""`tokenizer.json` for our tokenizers other than byte-level BPE: written with what HF tokenizers has, and read back.

| ours | normalizer | pre-tokenizer | model | decoder |
|---|---|---|---|---|
| `byte` | | ByteLevel | BPE without merges | ByteLevel |
| `char` | | each character | WordLevel | Fuse |
| `word` | Lowercase, if it does | words, the rest removed | WordLevel | none: joined by spaces |
| `wordpiece` | BertNormalizer | BertPreTokenizer | WordPiece | WordPiece |
| `unigram` | | its pattern | Unigram | ByteFallback, Fuse |
| `sentencepiece` | its rules, spaces as U+2581 | before each U+2581 | Unigram, BPE | Replace, and as above, Strip |

A BPE model of sentencepiece has no merges, so every way to make one piece of two is written as one.

What HF tokenizers cannot say is an UnsupportedExportError. Three things it says otherwise. It puts the dummy prefix
before each text between special tokens, and not before the first alone. A text that spells a byte (`<0x41>`) or a
special token is that for a Unigram model whose alphabet lacks one of these characters. A file's own table of rules is
applied to a letter with its marks at a time, and not to the longest run that has a rule, so rare sequences of marks
come out otherwise.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.bert import BertText
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.byte_alphabet import to_stand_ins
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.errors import UnsupportedExportError
from tokenizers_scratch.patterns import PATTERNS, published_form
from tokenizers_scratch.scripts import MARKER
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.sentencepiece_rules import CompiledRules
from tokenizers_scratch.sentencepiece_text import TO_NOTHING, TO_SPACE, SentencePieceText
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.word import WordTokenizer
from tokenizers_scratch.wordpiece import WordPieceTokenizer

Json = dict[str, Any]

BYTE_LEVEL: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
FROM_BYTE_LEVEL: Json = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
_FUSE: Json = {"type": "Fuse"}
_BYTE_FALLBACK: Json = {"type": "ByteFallback"}
_PARTS = ("normalizer", "pre_tokenizer", "model", "decoder")
_MANY = 2**16
_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")
# What \w is in `regex`, spelled out, because the engine of HF tokenizers has other characters in it.
_WORD = r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\s]"


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


def content_of(tokenizer: BaseTokenizer) -> Json:
    """The content of the file. Raises UnsupportedExportError if HF tokenizers has no way to say it."""
    write = _WRITE.get(type(tokenizer))
    if write is None:
        raise UnsupportedExportError("tokenizer.json", f"{type(tokenizer).__name__} has no form in it")
    content: Json = write(tokenizer)
    return content


def read_own(
    content: Mapping[str, object], special: Mapping[str, int], roles: Mapping[str, str]
) -> BaseTokenizer | None:
    """Our tokenizer that writes exactly these parts, or None."""
    model, steps = content.get("model"), content.get("pre_tokenizer")
    if not isinstance(model, dict):
        return None
    for read in _READ.get(str(model.get("type")), ()):
        try:
            made = read(model, content.get("normalizer"), steps, SpecialTokens(special, roles))
            if made is not None:
                written = content_of(made)
                if all(written[part] == content.get(part) for part in _PARTS):
                    return made
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            continue  # not what ours looks like
    return None


# --- bytes, characters, words


def _byte(tokenizer: ByteTokenizer) -> Json:
    return tokenizer_json_of(
        tokenizer,
        model=bpe_model(_spelled(tokenizer, to_stand_ins)),
        pre_tokenizer=BYTE_LEVEL,
        decoder=FROM_BYTE_LEVEL,
    )


def _read_byte(_: Json, __: object, ___: object, special: SpecialTokens) -> BaseTokenizer:
    return ByteTokenizer(special)


def _char(tokenizer: CharTokenizer) -> Json:
    return tokenizer_json_of(
        tokenizer,
        model=_word_level(tokenizer),
        pre_tokenizer=split_step({"Regex": r"[\s\S]"}),
        decoder=_FUSE,
    )


def _read_char(model: Json, _: object, __: object, special: SpecialTokens) -> BaseTokenizer:
    return CharTokenizer(_in_order(model["vocab"], special), special)


def _word(tokenizer: WordTokenizer) -> Json:
    model = _word_level(tokenizer)
    if tokenizer.lowercase and any(set("σς") & set(word) for word in model["vocab"]):
        raise UnsupportedExportError(
            "tokenizer.json", "it has Greek words in lower case, and HF tokenizers knows no final sigma"
        )
    return tokenizer_json_of(
        tokenizer,
        model=model,
        normalizer={"type": "Lowercase"} if tokenizer.lowercase else None,
        pre_tokenizer=split_step({"Regex": _WORD}, "Removed", invert=True),
    )


def _read_word(model: Json, normalizer: object, _: object, special: SpecialTokens) -> BaseTokenizer:
    return WordTokenizer(_in_order(model["vocab"], special), special, lowercase=normalizer is not None)


def _word_level(tokenizer: BaseTokenizer) -> Json:
    vocab = _spelled(tokenizer, lambda token: token.decode("utf-8", "surrogatepass"))
    return {"type": "WordLevel", "vocab": vocab, "unk_token": _unk(tokenizer)}


# --- WordPiece


def _wordpiece(tokenizer: WordPieceTokenizer) -> Json:
    rules = tokenizer.text_rules
    for token in tokenizer.special_tokens:
        if rules.split(token) == [token]:
            raise UnsupportedExportError("tokenizer.json", f"the special token {token!r} is also a word of a text")
    return tokenizer_json_of(
        tokenizer,
        model={
            "type": "WordPiece",
            "unk_token": _unk(tokenizer),
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": tokenizer.max_word_length,
            "vocab": _spelled(tokenizer, bytes.decode),
        },
        normalizer={
            "type": "BertNormalizer",
            "clean_text": rules.clean_text,
            "handle_chinese_chars": rules.handle_chinese_chars,
            "strip_accents": rules.strip_accents,
            "lowercase": rules.lowercase,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": False},
    )


def _read_wordpiece(model: Json, normalizer: Any, _: object, special: SpecialTokens) -> BaseTokenizer:
    text = BertText(**{name: value for name, value in normalizer.items() if name != "type"})
    longest = model["max_input_chars_per_word"]
    return WordPieceTokenizer(_in_order(model["vocab"]), special, text=text, max_word_length=longest)


# --- Unigram and sentencepiece


def _unigram(tokenizer: UnigramTokenizer) -> Json:
    cuts = tokenizer.pattern != "none"
    return tokenizer_json_of(
        tokenizer,
        model=_unigram_model(tokenizer),
        pre_tokenizer=split_step({"Regex": published_form(tokenizer.pattern)}) if cuts else None,
        decoder={"type": "Sequence", "decoders": [_BYTE_FALLBACK, _FUSE]},
    )


def _read_unigram(model: Json, normalizer: object, step: Any, special: SpecialTokens) -> BaseTokenizer | None:
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


def _sentencepiece(tokenizer: SentencePieceTokenizer) -> Json:
    if tokenizer.user_defined or tokenizer.unused or tokenizer.model == "word":
        what = "a model of words" if tokenizer.model == "word" else "user-defined or unused pieces"
        raise UnsupportedExportError("tokenizer.json", f"it has {what}, of which HF tokenizers makes something else")
    rules = tokenizer.text_rules
    spaces = _MANY if rules.remove_extra_whitespaces else int(rules.add_dummy_prefix)
    decoders: list[Json] = [_replace({"String": MARKER}, " "), _BYTE_FALLBACK, _FUSE]
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
    spaces = [_replace({"String": " "}, MARKER)]
    if not rules.remove_extra_whitespaces:  # the prefix is there also if the rules leave nothing of a text
        return [*prefix, *_character_steps(rules), *spaces]
    ends = _replace({"Regex": rf"\A +|[ {MARKER}]+\z"}, "")
    return [*_character_steps(rules), ends, _replace({"Regex": " {2,}"}, " "), *prefix, *spaces]


def _character_steps(rules: SentencePieceText) -> list[Json]:
    if rules.compiled is not None:
        charsmap = base64.b64encode(rules.compiled.charsmap).decode("ascii")
        return [{"type": "Precompiled", "precompiled_charsmap": charsmap}]
    nfkc = {"type": "NFKC"}
    if rules.normalization == "nmt_nfkc":
        # U+FF5E is hidden behind a character that goes in the end, and that one behind another.
        return [
            _replace({"String": "\x01"}, "\x02"),
            _replace({"String": "\uff5e"}, "\x01"),
            nfkc,
            _replace({"String": "\x01"}, "\uff5e"),
            _replace({"Regex": _class_of(TO_NOTHING)}, ""),
            _replace({"Regex": _class_of(TO_SPACE)}, " "),
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
    options = {"unk_token": _unk(tokenizer), "fuse_unk": True, "byte_fallback": bool(bytes_of)}
    return bpe_model(_spelled_pieces(tokenizer, bytes_of), merges, **options)


def _read_sentencepiece(model: Json, normalizer: Any, _: object, special: SpecialTokens) -> BaseTokenizer | None:
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
    pieces, byte_ids = _parted(_in_order(model["vocab"]), model, special)
    scored = {i: (piece, -float(rank)) for rank, (i, piece) in enumerate(pieces.items())}
    kind: Any = "bpe" if model["merges"] else "char"
    return SentencePieceTokenizer(scored, special, model=kind, byte_ids=byte_ids, text=rules)


def _possible_rules(steps: list[Json]) -> Iterable[SentencePieceText]:
    tables = [base64.b64decode(s["precompiled_charsmap"]) for s in steps if s["type"] == "Precompiled"]
    forms: list[Json] = [{"normalization": name} for name in ("identity", "nfkc", "nmt_nfkc")]
    forms += [{"normalization": "compiled", "compiled": CompiledRules(table)} for table in tables[:1]]
    for form, prefix, extra in product(forms, (True, False), (True, False)):
        yield SentencePieceText(**form, add_dummy_prefix=prefix, remove_extra_whitespaces=extra)


# --- what they share


def _replace(pattern: Json, content: str) -> Json:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _unk(tokenizer: BaseTokenizer) -> str | None:
    return next((token for token, i in tokenizer.special_tokens.items() if i == tokenizer.unk_id), None)


def _spelled(tokenizer: BaseTokenizer, spell: Callable[[bytes], str]) -> dict[str, int]:
    """Every token as a text of its own, by id."""
    special = {i: token for token, i in tokenizer.special_tokens.items()}
    return _without_clash((special[i] if i in special else spell(token) for i, token in tokenizer.vocab.items()))


def _spelled_pieces(
    tokenizer: UnigramTokenizer | SentencePieceTokenizer, bytes_of: Mapping[int, int]
) -> dict[str, int]:
    special = {i: token for token, i in tokenizer.special_tokens.items()}
    named = {**special, **{i: f"<0x{byte:02X}>" for i, byte in bytes_of.items()}}
    pieces = tokenizer.pieces
    return _without_clash(named[i] if i in named else pieces[i][0] for i in range(tokenizer.vocab_size))


def _without_clash(tokens: Iterable[str]) -> dict[str, int]:
    vocab: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if token in vocab:
            raise UnsupportedExportError("tokenizer.json", f"ids {vocab[token]} and {i} are both written {token!r}")
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise UnsupportedExportError("tokenizer.json", f"id {i} holds a lone surrogate, which no file can hold")
        vocab[token] = i
    return vocab


def _in_order(vocab: Mapping[str, int], special: SpecialTokens | None = None) -> list[str]:
    """Tokens by id, without special ones if these are given."""
    left_out = special.ids if special is not None else {}
    tokens = sorted(vocab, key=lambda token: vocab[token])
    if [vocab[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError("ids are missing")
    return [token for token in tokens if token not in left_out]


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


_WRITE: dict[type[BaseTokenizer], Callable[[Any], Json]] = {
    ByteTokenizer: _byte,
    CharTokenizer: _char,
    WordTokenizer: _word,
    WordPieceTokenizer: _wordpiece,
    UnigramTokenizer: _unigram,
    SentencePieceTokenizer: _sentencepiece,
}
_READ: dict[str, tuple[Callable[[Any, Any, Any, SpecialTokens], BaseTokenizer | None], ...]] = {
    "BPE": (_read_byte, _read_sentencepiece),
    "WordLevel": (_read_char, _read_word),
    "WordPiece": (_read_wordpiece,),
    "Unigram": (_read_unigram, _read_sentencepiece),
}
