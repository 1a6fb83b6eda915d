"""The merges of a vocabulary as kernels need them: from a pair of ids to its rank, from a rank to an id."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.compiling import entry, inlined

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Ints, Words

MOST_IDS = 2**21
"""Two ids and a rank share a 64-bit number, so there can be no more of them than this."""

NO_RANK = 2**22

_BITS = np.uint64(21)
_RANK_BITS = np.uint64(22)
_RANK = np.uint64(2**22 - 1)
_FREE = np.uint64(2**64 - 1)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_FILTER = 2**19
_FILTER_SHIFT = np.uint64(64 - 19)
_SIX, _SIXTY_THREE, _NONE, _ONE = np.uint64(6), np.uint64(63), np.uint64(0), np.uint64(1)


class Merges(NamedTuple):
    """A vocabulary as the kernels need it."""

    byte_ids: Ints  # (256,) the id of each byte
    byte_ranks: Ints  # (65536,) the rank of the merge of two bytes, by 256 * first + second; none: NO_RANK
    slots: Words  # (a power of two,) left id << 43 | right id << 22 | rank, found by a hash of the ids
    known: Words  # (_FILTER / 64,) one bit for each value of another hash: without it, a pair is not in `slots`
    products: Ints  # (n,) the id that each merge gives


def make_merges(byte_ids: Ints, left: Ints, right: Ints, products: Ints) -> Merges:
    """`left`, `right`, `products`: ids of each merge, (n,) int32, the earliest learned first."""
    n_slots = 1024
    while n_slots < 2 * len(left):
        n_slots *= 2
    slots = np.full(n_slots, _FREE, np.uint64)
    byte_ranks = np.full(65536, NO_RANK, np.int32)
    merges = Merges(byte_ids, byte_ranks, slots, np.zeros(_FILTER // 64, np.uint64), products)
    fill_ranks(left, right, merges)
    return merges


@entry
def fill_ranks(left: Ints, right: Ints, merges: Merges) -> None:
    """Enter all merges."""
    slots, known, byte_ids = merges.slots, merges.known, merges.byte_ids
    for rank in range(left.shape[0]):
        hashed = _hash(left[rank], right[rank])
        slot = integer(hashed >> _HALF) & (slots.shape[0] - 1)
        while slots[slot] != _FREE:
            slot = (slot + 1) & (slots.shape[0] - 1)
        slots[slot] = _pair(left[rank], right[rank]) << _RANK_BITS | np.uint64(rank)
        bit = hashed >> _FILTER_SHIFT
        known[integer(bit >> _SIX)] |= _ONE << (bit & _SIXTY_THREE)
    for first in range(256):
        for second in range(256):
            merges.byte_ranks[256 * first + second] = rank_of(merges, byte_ids[first], byte_ids[second])


@inlined
def rank_of(merges: Merges, left: int, right: int) -> int:
    """The rank of the merge of two ids, or NO_RANK.

    Most pairs that are asked for are no merge, and most of these are known by a table that fits into the processor's
    nearest cache.
    """
    hashed = _hash(left, right)
    bit = hashed >> _FILTER_SHIFT
    if (merges.known[integer(bit >> _SIX)] >> (bit & _SIXTY_THREE)) & _ONE == _NONE:
        return NO_RANK
    slots, pair = merges.slots, _pair(left, right)
    slot = integer(hashed >> _HALF) & (slots.shape[0] - 1)
    while True:
        found = slots[slot]
        if found == _FREE:
            return NO_RANK
        if found >> _RANK_BITS == pair:
            return integer(found & _RANK)
        slot = (slot + 1) & (slots.shape[0] - 1)


@inlined
def _pair(left: int, right: int) -> np.uint64:
    return np.uint64(left) << _BITS | np.uint64(right)


@inlined
def _hash(left: int, right: int) -> np.uint64:
    return _pair(left, right) * _MULTIPLIER
