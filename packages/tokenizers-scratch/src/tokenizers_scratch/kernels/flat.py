"""Words as one array of characters, and how far pieces may reach in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenizers_scratch.kernels.arrays import Ints, Longs


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
    kind = np.array([0, *kinds])[codes]
    is_end = np.append((kind[:-1] != kind[1:]) & (kind[:-1] != 0), True)
    is_end[starts[1:] - 1] = True
    ends = np.flatnonzero(is_end) + 1
    places = np.arange(codes.size)
    room: Ints = np.minimum(ends[np.searchsorted(ends, places, "right")] - places, longest).astype(np.int32)
    return room
