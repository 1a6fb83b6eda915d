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

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.bert import BertText
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.byte_alphabet import to_stand_ins
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.errors import UnsupportedExportError
from tokenizers_scratch.formats.tokenizer_json_parts import (
    BYTE_LEVEL,
    FROM_BYTE_LEVEL,
    FUSE,
    Json,
    bpe_model,
    in_order,
    split_step,
    tokenizer_json_of,
    unk_of,
    without_clash,
)
from tokenizers_scratch.formats.tokenizer_json_pieces import (
    read_sentencepiece,
    read_unigram,
    sentencepiece,
    unigram,
)
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.word import WordTokenizer
from tokenizers_scratch.wordpiece import WordPieceTokenizer

_PARTS = ("normalizer", "pre_tokenizer", "model", "decoder")
# What \w is in `regex`, spelled out, because the engine of HF tokenizers has other characters in it.
_WORD = r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\s]"


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
        decoder=FUSE,
    )


def _read_char(model: Json, _: object, __: object, special: SpecialTokens) -> BaseTokenizer:
    return CharTokenizer(in_order(model["vocab"], special), special)


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
    return WordTokenizer(in_order(model["vocab"], special), special, lowercase=normalizer is not None)


def _word_level(tokenizer: BaseTokenizer) -> Json:
    vocab = _spelled(tokenizer, lambda token: token.decode("utf-8", "surrogatepass"))
    return {"type": "WordLevel", "vocab": vocab, "unk_token": unk_of(tokenizer)}


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
            "unk_token": unk_of(tokenizer),
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
    return WordPieceTokenizer(in_order(model["vocab"]), special, text=text, max_word_length=longest)


def _spelled(tokenizer: BaseTokenizer, spell: Callable[[bytes], str]) -> dict[str, int]:
    """Every token as a text of its own, by id."""
    special = {i: token for token, i in tokenizer.special_tokens.items()}
    return without_clash((special[i] if i in special else spell(token) for i, token in tokenizer.vocab.items()))


_WRITE: dict[type[BaseTokenizer], Callable[[Any], Json]] = {
    ByteTokenizer: _byte,
    CharTokenizer: _char,
    WordTokenizer: _word,
    WordPieceTokenizer: _wordpiece,
    UnigramTokenizer: unigram,
    SentencePieceTokenizer: sentencepiece,
}
_READ: dict[str, tuple[Callable[[Any, Any, Any, SpecialTokens], BaseTokenizer | None], ...]] = {
    "BPE": (_read_byte, read_sentencepiece),
    "WordLevel": (_read_char, _read_word),
    "WordPiece": (_read_wordpiece,),
    "Unigram": (read_unigram, read_sentencepiece),
}
