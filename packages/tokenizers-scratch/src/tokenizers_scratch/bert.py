r"""How BERT cleans text and cuts it into words, before WordPiece cuts the words.

Cleaning (`BertText.normalize`) drops NUL, U+FFFD and control, format and private-use characters, makes one U+0020 of
each white-space character, puts spaces around CJK ideographs, takes accents off (NFD, then no category Mn) and
lowercases; each can be turned off. Cutting (`split_bert_words`) is at white space, with each punctuation character a
word of its own: ASCII 33-47, 58-64, 91-96, 123-126, and category P.

Source: google-research/bert, `tokenization.py`, in the form of HF tokenizers' `BertNormalizer` and `BertPreTokenizer`,
which is followed where the two differ (its CJK ranges; lowercasing one character at a time, so that a final sigma is
as any other). Classes follow Python's `unicodedata`; HF has an older Unicode, so a few dozen characters assigned since
(marks, punctuation) are told apart here and not there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache

import regex

from tokenizers_scratch.patterns import SplitPattern

CJK = (
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B81F)),
    *((0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F)),
)
_WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WHITE_TO_DROP = "\x0b\x0c\x85"  # white space that is dropped as control characters, so words grow together over it
# str.split is far quicker than a pattern; it has these as white space too, and if they are absent it does as well.
_ONLY_STR_SPLITS = frozenset("\x1c\x1d\x1e\x1f")
_FIND_UNCUT = {
    True: regex.compile(rf"[^{''.join(c for c in _WHITE if c not in _WHITE_TO_DROP)}]++").findall,
    False: regex.compile(rf"[^{_WHITE}]++").findall,
}
_ASCII_WORD = re.compile("[0-9A-Za-z]+|[!-/:-@[-`{-~]")
_FIND_BORDER = {
    True: regex.compile(r"(?r)(?<=\S)(?=[\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])").search,
    False: regex.compile(rf"(?r)(?<=\S)(?=[{_WHITE}])").search,
}


class BertText:
    """From text to words, with these options. Immutable; remembers what becomes of each character."""

    def __init__(
        self,
        *,
        clean_text: bool = True,
        handle_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        lowercase: bool = True,
    ) -> None:
        """`strip_accents`: None means if `lowercase`."""
        self.clean_text = clean_text
        self.handle_chinese_chars = handle_chinese_chars
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self.lowercase = lowercase
        self._first = _Table(self._clean)
        self._last = _Table(self._fold)
        self.pattern = SplitPattern("bert", self.split, _FIND_BORDER[clean_text])
        """Cuts text into words; what lies left and right of a border of words may be cut apart."""

    def normalize(self, text: str) -> str:
        """The text as BERT reads it."""
        text = text.translate(self._first)
        if self.strip_accents:
            text = unicodedata.normalize("NFD", text)
        return text.translate(self._last)

    def uncut(self, text: str) -> list[str]:
        """The text at white space, untouched else: each part gives the same words here as within the text."""
        odd = "\x1c\x1d\x1e\x1f\x0b\x0c\x85" if self.clean_text else "\x1c\x1d\x1e\x1f"
        if any(map(text.__contains__, odd)):
            return _FIND_UNCUT[self.clean_text](text)  # type: ignore[no-any-return]
        return text.split()

    def split(self, text: str) -> list[str]:
        """The words of a text, as WordPiece takes them."""
        return [word for part in self.uncut(text) for word in self.words_of(part)]

    def words_of(self, uncut: str) -> list[str]:
        """The words of a part that `uncut` gives."""
        if uncut.isascii() and uncut.isprintable():  # most parts, and nothing but case can change in them
            return _ASCII_WORD.findall(uncut.lower() if self.lowercase else uncut)
        return split_bert_words(self.normalize(uncut))

    def _clean(self, code: int) -> str:
        character = chr(code)
        if self.clean_text:
            if character in "\0\ufffd" or _is_control(character):
                return ""
            if character in "\t\n\r" or unicodedata.category(character)[0] == "Z":
                return " "
        if self.handle_chinese_chars and any(low <= code <= high for low, high in CJK):
            return f" {character} "
        return character

    def _fold(self, code: int) -> str:
        character = chr(code)
        if self.strip_accents and unicodedata.category(character) == "Mn":
            return ""
        return character.lower() if self.lowercase else character


def split_bert_words(text: str) -> list[str]:
    """Words of a normalised text: cut at white space, each punctuation character by itself."""
    if text.isalnum():
        return [text]
    return list(_cut(text))


def is_bert_punctuation(character: str) -> bool:
    """ASCII characters that are neither letter, digit, space nor control character, and category P."""
    return ("!" <= character <= "~" and not character.isalnum()) or unicodedata.category(character)[0] == "P"


def _cut(text: str) -> Iterator[str]:
    start = 0
    for i, character in enumerate(text):
        kind = _kind(character)
        if kind:
            if i > start:
                yield text[start:i]
            if kind == 2:
                yield character
            start = i + 1
    if start < len(text):
        yield text[start:]


@cache
def _kind(character: str) -> int:
    """0: part of a word. 1: white space. 2: punctuation."""
    if character.isspace() and character not in _ONLY_STR_SPLITS:
        return 1
    return 2 if is_bert_punctuation(character) else 0


def _is_control(character: str) -> bool:
    return character not in "\t\n\r" and unicodedata.category(character) in ("Cc", "Cf", "Co")


class _Table(dict[int, str]):
    """A table for str.translate that asks once a character."""

    def __init__(self, rule: Callable[[int], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = new = self._rule(code)
        return new
