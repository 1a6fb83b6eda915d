"""A hash table keyed by the bytes of a word, and what goes with it.

Open addressing over rows of four 64-bit numbers, so that one row is half a cache line:

| | a word of 1 to 15 bytes | a word of 16 to 255 bytes |
|---|---|---|
| row[0] | bytes 0 to 7 | a hash of its bytes |
| row[1] | bytes 8 to 14, length << 56 | place of its bytes in `texts`, length << 40, 255 << 56 |
| row[2], row[3] | the value | the value |

A row whose second number is 0 is free. Bytes are compared exactly, those of long words in `texts`. A kernel that finds
too little room stops and says so; `grown` then gives a larger table, and the kernel goes on where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.compiling import entry, inlined, part
from tokenizers_scratch.kernels.machine import load_8_bytes, prefetch

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ids, Longs, Words

LONGEST_SHORT = 15
LONGEST = 255
"""Longer words are not kept in a table that may forget."""

ROWS, TEXT, IDS = 0, 1, 2
"""Places in `used`."""

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_ALL = 0xFFFF_FFFF_FFFF_FFFF
# What to keep of the first and the second eight bytes of a word, by its length.
_LOW = np.array([_ALL >> (64 - 8 * min(n, 8)) if n else 0 for n in range(16)], np.uint64)
_HIGH = np.array([_ALL >> (64 - 8 * (n - 8)) if n > 8 else 0 for n in range(16)], np.uint64)
_LENGTH = np.array([n << 56 for n in range(16)], np.uint64)
_LONG = np.uint64(0xFF << 56)
_PLACE = np.uint64((1 << 40) - 1)
_SHIFT_LENGTH = np.uint64(40)
_SHIFT_TOP = np.uint64(56)
_HALF = np.uint64(32)
_TOP_BYTE = np.uint64(0xFF)
_NOTHING = np.uint64(0)


class WordTable(NamedTuple):
    """The rows, what they point to, and how much of each is used."""

    rows: Words  # (a power of two, 4)
    texts: Bytes
    ids: Ids
    used: Longs  # rows, bytes of texts, ids


class Ahead(NamedTuple):
    """The next words of a text: a thread's own."""

    ends: Longs  # (words,) where they end
    low: Words  # (words,) row[0] and row[1] of each
    high: Words
    slots: Longs  # (words,) where to look for it first


def ahead(n_words: int = 512) -> Ahead:
    """Room for the next words."""
    return Ahead(
        np.empty(n_words, np.int64),
        np.empty(n_words, np.uint64),
        np.empty(n_words, np.uint64),
        np.empty(n_words, np.int64),
    )


def empty_table(n_rows: int, n_bytes: int, n_ids: int) -> WordTable:
    """A table without words. `n_rows` must be a power of two."""
    return WordTable(_free_rows(n_rows), np.empty(n_bytes, np.uint8), np.empty(n_ids, np.uint32), np.zeros(3, np.int64))


def _free_rows(n_rows: int) -> Words:
    rows = np.empty((n_rows, 4), np.uint64)
    rows.fill(0)  # at once, and not page by page when first touched, as with np.zeros, which takes five times as long
    return rows


def grown(table: WordTable, n_bytes: int, n_ids: int) -> WordTable:
    """A table with the same words and more room: at least for `n_bytes` of texts and `n_ids` ids more."""
    rows, texts, ids, used = table
    if 2 * used[ROWS] >= len(rows):
        larger = _free_rows(4 * len(rows))
        move_rows(rows, larger)
        rows = larger
    if used[TEXT] + n_bytes > len(texts):
        texts = np.concatenate((texts[: used[TEXT]], np.empty(len(texts) + n_bytes, np.uint8)))
    if used[IDS] + n_ids > len(ids):
        ids = np.concatenate((ids[: used[IDS]], np.empty(len(ids) + n_ids, np.uint32)))
    return WordTable(rows, texts, ids, used)


@inlined
def short_key(data: Bytes, i: int, length: int) -> tuple[np.uint64, np.uint64]:
    """row[0] and row[1] of a word of 1 to 15 bytes."""
    low = load_8_bytes(data, i) & _LOW[length]
    high = (load_8_bytes(data, i + 8) & _HIGH[length]) | _LENGTH[length]
    return low, high


@inlined
def long_hash(data: Bytes, i: int, length: int) -> np.uint64:
    """row[0] of a word of more than 15 bytes."""
    result = np.uint64(length) * _MULTIPLIER
    end = i + length
    while i + 8 <= end:
        result = (result ^ load_8_bytes(data, i)) * _MULTIPLIER
        result ^= result >> _HALF
        i += 8
    if i < end:
        result = (result ^ (load_8_bytes(data, i) & _LOW[end - i])) * _MULTIPLIER
        result ^= result >> _HALF
    return result


@inlined
def _slot(low: np.uint64, high: np.uint64, n_rows: int) -> int:
    """Where to look first."""
    mixed = (low ^ (high * _MULTIPLIER)) * _MULTIPLIER
    mixed ^= mixed >> _HALF
    return integer((mixed * _MULTIPLIER) >> _HALF) & (n_rows - 1)


@part
def keys_ahead(data: Bytes, i: int, n: int, rows: Words, ahead: Ahead) -> None:
    """The keys of the next `n` words, which end at `ahead.ends`, and where in `rows` to look for them first.

    The rows start to come into the processor's cache while other keys are made, which hides half the time they take.
    """
    for k in range(n):
        end = ahead.ends[k]
        length = end - i
        if length <= LONGEST_SHORT:
            low, high = short_key(data, i, length)
        else:
            low, high = long_hash(data, i, length), _NOTHING
        slot = _slot(low, high, rows.shape[0])
        prefetch(rows, slot)
        ahead.low[k], ahead.high[k], ahead.slots[k] = low, high, slot
        i = end


@inlined
def find_short(rows: Words, slot: int, low: np.uint64, high: np.uint64) -> int:
    """The row of a short word, or the free row where it belongs, from `slot` on."""
    while rows[slot, 1] != _NOTHING and (rows[slot, 1] != high or rows[slot, 0] != low):
        slot = (slot + 1) & (rows.shape[0] - 1)
    return slot


@inlined
def find_long(rows: Words, slot: int, texts: Bytes, hashed: np.uint64, data: Bytes, i: int, length: int) -> int:
    """The row of a long word, or the free row where it belongs, from `slot` on."""
    while rows[slot, 1] != _NOTHING:
        key = rows[slot, 1]
        if rows[slot, 0] == hashed and key >> _SHIFT_LENGTH == np.uint64(0xFF << 16 | length):
            place = integer(key & _PLACE)
            n = 0
            while n < length and texts[place + n] == data[i + n]:
                n += 1
            if n == length:
                break
        slot = (slot + 1) & (rows.shape[0] - 1)
    return slot


@inlined
def add_short(table: WordTable, slot: int, low: np.uint64, high: np.uint64) -> None:
    """Fill the key of a free row."""
    table.rows[slot, 0] = low
    table.rows[slot, 1] = high
    table.used[ROWS] += 1


@inlined
def add_long(table: WordTable, slot: int, hashed: np.uint64, data: Bytes, i: int, length: int) -> None:
    """Fill the key of a free row, and keep the word's bytes."""
    place = table.used[TEXT]
    for n in range(length):
        table.texts[place + n] = data[i + n]
    table.rows[slot, 0] = hashed
    table.rows[slot, 1] = _LONG | np.uint64(length << 40) | np.uint64(place)
    table.used[TEXT] += length
    table.used[ROWS] += 1


@entry
def move_rows(rows: Words, larger: Words) -> None:
    """Copy the rows of one table to where they belong in a larger, empty one."""
    n_rows = larger.shape[0]
    for old in range(rows.shape[0]):
        high = rows[old, 1]
        if high == _NOTHING:
            continue
        slot = _slot(rows[old, 0], _NOTHING if high >> _SHIFT_TOP == _TOP_BYTE else high, n_rows)
        while larger[slot, 1] != _NOTHING:
            slot = (slot + 1) & (n_rows - 1)
        for part_of_row in range(4):
            larger[slot, part_of_row] = rows[old, part_of_row]
