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


class Merges(NamedTuple):
    """A vocabulary as the kernels need it."""

    byte_ids: Ints  # (256,) the id of each byte
    byte_ranks: Ints  # (65536,) the rank of the merge of two bytes, by 256 * first + second; none: NO_RANK
    slots: Words  # (a power of two,) left id << 43 | right id << 22 | rank, found by a hash of the ids
    products: Ints  # (n,) the id that each merge gives


def make_merges(byte_ids: Ints, left: Ints, right: Ints, products: Ints) -> Merges:
    """`left`, `right`, `products`: ids of each merge, (n,) int32, the earliest learned first."""
    n_slots = 1024
    while n_slots < 2 * len(left):
        n_slots *= 2
    slots = np.full(n_slots, _FREE, np.uint64)
    byte_ranks = np.full(65536, NO_RANK, np.int32)
    fill_ranks(byte_ids, left, right, slots, byte_ranks)
    return Merges(byte_ids, byte_ranks, slots, products)


@entry
def fill_ranks(byte_ids: Ints, left: Ints, right: Ints, slots: Words, byte_ranks: Ints) -> None:
    for rank in range(left.shape[0]):
        pair = np.uint64(left[rank]) << _BITS | np.uint64(right[rank])
        slot = _first_slot(pair, slots.shape[0])
        while slots[slot] != _FREE:
            slot = (slot + 1) & (slots.shape[0] - 1)
        slots[slot] = pair << _RANK_BITS | np.uint64(rank)
    for first in range(256):
        for second in range(256):
            byte_ranks[256 * first + second] = rank_of(slots, byte_ids[first], byte_ids[second])


@inlined
def _first_slot(pair: np.uint64, n_slots: int) -> int:
    return integer((pair * _MULTIPLIER) >> _HALF) & (n_slots - 1)


@inlined
def rank_of(slots: Words, left: int, right: int) -> int:
    """The rank of the merge of two ids, or NO_RANK."""
    pair = np.uint64(left) << _BITS | np.uint64(right)
    slot = _first_slot(pair, slots.shape[0])
    while True:
        found = slots[slot]
        if found == _FREE:
            return NO_RANK
        if found >> _RANK_BITS == pair:
            return integer(found & _RANK)
        slot = (slot + 1) & (slots.shape[0] - 1)
