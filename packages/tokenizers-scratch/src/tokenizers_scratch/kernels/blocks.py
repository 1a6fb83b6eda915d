"""Where words end, 64 bytes at a time: the rules of `splitting.py` for ASCII, as arithmetic on sets of places.

A set of places in a block of 64 bytes is a number of 64 bits, bit `i` for byte `i`. Each block begins where a word
does, so nothing carries over from the one before. What the arithmetic does not cover ends a block early, and the word
there is left to `splitting.word_end`: contractions, other characters than ASCII, and for gpt4 line breaks and numbers
of more than three digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tokenizers_scratch.kernels.compiling import inlined, part
from tokenizers_scratch.kernels.machine import BLOCK, bytes_between, trailing_zeros
from tokenizers_scratch.kernels.splitting import GPT4, NONE, word_end

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Longs

_NONE_YET = np.uint64(0)
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)


@part
def word_ends(data: Bytes, i: int, stop: int, classes: Bytes, pattern: int, ends: Longs) -> int:
    """Write the ends of the next words to `ends`, until that is full or the text is over; return how many they are."""
    n = 0
    most = ends.shape[0] - BLOCK
    while i < stop and n < most:
        starts = _NONE_YET
        if pattern != NONE:
            starts = _starts(data, i, stop, pattern)
        if starts == _NONE_YET:
            i = word_end(data, i, stop, classes, pattern)
            ends[n] = i
            n += 1
            continue
        block = i
        while starts != _NONE_YET:
            i = block + trailing_zeros(starts)
            starts &= starts - _ONE
            ends[n] = i
            n += 1
    return n


@inlined
def _starts(data: Bytes, i: int, stop: int, pattern: int) -> np.uint64:
    """Where words start in the block at `i`, itself left out, as far as the arithmetic goes."""
    letters = bytes_between(data, i, 0x20, 97, 122)
    numbers = bytes_between(data, i, 0, 48, 57)
    spaces = bytes_between(data, i, 0, 32, 32)
    white = spaces | bytes_between(data, i, 0, 9, 13)
    apostrophes = bytes_between(data, i, 0, 39, 39)
    stops = bytes_between(data, i, 0, 128, 255)
    visible = ~white
    others = ~(white | letters | numbers)
    # White space: the last of a run goes with what follows or stands alone; the others are one word.
    starts = white & ((visible >> _ONE) | ~(white << _ONE))
    after_space = spaces << _ONE
    starts |= others & ~(others << _ONE) & ~after_space
    if pattern == GPT4:
        # A letter takes along what stands before it: white space, or one other character that starts a word.
        starts |= letters & ~((letters | white) << _ONE) & ~((others & starts) << _ONE)
        starts |= numbers & ~(numbers << _ONE)
        stops |= bytes_between(data, i, 0, 10, 13)
        stops |= numbers & (numbers << _ONE) & (numbers << _TWO) & (numbers << _THREE)
    else:
        starts |= letters & ~(letters << _ONE) & ~after_space
        starts |= numbers & ~(numbers << _ONE) & ~after_space
    # The byte at `known` and the last before it are not decided here.
    known = min(stop - i, BLOCK)
    if stops != _NONE_YET:
        known = min(known, trailing_zeros(stops))
    if known < 3 or apostrophes & _ONE != _NONE_YET:
        return _NONE_YET
    starts &= (_ONE << np.uint64(known - 1)) - _TWO
    contractions = starts & apostrophes
    # Nothing after the first apostrophe that starts a word.
    result: np.uint64 = starts & (contractions ^ (contractions - _ONE))
    return result
