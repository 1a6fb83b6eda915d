"""BPE-dropout: merges are passed over at random, so that one word is cut in many ways.

Provilkov et al., 2020 (arXiv:1910.13267), in the form of HF tokenizers: the pair that comes first in the list of merges
is drawn; with the probability `dropout` it waits until another one has been taken, else it is merged.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

Candidate = tuple[int, int]
"""The place of a merge in the list, and that of the left token in the word."""


def merge_with_dropout(
    ids: list[int],
    ranks: Mapping[tuple[int, int], int],
    products: Sequence[int],
    dropout: float,
    rng: random.Random,
) -> None:
    """Merge in place: what remains of a token stands where its first part was, all else becomes -1."""
    n = len(ids)
    following = [*range(1, n), -1] if n else []
    before = [-1, *range(n - 1)]

    def rank_at(place: int) -> int | None:
        return None if following[place] < 0 else ranks.get((ids[place], ids[following[place]]))

    waiting: list[Candidate] = [(rank, place) for place in range(n) if (rank := rank_at(place)) is not None]
    heapify(waiting)
    passed_over: list[Candidate] = []
    while waiting:
        rank, place = heappop(waiting)
        if rng.random() < dropout:
            passed_over.append((rank, place))
            continue
        for candidate in passed_over:
            heappush(waiting, candidate)
        passed_over.clear()
        if ids[place] < 0:
            continue
        now = rank_at(place)
        if now is None or products[now] != products[rank]:
            continue  # the pair that was meant is there no more
        gone = following[place]
        ids[place], ids[gone] = products[rank], -1
        following[place] = following[gone]
        if following[gone] >= 0:
            before[following[gone]] = place
        for at in (before[place], place):
            if at >= 0 and (rank_here := rank_at(at)) is not None:
                heappush(waiting, (rank_here, at))
