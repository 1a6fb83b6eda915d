"""Apply merges to one word: while an adjacent pair is a merge, do the earliest learned one, leftmost first.

The same as `bpe_merge.merge_word`. Words of up to 256 bytes look for the earliest merge by scanning all pairs, which
needs no order to be kept and runs over several pairs at once; longer words keep the pairs in a heap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.compiling import entry, inlined, part
from tokenizers_scratch.kernels.machine import VECTOR, smallest

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ids, Ints, Longs, Words

MOST_IDS = 2**21
"""Two ids and a rank share a 64-bit number, so there can be no more of them than this."""

LONGEST_SCANNED = 256

_BITS = np.uint64(21)
_RANK_BITS = np.uint64(22)
_RANK = np.uint64(2**22 - 1)
_FREE = np.uint64(2**64 - 1)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_NO_RANK = 2**22
_NEVER = np.int32(2**31 - 1)


class Workspace(NamedTuple):
    """Room to merge one word in: a thread's own."""

    links: Ints  # (3 * length of the longest word,)
    heap: Longs  # (3 * length of the longest word,) if that is longer than LONGEST_SCANNED


def workspace_for(length: int) -> Workspace:
    """Room for words of up to `length` bytes. Each merge adds at most two pairs to the heap, and there are fewer merges
    than bytes."""
    heap = 3 * length if length > LONGEST_SCANNED else 0
    links = np.empty(max(3 * length, 4 * LONGEST_SCANNED), np.int32)
    return Workspace(links, np.empty(heap, np.int64))


class Merges(NamedTuple):
    """A vocabulary as the kernels need it."""

    byte_ids: Ints  # (256,) the id of each byte
    byte_ranks: Ints  # (65536,) the rank of the merge of two bytes, by 256 * first + second; none: _NO_RANK
    slots: Words  # (a power of two,) left id << 43 | right id << 22 | rank, found by a hash of the ids
    products: Ints  # (n,) the id that each merge gives


def make_merges(byte_ids: Ints, left: Ints, right: Ints, products: Ints) -> Merges:
    """`left`, `right`, `products`: ids of each merge, (n,) int32, the earliest learned first."""
    n_slots = 1024
    while n_slots < 2 * len(left):
        n_slots *= 2
    slots = np.full(n_slots, _FREE, np.uint64)
    byte_ranks = np.full(65536, _NO_RANK, np.int32)
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
            byte_ranks[256 * first + second] = _rank(slots, byte_ids[first], byte_ids[second])


@inlined
def _first_slot(pair: np.uint64, n_slots: int) -> int:
    return integer((pair * _MULTIPLIER) >> _HALF) & (n_slots - 1)


@inlined
def _rank(slots: Words, left: int, right: int) -> int:
    """The rank of the merge of two ids, or _NO_RANK."""
    pair = np.uint64(left) << _BITS | np.uint64(right)
    slot = _first_slot(pair, slots.shape[0])
    while True:
        found = slots[slot]
        if found == _FREE:
            return _NO_RANK
        if found >> _RANK_BITS == pair:
            return integer(found & _RANK)
        slot = (slot + 1) & (slots.shape[0] - 1)


@inlined
def merge_word(data: Bytes, i: int, length: int, merges: Merges, out: Ids, n_out: int, space: Workspace) -> int:
    """Write the ids of a word to `out` from `n_out` on, and return where they end."""
    if length == 1:
        out[n_out] = merges.byte_ids[data[i]]
        return n_out + 1
    if length <= LONGEST_SCANNED:
        return _merge_scanning(data, i, length, merges, out, n_out, space)
    return _merge_by_heap(data, i, length, merges, out, n_out, space)


@part
def _merge_scanning(data: Bytes, i: int, n: int, merges: Merges, out: Ids, n_out: int, space: Workspace) -> int:
    links = space.links
    symbols, after, before, keys = links[:256], links[256:512], links[512:768], links[768:1024]
    byte_ids, byte_ranks, slots, products = merges
    for k in range(n):
        symbols[k] = byte_ids[data[i + k]]
        after[k] = k + 1
        before[k] = k - 1
    for k in range(n - 1):  # rank, then place
        keys[k] = byte_ranks[integer(data[i + k]) << 8 | integer(data[i + k + 1])] << 8 | k
    n_keys = (n + VECTOR - 1) & -VECTOR
    for k in range(n - 1, n_keys):
        keys[k] = _NEVER
    while True:
        best = smallest(keys, 0)
        for k in range(VECTOR, n_keys, VECTOR):
            best = min(best, smallest(keys, k))
        rank = integer(best) >> 8
        if rank >= _NO_RANK:
            break
        place = integer(best) & 0xFF
        second = integer(after[place])
        third = integer(after[second])
        symbols[place] = products[rank]
        keys[second] = _NEVER
        after[place] = third
        keys[place] = _NEVER
        if third < n:
            before[third] = place
            keys[place] = _rank(slots, symbols[place], symbols[third]) << 8 | place
        previous = integer(before[place])
        if previous >= 0:
            keys[previous] = _rank(slots, symbols[previous], symbols[place]) << 8 | previous
    k = 0
    while k < n:
        out[n_out] = symbols[k]
        n_out += 1
        k = integer(after[k])
    return n_out


@part
def _merge_by_heap(data: Bytes, i: int, n: int, merges: Merges, out: Ids, n_out: int, space: Workspace) -> int:
    links, heap = space
    symbols, after, before = links[:n], links[n : 2 * n], links[2 * n : 3 * n]
    n_heap = 0
    for k in range(n):
        symbols[k] = merges.byte_ids[data[i + k]]
        after[k] = k + 1
        before[k] = k - 1
    for k in range(n - 1):
        rank = integer(merges.byte_ranks[integer(data[i + k]) << 8 | integer(data[i + k + 1])])
        if rank < _NO_RANK:
            n_heap = _push(heap, n_heap, rank * n + k)
    while n_heap > 0:
        rank, place = heap[0] // n, heap[0] % n
        n_heap = _pop(heap, n_heap)
        second = after[place]
        if symbols[place] < 0 or second == n or _rank(merges.slots, symbols[place], symbols[second]) != rank:
            continue  # one of the two was merged in the meantime
        symbols[place] = merges.products[rank]
        symbols[second] = -1
        third = after[second]
        after[place] = third
        if third < n:
            before[third] = place
            rank = _rank(merges.slots, symbols[place], symbols[third])
            if rank < _NO_RANK:
                n_heap = _push(heap, n_heap, rank * n + place)
        previous = before[place]
        if previous >= 0:
            rank = _rank(merges.slots, symbols[previous], symbols[place])
            if rank < _NO_RANK:
                n_heap = _push(heap, n_heap, rank * n + previous)
    k = 0
    while k < n:
        out[n_out] = symbols[k]
        n_out += 1
        k = after[k]
    return n_out


@inlined
def _push(heap: Longs, n: int, value: int) -> int:
    """Add a number to `n` others, of which the smallest is at heap[0]; return how many there are now."""
    k = n
    while k > 0 and heap[(k - 1) >> 1] > value:
        heap[k] = heap[(k - 1) >> 1]
        k = (k - 1) >> 1
    heap[k] = value
    return n + 1


@inlined
def _pop(heap: Longs, n: int) -> int:
    """Remove heap[0]; return how many are left."""
    n -= 1
    value = heap[n]
    k = 0
    while 2 * k + 1 < n:
        child = 2 * k + 1
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[k] = heap[child]
        k = child
    heap[k] = value
    return n
