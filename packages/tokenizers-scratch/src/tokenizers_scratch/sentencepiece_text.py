"""What sentencepiece does to text before a model cuts it, and after a model is decoded.

In this order: the characters are normalised; with `remove_extra_whitespaces` spaces at both ends go, as
does U+2581 at the last, and runs of spaces become one; with `add_dummy_prefix` a space goes before the text; each space
is written as U+2581. `normalization` is

- `identity`: nothing changes.
- `nfkc`: Unicode NFKC, as Python's `unicodedata` has it.
- `nmt_nfkc`, sentencepiece's default: NFKC, but U+FF5E stays; tab, line feed, form feed, carriage return and U+061C,
  U+1680, U+200B, U+200C, U+200E, U+200F, U+2028, U+2029, U+2581, U+FEFF, U+FFFD become a space; U+0001 to U+0008,
  U+000B, U+000E to U+001F, U+007F, U+008F, U+009F go.

Every single code point that Unicode 14 has assigned gives what sentencepiece 0.2 gives. Of sequences, sentencepiece
knows a table and this all of Unicode, so rare sequences of several combining marks may come out in another order.
A U+2581 in the text (unless `nmt_nfkc` makes it a space) cannot be told from a space afterwards, as in sentencepiece.

Source: sentencepiece `normalizer.cc` and `builder.cc`, re-created from what they do.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import regex

from tokenizers_scratch.base import each_text
from tokenizers_scratch.patterns import SplitPattern, whole_words
from tokenizers_scratch.scripts import MARKER
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.subword_kernels import kernels

Normalization = Literal["identity", "nfkc", "nmt_nfkc"]

_TO_SPACE = "\t\n\x0c\r\u061c\u1680\u200b\u200c\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd"
_TO_NOTHING = "".join(map(chr, (*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)))
_BY_ITSELF = re.compile(f"([{re.escape(_TO_SPACE + _TO_NOTHING)}\uff5e])")
_BECOMES = dict.fromkeys(_TO_SPACE, " ") | dict.fromkeys(_TO_NOTHING, "") | {"\uff5e": "\uff5e"}
_SPACES = re.compile("  +")
_WORDS = re.compile(f"{MARKER}[^{MARKER}]*|[^{MARKER}]+")
_FEW_CHARACTERS = 2**21  # to count those, plain Python takes no longer than the kernels to load
_WINDOW = 2**18  # characters of one text that are normalised at a time, in training
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
    ) -> None:
        if normalization not in get_args(Normalization):
            raise ValueError(
                f"normalization: got {normalization!r}, must be identity, nfkc or nmt_nfkc: no other is known"
            )
        self.normalization: Normalization = normalization
        self.add_dummy_prefix = add_dummy_prefix
        self.remove_extra_whitespaces = remove_extra_whitespaces

    def spaced(self, text: str) -> str:
        """The text with its characters normalised, and nothing else done."""
        if self.normalization == "identity" or (text.isascii() and text.isprintable()):
            return text
        if self.normalization == "nfkc":
            return unicodedata.normalize("NFKC", text)
        # Cut at what has a rule of its own, because NFKC must not join what stands on its two sides.
        parts = _BY_ITSELF.split(text)
        return "".join(_BECOMES[part] if i % 2 else unicodedata.normalize("NFKC", part) for i, part in enumerate(parts))

    def normalize(self, text: str, *, started: bool = False) -> str:
        """The text as a model reads it. `started`: text came before, so nothing is done to the start."""
        if not text:
            return ""
        text = self.spaced(text)
        if self.remove_extra_whitespaces:
            text = text.rstrip(" " + MARKER)
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


def get_sentencepiece_word_freqs(
    texts: Iterable[str], rules: SentencePieceText | None = None, special_tokens: SpecialTokens | None = None
) -> Counter[str]:
    """How often each word occurs in the normalised `texts`, markers included; a special token ends a word and is none.

    Memory grows with the number of different words, not with the text.
    """
    rules, special_tokens = rules or SentencePieceText(), special_tokens or SpecialTokens({})
    after_space: Counter[str] = Counter()  # by what follows the space
    at_start: Counter[str] = Counter()
    n_read, counter = 0, None
    for batch in _batches(each_text(texts)):
        # With a dummy prefix, many short texts have the words of one text with spaces between them.
        joined = " ".join(batch)
        if (
            len(joined) <= 2 * _WINDOW
            and rules.add_dummy_prefix
            and not any(map(joined.__contains__, special_tokens.ids))
        ):
            if counter is None and n_read > _FEW_CHARACTERS and (kernel := kernels("parts", 1.0)):
                counter = kernel.PartCounter()
            if counter is None:
                after_space.update(rules.spaced(joined).split(" "))
            else:
                counter.add(rules.spaced(joined))
            n_read += len(joined)
        else:
            for text in batch:
                _count_parts(text, rules, special_tokens, after_space, at_start)
    if counter is not None:
        after_space.update(counter.counts())
    # Almost all parts are one word each, behind one marker.
    counts = Counter({MARKER + part: count for part, count in after_space.items() if part and MARKER not in part})
    for part, count in after_space.items():
        if MARKER in part or not (part or rules.remove_extra_whitespaces):
            for word in split_at_markers(MARKER + part):
                counts[word] += count
    for part, count in at_start.items():
        for word in split_at_markers(part):
            counts[word] += count
    return counts


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts that are not empty, so many at a time that they make a window."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if text:
            batch.append(text)
            size += len(text)
            if size >= _WINDOW:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _count_parts(
    text: str,
    rules: SentencePieceText,
    special_tokens: SpecialTokens,
    after_space: Counter[str],
    at_start: Counter[str],
) -> None:
    """Count what stands between the spaces of one text."""
    started = False
    windows = (text[start : start + _WINDOW] for start in range(0, len(text), _WINDOW))
    for run in special_tokens.split(windows, "all"):
        if not isinstance(run, int):
            for chunk in whole_words(run, SPACED):
                plain = rules.spaced(chunk)
                if rules.remove_extra_whitespaces and not started and not (plain := plain.lstrip(" ")):
                    continue
                parts = plain.split(" ")
                if started or not rules.add_dummy_prefix:
                    at_start[parts[0]] += 1
                    parts = parts[1:]
                after_space.update(parts)
                started = True
