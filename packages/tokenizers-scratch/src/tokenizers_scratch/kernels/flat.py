"""Words as one array of characters, and how far pieces may reach in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenizers_scratch.kernels.arrays import Ints, Longs
from tokenizers_scratch.kernels.compiling import entry


def flat(words: Sequence[str]) -> tuple[Ints, Longs]:
    """The code points of words, one behind the other, and where each begins, with the end of the last."""
    codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.int32)
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    return codes, np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))


def number_characters(words: Sequence[str]) -> tuple[Ints, list[str], Longs]:
    """The characters of words numbered from 1 by code points, what each number stands for, and where words begin."""
    code_points, starts = flat(words)
    used = np.flatnonzero(np.bincount(code_points))
    number = np.zeros(int(used[-1]) + 1, np.int32)
    number[used] = np.arange(1, used.size + 1)
    return number[code_points], [chr(code) for code in used], starts


def room_at(codes: Ints, starts: Longs, kinds: Sequence[int], longest: int) -> Ints:
    """How long a piece that begins at each place may be; `kinds`: those of the characters, by number."""
    room = np.empty(codes.size, np.int32)
    fill_room(codes, starts, np.array([0, *kinds], np.int32), longest, room)
    return room


@entry
def fill_room(codes: Ints, starts: Longs, kinds: Ints, longest: int, room: Ints) -> None:
    """Write to `room` how far it is to the end of the word, or to where its kind of character ends."""
    for word in range(starts.size - 1):
        end = starts[word + 1]
        for i in range(starts[word + 1] - 1, starts[word] - 1, -1):
            kind = kinds[codes[i]]
            if i + 1 < starts[word + 1] and kind != 0 and kind != kinds[codes[i + 1]]:
                end = i + 1
            room[i] = min(end - i, longest)
