"""What sentencepiece does to text before a model cuts it, and after a model is decoded.

In this order: the characters are normalised; with `remove_extra_whitespaces` spaces at both ends go, as
does U+2581 at the last, and runs of spaces become one; with `add_dummy_prefix` a space goes before the text; each space
is written as U+2581. `normalization` is

- `identity`: nothing changes.
- `nfkc`: Unicode NFKC, as Python's `unicodedata` has it.
- `nmt_nfkc`, sentencepiece's default: NFKC, but U+FF5E stays; tab, line feed, form feed, carriage return and U+061C,
  U+1680, U+200B, U+200C, U+200E, U+200F, U+2028, U+2029, U+2581, U+FEFF, U+FFFD become a space; U+0001 to U+0008,
  U+000B, U+000E to U+001F, U+007F, U+008F, U+009F go.
- `compiled`: what the table in a model's file says (`sentencepiece_rules.py`), to the letter.

Every single code point that Unicode 14 has assigned gives what sentencepiece 0.2 gives. Of sequences, sentencepiece
knows a table and this all of Unicode, so rare sequences of several combining marks may come out in another order.
A U+2581 in the text (unless `nmt_nfkc` makes it a space) cannot be told from a space afterwards, as in sentencepiece.

Source: sentencepiece `normalizer.cc` and `builder.cc`, re-created from what they do.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, get_args

import regex

from tokenizers_scratch.patterns import SplitPattern
from tokenizers_scratch.scripts import MARKER
from tokenizers_scratch.sentencepiece_rules import CompiledRules

Normalization = Literal["identity", "nfkc", "nmt_nfkc", "compiled"]

TO_SPACE = "\t\n\x0c\r\u061c\u1680\u200b\u200c\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd"
TO_NOTHING = "".join(map(chr, (*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)))
_BY_ITSELF = re.compile(f"([{re.escape(TO_SPACE + TO_NOTHING)}\uff5e])")
_BECOMES = dict.fromkeys(TO_SPACE, " ") | dict.fromkeys(TO_NOTHING, "") | {"\uff5e": "\uff5e"}
_SPACES = re.compile("  +")
_WORDS = re.compile(f"{MARKER}[^{MARKER}]*|[^{MARKER}]+")
SPACED = SplitPattern("spaced", lambda text: text.split(" "), regex.compile(rf"(?r)(?<=[^\s{MARKER}])(?= )").search)
"""Cuts before a space that follows something else: neither side changes the other, in any normalisation."""


class SentencePieceText:
    """The rules of one tokenizer. Immutable."""

    def __init__(
        self,
        normalization: Normalization = "identity",
        *,
        add_dummy_prefix: bool = True,
        remove_extra_whitespaces: bool = False,
        compiled: CompiledRules | None = None,
    ) -> None:
        """`compiled`: the rules, if `normalization` is that."""
        if normalization not in get_args(Normalization):
            raise ValueError(
                f"normalization: got {normalization!r}, must be identity, nfkc or nmt_nfkc: no other is known"
            )
        if (normalization == "compiled") != (compiled is not None):
            raise ValueError("compiled: must be there if normalization is 'compiled', and only then: it is the rules")
        self.compiled = compiled
        self.normalization: Normalization = normalization
        self.add_dummy_prefix = add_dummy_prefix
        self.remove_extra_whitespaces = remove_extra_whitespaces

    def spaced(self, text: str) -> str:
        """The text with its characters normalised, and nothing else done."""
        if self.normalization == "identity":
            return text
        if self.compiled is None and text.isascii() and text.isprintable():
            return text
        if self.normalization == "nfkc":
            return unicodedata.normalize("NFKC", text)
        if self.compiled is not None:
            return self.compiled.spaced(text)
        # Cut at what has a rule of its own, because NFKC must not join what stands on its two sides.
        parts = _BY_ITSELF.split(text)
        return "".join(_BECOMES[part] if i % 2 else unicodedata.normalize("NFKC", part) for i, part in enumerate(parts))

    def normalize(self, text: str, *, started: bool = False) -> str:
        """The text as a model reads it. `started`: text came before, so nothing is done to the start."""
        if not text:
            return ""
        if not self.remove_extra_whitespaces:
            text = self.spaced(text)
        else:
            if self.compiled is not None:
                text = self.compiled.collapsed(text, after_space=not started).rstrip(" " + MARKER)
            else:
                text = self.spaced(text).rstrip(" " + MARKER)
                text = _SPACES.sub(" ", text if started else text.lstrip(" "))
            if not text:
                return ""
        if self.add_dummy_prefix and not started:
            text = " " + text
        return text.replace(" ", MARKER)


def has_own_rule(character: str) -> bool:
    """Whether nmt_nfkc does something else to this character than NFKC, so that NFKC must not join it to others."""
    return character in _BECOMES


def normalize_for_sentencepiece(text: str, rules: SentencePieceText | None = None) -> str:
    """The text as a model reads it: `SentencePieceText()` unless other rules are given."""
    return (rules or SentencePieceText()).normalize(text)


def denormalize_from_sentencepiece(text: str, rules: SentencePieceText | None = None) -> str:
    """What a model wrote as text again: U+2581 is a space, and the space put before the text goes."""
    rules = rules or SentencePieceText()
    if rules.remove_extra_whitespaces:
        text = text.lstrip(MARKER)
    elif rules.add_dummy_prefix:
        text = text.removeprefix(MARKER)
    return text.replace(MARKER, " ")


def split_at_markers(text: str) -> list[str]:
    """Words of a normalised text: a marker begins one."""
    return _WORDS.findall(text)
