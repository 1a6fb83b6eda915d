r"""Where words end: the patterns of `patterns.py`, written by hand over UTF-8 bytes.

Each function takes the place where a word starts and gives the place where it ends, for

    gpt2  '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    gpt4  '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+

A byte that belongs to no character counts as a character that is neither letter, number nor white space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.classes import LETTER, NUMBER, OTHER, WHITE
from tokenizers_scratch.kernels.compiling import inlined, part
from tokenizers_scratch.kernels.machine import VECTOR, leading_letters

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes

GPT2, GPT4, NONE = 0, 1, 2
PATTERN_NUMBERS = {"gpt2": GPT2, "gpt4": GPT4, "none": NONE}

_LF, _CR, _SPACE, _APOSTROPHE = 10, 13, 32, 39
_D, _E, _L, _M, _R, _S, _T, _V = b"delmrstv"


@inlined
def word_end(data: Bytes, i: int, stop: int, classes: Bytes, pattern: int) -> int:
    """The end of the word at `i` of a text that ends at `stop`."""
    if pattern == GPT2:
        end = _gpt2_word_end(data, i, stop, classes)
    elif pattern == GPT4:
        end = _gpt4_word_end(data, i, stop, classes)
    else:
        end = stop
    return min(end, stop)


@inlined
def _gpt2_word_end(data: Bytes, i: int, stop: int, classes: Bytes) -> int:
    first = data[i]
    j = i + 1 if first == _SPACE else i
    n = leading_letters(data, j)
    if n > 0:
        if n < VECTOR and data[j + n] < 0x80:
            return j + n  # an ASCII word, the usual case
        return _run_end(data, j + n, stop, classes, LETTER)
    if first == _APOSTROPHE:
        n = _contraction(data, i, 0)
        if n > 0:
            return i + n
    kind, width = _character(data, j, classes)
    if j < stop and kind != WHITE:
        return _run_end(data, j + width, stop, classes, kind)
    end, last, _ = _white_run(data, i, stop, classes)
    return last if end < stop and last > i else end


@inlined
def _gpt4_word_end(data: Bytes, i: int, stop: int, classes: Bytes) -> int:
    first = data[i]
    if first == _APOSTROPHE:
        n = _contraction(data, i, 0x20)
        if n > 0:
            return i + n
    kind, width = _character(data, i, classes)
    if kind == NUMBER:
        end = i + width
        for _ in range(2):
            kind, width = _character(data, end, classes)
            if end >= stop or kind != NUMBER:
                break
            end += width
        return end
    j = i
    if kind != LETTER and first != _CR and first != _LF:
        j = i + width
    letters = leading_letters(data, j)
    if letters > 0:
        if letters < VECTOR and data[j + letters] < 0x80:
            return j + letters
        return _run_end(data, j + letters, stop, classes, LETTER)
    following, following_width = _character(data, j, classes)
    if j < stop and following == LETTER:
        return _run_end(data, j + following_width, stop, classes, LETTER)
    if kind == OTHER or (first == _SPACE and j < stop and following == OTHER):
        end = _run_end(data, j, stop, classes, OTHER)
        while end < stop and (data[end] == _LF or data[end] == _CR):
            end += 1
        return end
    end, last, after_line_break = _white_run(data, i, stop, classes)
    if after_line_break > 0:
        return after_line_break
    return last if end < stop and last > i else end


@inlined
def _contraction(data: Bytes, i: int, fold: int) -> int:
    """The length of 's 'd 'm 't 'll 've 're at `i`, or 0; `fold` 0x20 takes capitals too, and U+017F as an s."""
    one, two = data[i + 1] | fold, data[i + 2] | fold
    if one in (_S, _T, _D, _M):
        return 2
    if (one == _L and two == _L) or (one in (_V, _R) and two == _E):
        return 3
    if fold != 0 and data[i + 1] == 0xC5 and data[i + 2] == 0xBF:
        return 3
    return 0


@part
def _run_end(data: Bytes, i: int, stop: int, classes: Bytes, wanted: int) -> int:
    """The first place from `i` on whose character is not of the class `wanted`."""
    while i < stop:
        kind, width = _character(data, i, classes)
        if kind != wanted:
            break
        i += width
    return i


@part
def _white_run(data: Bytes, i: int, stop: int, classes: Bytes) -> tuple[int, int, int]:
    """White space from `i` on: its end, its last character, and the place after its last line break (0: none)."""
    last, after_line_break = i, 0
    while i < stop:
        kind, width = _character(data, i, classes)
        if kind != WHITE:
            break
        last = i
        i += width
        if data[last] == _LF or data[last] == _CR:
            after_line_break = i
    return i, last, after_line_break


@inlined
def _character(data: Bytes, i: int, classes: Bytes) -> tuple[int, int]:
    """Class and number of bytes of the character at `i`."""
    a = integer(data[i])
    if a < 0x80:
        return integer(classes[a]), 1
    b = integer(data[i + 1]) ^ 0x80  # below 0x40 if it continues a character
    if a < 0xE0:
        if a >= 0xC2 and b < 0x40:
            return integer(classes[(a & 0x1F) << 6 | b]), 2
        return OTHER, 1
    c = integer(data[i + 2]) ^ 0x80
    if a < 0xF0:
        code = (a & 0x0F) << 12 | b << 6 | c
        if (b | c) < 0x40 and code >= 0x800:
            return integer(classes[code]), 3
        return OTHER, 1
    d = integer(data[i + 3]) ^ 0x80
    code = (a & 0x07) << 18 | b << 12 | c << 6 | d
    if a < 0xF5 and (b | c | d) < 0x40 and 0x10000 <= code < 0x110000:
        return integer(classes[code]), 4
    return OTHER, 1


@part
def border_after(data: Bytes, i: int, stop: int, classes: Bytes, pattern: int) -> int:
    """A place from `i` on (after the first character) where cutting the text changes no word; `stop` if there is none.

    gpt2: before white space that follows something visible, since no word goes on from there. gpt4: the same where the
    white space is no line break, and after a line break that something visible follows.
    """
    if pattern == NONE:
        return stop
    while i < stop and (data[i] & 0xC0) == 0x80:
        i += 1
    before, before_white = -1, True
    while i < stop:
        kind, width = _character(data, i, classes)
        line_break = data[i] == _LF or data[i] == _CR
        if before >= 0:
            if kind == WHITE and not before_white and (pattern == GPT2 or not line_break):
                return i
            if pattern == GPT4 and kind != WHITE and before == _LF:
                return i
        before, before_white = integer(data[i]), kind == WHITE
        i += width
    return stop
