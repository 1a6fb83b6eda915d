"""Normalizers: rewrite a text before it is cut. Each is a function from one aligned text to another.

Classes of characters follow Python's `unicodedata` and, for white space, Unicode's property of that name, which
`str.isspace` exceeds by U+001C to U+001F.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Literal

import regex

from tokenizers_scratch.bert import CJK, BertText
from tokenizers_scratch.byte_alphabet import to_stand_ins
from tokenizers_scratch.charsmap import Charsmap
from tokenizers_scratch.custom_patterns import find_spans
from tokenizers_scratch.hf.aligned import Aligned, Edit
from tokenizers_scratch.hf.component import Component
from tokenizers_scratch.utf8 import text_to_bytes

Normalizer = Callable[[Aligned], Aligned]
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

WHITE_SPACE = frozenset(
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
)

_GRAPHEME = regex.compile(r"\X")
_NMT_DROPPED = frozenset(map(chr, (*range(1, 9), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)))
_NMT_SPACES = frozenset("\t\n\x0c\r\u1680\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd")


def build_normalizer(spec: Component) -> Normalizer:
    """The normalizer that the file describes. Raises TokenizerFileError."""
    match spec.type:
        case "Sequence":
            return partial(_in_turn, spec.sequence("normalizers", build_normalizer))
        case "NFC" | "NFD" | "NFKC" | "NFKD" as form:
            return partial(unicode_form, form)
        case "Lowercase":
            return partial(each_character, str.lower)
        case "StripAccents":
            return partial(each_character, _without_marks)
        case "Nmt":
            return partial(each_character, _nmt)
        case "ByteLevel":
            return partial(each_character, _stand_ins)
        case "Strip":
            left, right = (spec.flag(f"strip_{side}", True) for side in ("left", "right"))
            return partial(_strip, left, right)
        case "Prepend":
            prefix = spec.text("prepend")
            return lambda text: text.prepended(prefix)
        case "Replace":
            pattern, content = spec.pattern(), spec.text("content")
            return lambda text: text.edited(_replace(pattern, content, text.text))
        case "BertNormalizer":
            return _bert(spec)
        case "Precompiled":
            return _precompiled(spec)
        case other:
            raise spec.unsupported(f"the normalizer {other!r}")


def _in_turn(steps: list[Normalizer], text: Aligned) -> Aligned:
    for step in steps:
        text = step(text)
    return text


def each_character(change: Callable[[str], str], text: Aligned) -> Aligned:
    """Every character changed by itself: so HF lowers a final sigma as any other."""
    new = [change(character) for character in text.text]
    if all(len(character) == 1 for character in new):
        return text.replaced("".join(new))
    return text.edited((character, 1) for character in new)


def unicode_form(form: Form, text: Aligned) -> Aligned:
    """The text in a Unicode normalisation form. What is composed has the span of all it was composed of."""
    if unicodedata.is_normalized(form, text.text):
        return text
    new: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _independent(form, text.text):
        part = unicodedata.normalize(form, text.text[start:end])
        new.append(part)
        first, last = text.span(start, end)
        starts.extend([first] * len(part))
        ends.extend([last] * len(part))
    return Aligned("".join(new), starts, ends)


def _independent(form: Form, text: str) -> Iterator[tuple[int, int]]:
    """Parts that no composition and no reordering crosses."""
    start = 0
    for i, character in enumerate(text):
        if i > start and _begins_anew(form, character):
            yield start, i
            start = i
    if start < len(text):
        yield start, len(text)


@cache
def _begins_anew(form: Form, character: str) -> bool:
    decomposed = unicodedata.normalize("NFKD" if "K" in form else "NFD", character)
    if unicodedata.combining(decomposed[0]):
        return False
    # Vowels and finals of Hangul, and a few dozen others, join what stands before though they combine with nothing.
    return not (form in ("NFC", "NFKC") and decomposed[0] in _joins_what_is_before())


@cache
def _joins_what_is_before() -> frozenset[str]:
    found = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
    return frozenset(found)


def _without_marks(character: str) -> str:
    return "" if unicodedata.category(character)[0] == "M" else character


def _nmt(character: str) -> str:
    return "" if character in _NMT_DROPPED else " " if character in _NMT_SPACES else character


def _stand_ins(character: str) -> str:
    return to_stand_ins(text_to_bytes(character))


def _strip(left: bool, right: bool, text: Aligned) -> Aligned:
    start, end = 0, len(text.text)
    while left and start < end and text.text[start] in WHITE_SPACE:
        start += 1
    while right and start < end and text.text[end - 1] in WHITE_SPACE:
        end -= 1
    return text.slice(start, end)


def _replace(pattern: regex.Pattern[str], content: str, text: str) -> Iterator[Edit]:
    done = 0
    for start, end in find_spans(pattern, text):
        yield from ((character, 1) for character in text[done:start])
        if end - start > 1:
            yield "", end - start - 1
        yield content, 1
        done = end
    yield from ((character, 1) for character in text[done:])


def _bert(spec: Component) -> Normalizer:
    text = BertText(
        clean_text=spec.flag("clean_text", True),
        handle_chinese_chars=spec.flag("handle_chinese_chars", True),
        strip_accents=spec.optional_flag("strip_accents"),
        lowercase=spec.flag("lowercase", True),
    )
    return partial(normalize_for_bert, text)


def normalize_for_bert(rules: BertText, text: Aligned) -> Aligned:
    """`rules.normalize`, with the places that characters came from."""
    if rules.clean_text:
        text = each_character(_bert_clean, text)
    if rules.handle_chinese_chars:
        text = each_character(_spaced_if_cjk, text)
    if rules.strip_accents:
        text = unicode_form("NFD", text)
        text = each_character(lambda c: "" if unicodedata.category(c) == "Mn" else c, text)
    return each_character(str.lower, text) if rules.lowercase else text


@cache
def _spaced_if_cjk(character: str) -> str:
    return f" {character} " if any(low <= ord(character) <= high for low, high in CJK) else character


@cache
def _bert_clean(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if character in "\0\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co"):
        return ""
    return " " if character in WHITE_SPACE else character


def _precompiled(spec: Component) -> Normalizer:
    """sentencepiece's rules as HF applies them: to a grapheme if it is short and begins with what a rule takes, of
    which the shortest counts, else to each of its characters. sentencepiece itself takes the longest, anywhere."""
    try:
        data = base64.b64decode(spec.text("precompiled_charsmap", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise spec.error(f"has a 'precompiled_charsmap' that is not base64: {error}") from None
    if not data:
        return lambda text: text
    try:
        rules = Charsmap(data)
    except ValueError as error:
        raise spec.error(f"has a 'precompiled_charsmap' that is damaged: {error}") from None

    def edits(text: str) -> Iterator[Edit]:
        for grapheme in _GRAPHEME.findall(text):
            try:
                whole = rules.matches(grapheme) if len(text_to_bytes(grapheme)) < 6 else ()
                if whole:
                    if len(grapheme) > 1:
                        yield "", len(grapheme) - 1
                    yield whole[0][1], 1
                    continue
                for character in grapheme:
                    single = rules.matches(character)
                    yield (single[0][1] if single else character), 1
            except ValueError as error:
                raise spec.error(f"has a 'precompiled_charsmap' that is damaged: {error}") from None

    return lambda text: text.edited(edits(text.text))
