"""Apply merges to one word: while an adjacent pair is a merge, do the earliest learned one, leftmost first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

_GONE = -1  # the symbol at a place that was merged into the one before it


def merge_word(symbols: list[int], ranks: Mapping[tuple[int, int], int], products: Sequence[int]) -> list[int]:
    """Ids of a word given as the ids of its bytes, which is used up.

    `ranks`: the position of each merge in the list of merges; `products`: the id that each merge gives.
    Pairs wait in a heap by rank, then place, over a linked list of symbols: n log n in the length of the word.
    """
    n = len(symbols)
    # One integer, rank * n + place, orders like (rank, place) and takes a third of the memory.
    heap = [rank * n + place for place, pair in enumerate(pairwise(symbols)) if (rank := ranks.get(pair)) is not None]
    if not heap:
        return symbols
    heapify(heap)
    before = list(range(-1, n - 1))
    after = list(range(1, n + 1))  # n: the end
    while heap:
        rank, place = divmod(heappop(heap), n)
        second = after[place]
        if second == n or ranks.get((symbols[place], symbols[second])) != rank:
            continue  # one of the two was merged in the meantime
        symbols[place], symbols[second] = products[rank], _GONE
        following = after[place] = after[second]
        if following < n:
            before[following] = place
            if (right := ranks.get((symbols[place], symbols[following]))) is not None:
                heappush(heap, right * n + place)
        previous = before[place]
        if previous >= 0 and (left := ranks.get((symbols[previous], symbols[place]))) is not None:
            heappush(heap, left * n + previous)
    return [symbol for symbol in symbols if symbol != _GONE]
