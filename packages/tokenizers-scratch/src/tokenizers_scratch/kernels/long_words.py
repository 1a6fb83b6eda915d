"""Merge words of more than 256 bytes: pairs in order of rank, in time n log n.

The pairs of bytes that a word starts with are sorted once; only pairs that merges make wait in a heap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.compiling import inlined, part
from tokenizers_scratch.kernels.machine import prefetch
from tokenizers_scratch.kernels.ranks import NO_RANK, Merges, rank_of

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ids, Ints, Longs

LONGEST_SCANNED = 256

_DIGIT = 2048  # a rank has two digits in the sort
_AHEAD = 8  # pairs whose places are brought into the processor's cache before their turn


class Workspace(NamedTuple):
    """Room to merge one word in: a thread's own."""

    links: Ints  # (4 * length of the longest word,)
    heap: Longs  # (3 * length of the longest word,) if that is longer than LONGEST_SCANNED
    digits: Ints  # (_DIGIT,)


def workspace_for(length: int) -> Workspace:
    """Room for words of up to `length` bytes. Each merge adds at most two pairs to the heap, and there are fewer merges
    than bytes."""
    heap = 3 * length if length > LONGEST_SCANNED else 0
    links = np.empty(4 * max(length, LONGEST_SCANNED), np.int32)
    return Workspace(links, np.empty(heap, np.int64), np.empty(_DIGIT, np.int32))


@part
def merge_long_word(data: Bytes, i: int, n: int, merges: Merges, out: Ids, n_out: int, space: Workspace) -> int:
    """Write the ids of a word to `out` from `n_out` on, and return where they end."""
    byte_ids, byte_ranks, products = merges.byte_ids, merges.byte_ranks, merges.products
    # Of place k: its symbol at 4k, the place after it at 4k + 1, the place before it at 4k + 2: all in one cache line.
    links, heap = space.links, space.heap
    pairs = heap[2 * n :]  # rank << 32 | place
    n_pairs, n_heap = 0, 0
    for k in range(n):
        links[4 * k] = byte_ids[data[i + k]]
        links[4 * k + 1] = k + 1
        links[4 * k + 2] = k - 1
    for k in range(n - 1):
        rank = integer(byte_ranks[integer(data[i + k]) << 8 | integer(data[i + k + 1])])
        if rank < NO_RANK:
            pairs[n_pairs] = rank << 32 | k
            n_pairs += 1
    _sort_by_rank(pairs, n_pairs, heap, space.digits)
    next_pair = 0
    while next_pair < n_pairs or n_heap > 0:
        if n_heap == 0 or (next_pair < n_pairs and pairs[next_pair] < heap[0]):
            pair = pairs[next_pair]
            next_pair += 1
            if next_pair + _AHEAD < n_pairs:
                prefetch(links, 4 * (pairs[next_pair + _AHEAD] & 0xFFFFFFFF))
        else:
            pair = heap[0]
            n_heap = _pop(heap, n_heap)
        rank, place = pair >> 32, pair & 0xFFFFFFFF
        symbol, second = links[4 * place], integer(links[4 * place + 1])
        if symbol < 0 or second == n or rank_of(merges, symbol, links[4 * second]) != rank:
            continue  # one of the two was merged in the meantime
        symbol = products[rank]
        third = integer(links[4 * second + 1])
        links[4 * place] = symbol
        links[4 * second] = -1
        links[4 * place + 1] = third
        if third < n:
            links[4 * third + 2] = place
            rank = rank_of(merges, symbol, links[4 * third])
            if rank < NO_RANK:
                n_heap = _push(heap, n_heap, rank << 32 | place)
        previous = integer(links[4 * place + 2])
        if previous >= 0:
            rank = rank_of(merges, links[4 * previous], symbol)
            if rank < NO_RANK:
                n_heap = _push(heap, n_heap, rank << 32 | previous)
    k = 0
    while k < n:
        out[n_out] = links[4 * k]
        n_out += 1
        k = integer(links[4 * k + 1])
    return n_out


@part
def _sort_by_rank(pairs: Longs, n: int, spare: Longs, digits: Ints) -> None:
    """Sort pairs that are in order of place by rank, then place: a radix sort, which keeps the order of equals."""
    _sort_by_digit(pairs, n, spare, digits, 32)
    _sort_by_digit(spare, n, pairs, digits, 43)


@inlined
def _sort_by_digit(pairs: Longs, n: int, sorted_pairs: Longs, digits: Ints, shift: int) -> None:
    for digit in range(_DIGIT):
        digits[digit] = 0
    for k in range(n):
        digits[(pairs[k] >> shift) & (_DIGIT - 1)] += 1
    start = 0
    for digit in range(_DIGIT):
        start, digits[digit] = start + digits[digit], start
    for k in range(n):
        digit = (pairs[k] >> shift) & (_DIGIT - 1)
        sorted_pairs[digits[digit]] = pairs[k]
        digits[digit] += 1


@inlined
def _push(heap: Longs, n: int, value: int) -> int:
    """Add a number to `n` others, of which the smallest is at heap[0]; return how many there are now.

    An entry has four children, which share a cache line: half as many levels as with two.
    """
    k = n
    while k > 0 and heap[(k - 1) >> 2] > value:
        heap[k] = heap[(k - 1) >> 2]
        k = (k - 1) >> 2
    heap[k] = value
    return n + 1


@inlined
def _pop(heap: Longs, n: int) -> int:
    """Remove heap[0]; return how many are left."""
    _sift_down(heap, n - 1, 0, heap[n - 1])
    return n - 1


@inlined
def _sift_down(heap: Longs, n: int, k: int, value: int) -> None:
    """Put `value` in the place of entry `k`, or below it."""
    while 4 * k + 1 < n:
        child = 4 * k + 1
        for other in range(child + 1, min(child + 4, n)):
            if heap[other] < heap[child]:
                child = other
        if heap[child] >= value:
            break
        heap[k] = heap[child]
        k = child
    heap[k] = value
