"""Substrings of many words that occur more than once, by a suffix array.

A suffix is a place and what follows it, up to a limit: the end of its word, or what a piece may reach. Sorted, all
occurrences of a substring lie side by side, so each group of suffixes with a common beginning that no larger group
has as a whole (an interval of the array of common lengths: Abouelhoda et al., 2004) is one substring that is not always
followed by the same character, with the sum of their weights as its count.
"""

from __future__ import annotations

import numpy as np

from tokenizers_scratch.kernels.arrays import Ints, Longs
from tokenizers_scratch.kernels.compiling import entry


@entry
def pack_ranks(ranks: Longs, room: Ints, reach: int, times: int, bits: int, keys: Longs) -> None:
    """Make one number of the ranks at a place and at the next `times - 1` places, `reach` characters apart.

    `room`: how many characters a suffix has. What lies beyond is rank 0, which no place has.
    """
    for place in range(ranks.size):
        key = ranks[place]
        for i in range(1, times):
            key <<= bits
            if i * reach < room[place]:
                key |= ranks[place + i * reach]
        keys[place] = key


@entry
def common_lengths(order: Longs, codes: Ints, room: Ints, common: Ints) -> None:
    """How many characters each suffix of the sorted ones shares with the one before it; (P + 1,), 0 at both ends."""
    common[0] = 0
    common[order.size] = 0
    for i in range(1, order.size):
        a, b = order[i - 1], order[i]
        n = min(room[a], room[b])
        length = 0
        while length < n and codes[a + length] == codes[b + length]:
            length += 1
        common[i] = length


@entry
def write_substrings(
    order: Longs,
    common: Ints,
    room: Ints,
    weights: Longs,
    stack: Longs,
    starts: Longs,
    lengths: Ints,
    counts: Longs,
    ranks: Longs,
) -> int:
    """All substrings of two characters or more that occur twice and are not always extended alike; how many.

    The last four arrays have room for two a place; ranks[i] orders the substrings as text, together with the length.
    stack: (3 * the greatest common length + 3,).
    """
    n = 0
    top = -1  # of the stack: length, first suffix and weight of the groups that are still open
    for i in range(order.size):
        place = order[i]
        weight = weights[place]
        following = common[i + 1]
        if room[place] > max(common[i], following) and room[place] > 1 and weight > 1:
            starts[n], lengths[n], counts[n], ranks[n] = place, room[place], weight, i
            n += 1
        begin = i
        while top >= 0 and stack[3 * top] > following:
            weight += stack[3 * top + 2]
            begin = stack[3 * top + 1]
            if stack[3 * top] > 1:
                starts[n], lengths[n], counts[n], ranks[n] = order[begin], stack[3 * top], weight, begin
                n += 1
            top -= 1
        if following > 0:
            if top >= 0 and stack[3 * top] == following:
                stack[3 * top + 2] += weight
            else:
                top += 1
                stack[3 * top], stack[3 * top + 1], stack[3 * top + 2] = following, begin, weight
    return n


def sort_suffixes(codes: Ints, room: Ints) -> Longs:
    """The places by what follows them; (P,). `codes`: characters numbered from 1."""
    ranks = codes.astype(np.int64)
    longest, reach = int(room.max()), 1
    while True:
        bits = int(ranks.max()).bit_length()
        times = min(62 // bits, -(-longest // reach))
        if times > 1:
            keys = np.empty_like(ranks)
            pack_ranks(ranks, room, reach, times, bits, keys)
            ranks, reach = keys, reach * times
        if reach >= longest:
            return np.argsort(ranks, kind="stable")
        ranks = np.unique(ranks, return_inverse=True)[1].astype(np.int64) + 1


def repeated_substrings(codes: Ints, room: Ints, weights: Longs) -> tuple[Longs, Ints, Longs]:
    """A place, the length and the count of each, by falling count x length, then as text."""
    order = sort_suffixes(codes, room)
    size = order.size
    common = np.empty(size + 1, np.int32)
    common_lengths(order, codes, room, common)
    starts, counts, ranks = (np.empty(2 * size, np.int64) for _ in range(3))
    lengths = np.empty(2 * size, np.int32)
    stack = np.empty(3 * int(common.max()) + 3, np.int64)
    n = write_substrings(order, common, room, weights, stack, starts, lengths, counts, ranks)
    starts, lengths, counts, ranks = starts[:n], lengths[:n], counts[:n], ranks[:n]
    best = np.lexsort((lengths, ranks, -counts * lengths))
    return starts[best], lengths[best], counts[best]
