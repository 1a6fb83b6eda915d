"""Words as symbols, and every pair of neighbours with its count and its places: what both learners of merges keep.

All words lie one behind the other in flat arrays, linked within each word. A place is in the list of the pair that
begins there: a doubly linked list through the places themselves, so that nothing is allocated and nothing is searched.
A pair is found by its two symbols in an open-addressing table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import Ints, Longs, integer
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
    n_places: Ints
    first: Ints  # the first of its places, or NONE
    last: Ints
    keys: Longs  # (a power of two,) the symbols of pairs, left << 32 | right, or NONE
    at_key: Ints  # the pair of each key
    numbers: Longs


@inlined
def find_key(pairs: Pairs, key: int) -> int:
    """Where in `keys` the key is, or would be."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    at = int(mixed >> np.uint64(20)) & (pairs.keys.size - 1)
    while pairs.keys[at] != NONE and pairs.keys[at] != key:
        at = (at + 1) & (pairs.keys.size - 1)
    return at


@part
def add_place(text: Text, pairs: Pairs, place: int, left: int, right: int) -> int:
    """Enter that this pair begins at `place`; the number of the pair."""
    key = integer(left) << 32 | integer(right)
    at = find_key(pairs, key)
    if pairs.keys[at] == key:
        pair = integer(pairs.at_key[at])
    else:
        pair = pairs.numbers[N_PAIRS]
        pairs.numbers[N_PAIRS] += 1
        pairs.keys[at] = key
        pairs.at_key[at] = pair
        pairs.left[pair] = left
        pairs.right[pair] = right
        pairs.counts[pair] = 0
        pairs.n_places[pair] = 0
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
    pairs.n_places[pair] += 1
    return pair


@part
def remove_place(text: Text, pairs: Pairs, place: int) -> int:
    """Strike out the pair that begins at `place`; its number, or NONE."""
    pair = text.pair[place]
    if pair == NONE:
        return NONE
    text.pair[place] = NONE
    pairs.counts[pair] -= text.weights[place]
    pairs.n_places[pair] -= 1
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
        key = integer(pairs.left[pair]) << 32 | integer(pairs.right[pair])
        at = find_key(pairs, key)
        pairs.keys[at] = key
        pairs.at_key[at] = pair


@part
def same_piece(letters: Ints, starts: Ints, lengths: Ints, symbol: int, start: int, length: int) -> bool:
    """Whether this symbol, a piece of lengths[symbol] letters from starts[symbol], is that of `length` from `start`."""
    if lengths[symbol] != length:
        return False
    for i in range(length):  # noqa: SIM110 - numba has no all()
        if letters[starts[symbol] + i] != letters[start + i]:
            return False
    return True


@part
def find_piece(letters: Ints, starts: Ints, lengths: Ints, start: int, length: int, table: Ints) -> int:
    """Where in `table` the piece of so many letters from `start` is, or would be."""
    key = np.uint64(length)
    for i in range(start, start + length):
        key = (key ^ np.uint64(letters[i])) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(31)
    at = int(key >> np.uint64(20)) & (table.size - 1)
    while table[at] != NONE and not same_piece(letters, starts, lengths, table[at], start, length):
        at = (at + 1) & (table.size - 1)
    return at


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
    left, right, n_places, first, last = (np.empty(capacity, np.int32) for _ in range(5))
    keys = np.full(1 << (2 * capacity - 1).bit_length(), NONE, np.int64)
    at_key = np.empty(keys.size, np.int32)
    return Pairs(left, right, np.empty(capacity, np.int64), n_places, first, last, keys, at_key, np.zeros(2, np.int64))


def larger_pairs(pairs: Pairs, capacity: int) -> Pairs:
    """The same pairs with more room."""
    new = new_pairs(capacity)
    used = int(pairs.numbers[N_PAIRS])
    for name in ("left", "right", "counts", "n_places", "first", "last"):
        getattr(new, name)[:used] = getattr(pairs, name)[:used]
    new.numbers[:] = pairs.numbers
    rebuild_table(new)
    return new
