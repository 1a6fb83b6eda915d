"""Words as symbols, and every pair of neighbours with its count and its places: what both learners of merges keep.

All words lie one behind the other in flat arrays, linked within each word. A place is in the list of the pair that
begins there: a doubly linked list through the places themselves, so that nothing is allocated and nothing is searched.
A pair is found by its two symbols in an open-addressing table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import Bytes, Ints, Longs, integer
from tokenizers_scratch.kernels.compiling import entry, inlined, part

NONE = -1
GONE = -1  # the symbol at a place that was merged into the one before it

# What `numbers` holds.
N_PAIRS, N_SYMBOLS = 0, 1


# What a row of `places` holds: side by side, because a merge reads and writes all of it.
SYMBOL = 0  # the symbol that is there now, or GONE
BEFORE, AFTER = 1, 2  # the place before it in its word and that after it, or NONE
PAIR = 3  # the pair that begins here, or NONE
EARLIER, LATER = 4, 5  # the place before it in the list of its pair and that after it, or NONE
WORD = 6
N_FIELDS = 8


class Text(NamedTuple):
    """Words; P places, W words."""

    letters: Ints  # (P,) the symbol that was there at the start
    places: Ints  # (P, N_FIELDS)
    counts: Longs  # (W,) how often each word occurs


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
    text.places[place, PAIR] = pair
    text.places[place, LATER] = NONE
    text.places[place, EARLIER] = pairs.last[pair]
    if pairs.last[pair] == NONE:
        pairs.first[pair] = place
    else:
        text.places[pairs.last[pair], LATER] = place
    pairs.last[pair] = place
    pairs.counts[pair] += text.counts[text.places[place, WORD]]
    pairs.n_places[pair] += 1
    return pair


@part
def remove_place(text: Text, pairs: Pairs, place: int) -> int:
    """Strike out the pair that begins at `place`; its number, or NONE."""
    pair = text.places[place, PAIR]
    if pair == NONE:
        return NONE
    text.places[place, PAIR] = NONE
    pairs.counts[pair] -= text.counts[text.places[place, WORD]]
    pairs.n_places[pair] -= 1
    earlier, later = text.places[place, EARLIER], text.places[place, LATER]
    if earlier == NONE:
        pairs.first[pair] = later
    else:
        text.places[earlier, LATER] = later
    if later == NONE:
        pairs.last[pair] = earlier
    else:
        text.places[later, EARLIER] = earlier
    return pair  # type: ignore[no-any-return]


@entry
def rebuild_table(pairs: Pairs) -> None:
    """Fill an empty table, after it or the arrays have grown."""
    for pair in range(pairs.numbers[N_PAIRS]):
        key = integer(pairs.left[pair]) << 32 | integer(pairs.right[pair])
        at = find_key(pairs, key)
        pairs.keys[at] = key
        pairs.at_key[at] = pair


@part
def same_piece(letters: Bytes | Ints, starts: Ints, lengths: Ints, symbol: int, start: int, length: int) -> bool:
    """Whether this symbol, a piece of lengths[symbol] letters from starts[symbol], is that of `length` from `start`."""
    if lengths[symbol] != length:
        return False
    for i in range(length):  # noqa: SIM110 - numba has no all()
        if letters[starts[symbol] + i] != letters[start + i]:
            return False
    return True


@part
def find_piece(letters: Bytes | Ints, starts: Ints, lengths: Ints, start: int, length: int, table: Ints) -> int:
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
    numbers = np.arange(letters.size, dtype=np.int32)
    places = np.full((letters.size, N_FIELDS), NONE, np.int32)
    places[:, SYMBOL] = letters
    places[:, BEFORE], places[:, AFTER] = numbers - 1, numbers + 1
    places[starts[:-1], BEFORE] = NONE
    places[starts[1:] - 1, AFTER] = NONE
    places[:, WORD] = np.repeat(np.arange(counts.size, dtype=np.int32), np.diff(starts))
    return Text(letters, places, counts)


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
