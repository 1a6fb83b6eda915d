"""Words as symbols, and every pair of neighbours with its count and its places: what both learners of merges keep.

All words lie one behind the other in flat arrays, linked within each word. A place is in the list of the pair that
begins there: a doubly linked list through the places themselves, so that nothing is allocated and nothing is searched.
A pair is found by its two symbols in an open-addressing table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import Ints, Longs
from tokenizers_scratch.kernels.compiling import inlined, part

NONE = -1
GONE = -1  # the symbol at a place that was merged into the one before it

# What `numbers` holds.
N_PAIRS, N_SYMBOLS = 0, 1


class Text(NamedTuple):
    """One entry a place; P places."""

    letters: Ints  # (P,) the symbol that was there at the start
    symbols: Ints  # (P,) the symbol that is there now, or GONE
    before: Ints  # (P,) the place before it in its word, or NONE
    after: Ints  # (P,) the place after it
    weights: Longs  # (P,) how often the word occurs
    pair: Ints  # (P,) the pair that begins here, or NONE
    earlier: Ints  # (P,) the place before it in the list of its pair
    later: Ints  # (P,) the place after it there


class Pairs(NamedTuple):
    """One entry a pair, of which numbers[N_PAIRS] are in use."""

    left: Ints
    right: Ints
    counts: Longs
    first: Ints  # the first of its places, or NONE
    last: Ints
    table: Ints  # (a power of two,) pairs by their symbols, or NONE
    numbers: Longs


@inlined
def find_pair(pairs: Pairs, left: int, right: int) -> int:
    """Where in `table` the pair is, or would be."""
    mask = pairs.table.size - 1
    key = np.uint64(left) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(right) * np.uint64(0xC2B2AE3D27D4EB4F)
    key = (key ^ (key >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    at = int(key >> np.uint64(20)) & mask
    while True:
        pair = pairs.table[at]
        if pair == NONE or (pairs.left[pair] == left and pairs.right[pair] == right):
            return at
        at = (at + 1) & mask


@part
def add_place(text: Text, pairs: Pairs, place: int, left: int, right: int) -> int:
    """Enter that this pair begins at `place`; the number of the pair."""
    at = find_pair(pairs, left, right)
    pair = pairs.table[at]
    if pair == NONE:
        pair = pairs.numbers[N_PAIRS]
        pairs.numbers[N_PAIRS] += 1
        pairs.table[at] = pair
        pairs.left[pair] = left
        pairs.right[pair] = right
        pairs.counts[pair] = 0
        pairs.first[pair] = NONE
        pairs.last[pair] = NONE
    text.pair[place] = pair
    text.later[place] = NONE
    text.earlier[place] = pairs.last[pair]
    if pairs.last[pair] == NONE:
        pairs.first[pair] = place
    else:
        text.later[pairs.last[pair]] = place
    pairs.last[pair] = place
    pairs.counts[pair] += text.weights[place]
    return pair  # type: ignore[no-any-return]


@part
def remove_place(text: Text, pairs: Pairs, place: int) -> int:
    """Strike out the pair that begins at `place`; its number, or NONE."""
    pair = text.pair[place]
    if pair == NONE:
        return NONE
    text.pair[place] = NONE
    pairs.counts[pair] -= text.weights[place]
    earlier, later = text.earlier[place], text.later[place]
    if earlier == NONE:
        pairs.first[pair] = later
    else:
        text.later[earlier] = later
    if later == NONE:
        pairs.last[pair] = earlier
    else:
        text.earlier[later] = earlier
    return pair  # type: ignore[no-any-return]


@part
def rebuild_table(pairs: Pairs) -> None:
    """Fill an empty table, after it or the arrays have grown."""
    for pair in range(pairs.numbers[N_PAIRS]):
        pairs.table[find_pair(pairs, pairs.left[pair], pairs.right[pair])] = pair


@part
def count_places(text: Text, pair: int, pairs: Pairs) -> int:
    """How many places a pair has."""
    n = 0
    place = pairs.first[pair]
    while place != NONE:
        n += 1
        place = text.later[place]
    return n


def new_text(letters: Ints, starts: Longs, counts: Longs) -> Text:
    """Words as symbols; `starts` (W + 1,) is where each word begins and ends, `counts` (W,) how often it occurs."""
    size = letters.size
    places = np.arange(size, dtype=np.int32)
    before, after = places - 1, places + 1
    before[starts[:-1]] = NONE
    after[starts[1:] - 1] = NONE
    weights = np.repeat(counts, np.diff(starts))
    pair, earlier, later = (np.full(size, NONE, np.int32) for _ in range(3))
    return Text(letters, letters.copy(), before, after, weights, pair, earlier, later)


def new_pairs(capacity: int) -> Pairs:
    """Room for so many pairs."""
    left, right, first, last = (np.empty(capacity, np.int32) for _ in range(4))
    table = np.full(1 << (2 * capacity - 1).bit_length(), NONE, np.int32)
    return Pairs(left, right, np.empty(capacity, np.int64), first, last, table, np.zeros(2, np.int64))


def larger_pairs(pairs: Pairs, capacity: int) -> Pairs:
    """The same pairs with more room."""
    new = new_pairs(capacity)
    used = int(pairs.numbers[N_PAIRS])
    for name in ("left", "right", "counts", "first", "last"):
        getattr(new, name)[:used] = getattr(pairs, name)[:used]
    new.numbers[:] = pairs.numbers
    rebuild_table(new)
    return new
