r"""How text is cut into words before BPE merges within each of them.

`gpt2` and `gpt4` are the published patterns of those models (openai/gpt-2 `encoder.py`; tiktoken's `cl100k_base` in
its first form, in which a run of white space is cut after its last newline, also where visible text follows; tiktoken
0.14 keeps such a run whole). `none` does not cut. Any regular expression can take their place (`split_pattern`).

The engine is the third-party `regex`, because `re` knows no
`\p{L}` and counts U+001C..U+001F as white space. Classes follow the Unicode version of the installed `regex`; on every
code point assigned in Unicode 14 it agrees with tiktoken and HF tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import regex

from tokenizers_scratch.custom_patterns import compile_pattern, split_text

_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+"
_GPT4 = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
# The same for ASCII text, where `re`, told to know nothing else, agrees with `regex` and is twice as fast.
_GPT2_ASCII = r" ?[A-Za-z]+|'(?:[sdmt]|ll|ve|re)| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
_GPT4_ASCII = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
# No word of either pattern goes on from a visible character into white space other than a line break, and no word that
# ends there looks further: such a place is a border of words whatever comes next. (?r) searches from the end.
_AFTER_VISIBLE = r"(?r)(?<=\S)(?=[^\S\r\n])"


@dataclass(frozen=True)
class SplitPattern:
    """A rule that cuts text into words; joined, the words are the text."""

    name: str
    split: Callable[[str], list[str]]
    last_border: Callable[[str], Any] | None
    """Finds the last place in a text where it may be cut without changing any word; None if there is no such rule."""

    split_ascii: Callable[[str], list[str]] | None = None
    """`split` for ASCII text, only faster."""


def faster(pattern: SplitPattern) -> Callable[[str], list[str]]:
    """The pattern's `split`, by the faster way for texts that allow it."""
    split, split_ascii = pattern.split, pattern.split_ascii
    if split_ascii is None:
        return split
    return lambda text: split_ascii(text) if text.isascii() else split(text)


def _uncut(text: str) -> list[str]:
    return [text] if text else []


_LAST_BORDER = regex.compile(_AFTER_VISIBLE).search

PATTERNS: dict[str, SplitPattern] = {
    "gpt2": SplitPattern("gpt2", regex.compile(_GPT2).findall, _LAST_BORDER, re.compile(_GPT2_ASCII, re.ASCII).findall),
    "gpt4": SplitPattern("gpt4", regex.compile(_GPT4).findall, _LAST_BORDER, re.compile(_GPT4_ASCII, re.ASCII).findall),
    "none": SplitPattern("none", _uncut, None),
}


def split_pattern(pattern: str) -> SplitPattern:
    """The pattern of this name, or the regular expression itself, with what it does not match as words too.

    Raises ValueError for an expression that cannot be used (`custom_patterns.py`), and for what is only a word: that is
    a name misspelt.
    """
    if pattern in PATTERNS:
        return PATTERNS[pattern]
    names = ", ".join(PATTERNS)
    if not isinstance(pattern, str) or re.fullmatch(r"[\w-]*", pattern):
        raise ValueError(f"pattern: got {pattern!r}, must be one of {names} or a regular expression: no other is known")
    try:
        compiled = compile_pattern(pattern)
    except ValueError as error:
        shown = pattern if len(pattern) <= 80 else pattern[:77] + "..."
        raise ValueError(f"pattern: got {shown!r}, must be one of {names} or a regular expression: {error}") from None
    return SplitPattern(pattern, partial(split_text, compiled), None)


def published_form(pattern: str) -> str:
    r"""The pattern as other tools read it: without what only some engines know (`\p{L}++` is faster, not different)."""
    return _PUBLISHED.get(pattern, pattern)


_PUBLISHED = {"gpt2": _GPT2.replace("++", "+"), "gpt4": _GPT4, "none": r"[\s\S]+"}


def whole_words(chunks: Iterable[str], pattern: SplitPattern) -> Iterator[str]:
    """Cut one text, given in arbitrary chunks, anew at borders of words.

    The words of what this yields, one after the other, are the words of the joined text. Holds back only what may
    still change; with a pattern that has no `last_border` that is everything.
    """
    held: list[str] = []
    last = ""
    for chunk in chunks:
        if not chunk:
            continue
        border = pattern.last_border(last + chunk) if pattern.last_border else None
        if border is not None:
            cut = border.start() - len(last)
            yield "".join((*held, chunk[:cut]))
            held = [chunk[cut:]]
        else:
            held.append(chunk)
        last = chunk[-1]
    if held:
        yield "".join(held)
