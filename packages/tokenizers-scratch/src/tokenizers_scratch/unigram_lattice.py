"""All ways to cut one word into pieces, and what the Unigram model says of them.

Kudo, 2018 (arXiv:1804.10959): each piece has a probability p, a segmentation the product of those of its pieces. A word
of n characters is a lattice with the places 0 to n as nodes and every piece that fits as an edge (start, end, piece);
a segmentation is a path. Everything here is the textbook's dynamic programming over that lattice, in logarithms.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

Edge = tuple[int, int, float]
"""Where a piece starts, where it ends, and its log p."""

Key = TypeVar("Key")

MAX_SEGMENTATIONS = 4096
"""More than this many best segmentations are refused: the work grows with their number at every place."""


def viterbi_tokenize(
    word: str, log_p: Mapping[str, float], *, longest: int | None = None, unknown: float | None = None
) -> tuple[list[str], float]:
    """The most probable segmentation and its log p.

    Among equals the one whose last piece is the longest wins, then whose last but one is, and so on. `longest`: of
    the pieces. `unknown`: the log p of a character that is no piece; None: there is no such way.
    Raises ValueError if no segmentation exists.
    """
    n = len(word)
    longest = max(map(len, log_p), default=1) if longest is None else longest
    best = [0.0] + [-math.inf] * n  # of the word up to each place
    begin = [-1] * (n + 1)  # where the last piece starts
    find = log_p.get
    for start in range(n):
        score_here = best[start]
        if score_here == -math.inf:
            continue
        for end in range(start + 1, min(start + longest, n) + 1):
            score = find(word[start:end])
            if score is None:
                if end > start + 1 or unknown is None:
                    continue
                score = unknown
            if score_here + score > best[end]:
                best[end] = score_here + score
                begin[end] = start
    if best[n] == -math.inf and n:
        raise ValueError(f"{word[:50]!r} cannot be cut into pieces")
    pieces = []
    end = n
    while end > 0:
        pieces.append(word[begin[end] : end])
        end = begin[end]
    return pieces[::-1], best[n]


def edges_of(
    word: str, log_p: Mapping[str, float], *, longest: int | None = None, unknown: float | None = None
) -> list[Edge]:
    """The edges of the lattice, by start, then by end."""
    longest = max(map(len, log_p), default=1) if longest is None else longest
    edges = []
    for start in range(len(word)):
        for end in range(start + 1, min(start + longest, len(word)) + 1):
            score = log_p.get(word[start:end])
            if score is not None:
                edges.append((start, end, score))
            elif end == start + 1 and unknown is not None:
                edges.append((start, end, unknown))
    return edges


def forward(edges: Sequence[Edge], n: int) -> list[float]:
    """log of the summed p of all ways from place 0 to each place; n + 1 values, the last is log Z."""
    into: list[list[float]] = [[] for _ in range(n + 1)]
    alpha = [0.0] + [-math.inf] * n
    for start, end, score in edges:  # by start, so all that leads to `start` is known
        if into[start]:
            alpha[start] = log_sum_exp(into[start])
            into[start] = []
        into[end].append(alpha[start] + score)
    if n and into[n]:
        alpha[n] = log_sum_exp(into[n])
    return alpha


def backward(edges: Sequence[Edge], n: int) -> list[float]:
    """log of the summed p of all ways from each place to place n; the first is log Z."""
    mirrored = sorted((n - end, n - start, score) for start, end, score in edges)
    return forward(mirrored, n)[::-1]


def marginals(edges: Sequence[Edge], n: int) -> tuple[list[float], float]:
    """How probable it is that a segmentation has each edge, given the word; and log Z."""
    alpha, beta = forward(edges, n), backward(edges, n)
    log_z = alpha[n]
    return [math.exp(alpha[start] + score + beta[end] - log_z) for start, end, score in edges], log_z


def n_best(edges: Sequence[Edge], n: int, size: int) -> list[tuple[list[Edge], float]]:
    """The `size` most probable segmentations with their log p, the best first; fewer if there are fewer."""
    if not 1 <= size <= MAX_SEGMENTATIONS:
        raise ValueError(f"got {size} segmentations to find, must be 1 to {MAX_SEGMENTATIONS}")
    # Of each place the best ways to it: log p, number of the edge, which of the best ways to the edge's start.
    ways: list[list[tuple[float, int, int]]] = [[] for _ in range(n + 1)]
    ways[0] = [(0.0, -1, 0)]
    leading_to: list[list[int]] = [[] for _ in range(n + 1)]
    for number, (_, end, _) in enumerate(edges):
        leading_to[end].append(number)
    for place in range(1, n + 1):
        found = [
            (score + edges[number][2], number, which)
            for number in leading_to[place]
            for which, (score, _, _) in enumerate(ways[edges[number][0]])
        ]
        found.sort(key=lambda way: (-way[0], way[1], way[2]))
        ways[place] = found[:size]
    results = []
    for score, number, which in ways[n]:
        path = []
        while number >= 0:
            path.append(edges[number])
            _, number, which = ways[edges[number][0]][which]
        results.append((path[::-1], score))
    return results


def sample_path(edges: Sequence[Edge], n: int, alpha: float, rng: random.Random) -> list[Edge]:
    """A segmentation drawn with probability proportional to p ** alpha, from the last piece to the first."""
    tempered = [(start, end, alpha * score) for start, end, score in edges]
    to = forward(tempered, n)
    leading_to: list[list[int]] = [[] for _ in range(n + 1)]
    for number, (_, end, _) in enumerate(edges):
        leading_to[end].append(number)
    path = []
    place = n
    while place > 0:
        numbers = leading_to[place]
        weights = [math.exp(to[edges[i][0]] + tempered[i][2] - to[place]) for i in numbers]
        edge = edges[rng.choices(numbers, weights)[0]]
        path.append(edge)
        place = edge[0]
    return path[::-1]


def log_sum_exp(values: Sequence[float]) -> float:
    """log of the sum of exp of `values`, without overflow."""
    top = max(values)
    return top if top == -math.inf else top + math.log(sum(math.exp(value - top) for value in values))
