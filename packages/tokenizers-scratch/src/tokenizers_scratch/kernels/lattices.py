"""Unigram lattices of many words at once, in flat arrays: the edges that begin at each place, by the trie of pieces.

Training makes the edges once and strikes out those of pieces that go, so no round looks anything up. Probabilities are
not taken in logarithms: where the product of a long word comes close to the smallest number, it is multiplied by a
power of two, which is exact.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import Floats, Ints, Longs, integer
from tokenizers_scratch.kernels.compiling import entry, inlined

NONE = -1
LOW, STEP = 2.0**-300, 300  # below LOW a probability is multiplied by 2 ** STEP


class Trie(NamedTuple):
    """Children in an open-addressing table; N nodes, of which node 0 is the root."""

    keys: Longs  # (a power of two,) node << 21 | character, or NONE
    children: Ints
    piece: Ints  # (N,) the piece that ends here, or NONE


class Edges(NamedTuple):
    """The edges that begin at place i are first[i] to first[i + 1]."""

    first: Longs  # (P + 1,)
    piece: Ints  # (E,)


@inlined
def child_place(trie: Trie, node: int, character: int) -> int:
    """Where in the table the child is, or would be."""
    key = np.int64(node) << 21 | np.int64(character)
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    at = int((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(10)) & (trie.keys.size - 1)
    while trie.keys[at] != NONE and trie.keys[at] != key:
        at = (at + 1) & (trie.keys.size - 1)
    return at


@entry
def fill_trie(trie: Trie, codes: Ints, starts: Longs, lengths: Ints) -> int:
    """Enter pieces, given as parts of `codes`; the number of nodes, or 0 if there is too little room."""
    n_nodes = 1
    for piece in range(starts.size):
        if n_nodes + lengths[piece] > trie.piece.size:
            return 0
        node = 0
        for i in range(starts[piece], starts[piece] + lengths[piece]):
            at = child_place(trie, node, codes[i])
            if trie.keys[at] == NONE:
                trie.keys[at] = np.int64(node) << 21 | np.int64(codes[i])
                trie.children[at] = n_nodes
                n_nodes += 1
            node = trie.children[at]
        trie.piece[node] = piece
    return n_nodes


@entry
def fill_edges(trie: Trie, codes: Ints, words: Longs, unknown: int, first: Longs, piece: Ints) -> None:
    """Find the edges of words; with an empty `piece` only count them. A character that is no piece is `unknown`."""
    n = 0
    for word in range(words.size - 1):
        end = words[word + 1]
        for start in range(words[word], end):
            first[start] = n
            node = 0
            single = False
            for i in range(start, end):
                at = child_place(trie, node, codes[i])
                if trie.keys[at] == NONE:
                    break
                node = trie.children[at]
                if trie.piece[node] != NONE:
                    single |= i == start
                    if piece.size:
                        piece[n] = trie.piece[node]
                    n += 1
            if not single and unknown != NONE:
                if piece.size:
                    piece[n] = unknown
                n += 1
    first[first.size - 1] = n


@entry
def keep_edges(edges: Edges, new_number: Ints) -> int:
    """Strike out the edges of pieces without a new number, and renumber the others; how many are left."""
    n = 0
    begin = edges.first[0]
    for place in range(edges.first.size - 1):
        end = edges.first[place + 1]
        edges.first[place] = n
        for edge in range(begin, end):
            number = new_number[edges.piece[edge]]
            if number != NONE:
                edges.piece[n] = number
                n += 1
        begin = end
    edges.first[edges.first.size - 1] = n
    return n


@entry
def expect(
    edges: Edges, words: Longs, counts: Longs, lengths: Ints, p: Floats, alpha: Floats, frames: Longs, expected: Floats
) -> float:
    """Add to `expected` how often each piece is expected, by forward-backward; the log-likelihood of all words.

    alpha and frames have room for the longest word and one more; `expected` starts at 0.
    """
    longest = integer(0)
    for piece in range(lengths.size):
        longest = max(longest, integer(lengths[piece]))
    log_likelihood = 0.0
    for word in range(words.size - 1):
        start, n = words[word], words[word + 1] - words[word]
        alpha[0] = 1.0
        for i in range(1, n + 1):
            alpha[i] = 0.0
        frame = 0
        for i in range(n):
            if alpha[i] < LOW:
                for j in range(i, min(i + longest, n + 1)):
                    alpha[j] *= 2.0**STEP
                frame += 1
            frames[i] = frame
            here = alpha[i]
            for edge in range(edges.first[start + i], edges.first[start + i + 1]):
                piece = edges.piece[edge]
                alpha[i + lengths[piece]] += here * p[piece]
        z, z_frame = alpha[n], frame
        count = counts[word]
        log_likelihood += count * (math.log(z) - z_frame * STEP * math.log(2.0))
        # Backward: beta takes the place of alpha behind i, which is no longer needed.
        alpha[n] = 1.0
        frame = 0
        for i in range(n - 1, -1, -1):
            here = alpha[i]
            beta = 0.0
            shift = z_frame - frames[i] - frame
            for edge in range(edges.first[start + i], edges.first[start + i + 1]):
                piece = edges.piece[edge]
                onward = p[piece] * alpha[i + lengths[piece]]
                beta += onward
                share = here / z * onward
                steps = shift
                while steps > 0 and share != 0.0:  # not math.ldexp, which needs numba also where it only runs
                    share *= 2.0**STEP
                    steps -= 1
                while steps < 0 and share != 0.0:
                    share *= 2.0**-STEP
                    steps += 1
                expected[piece] += count * share
            alpha[i] = beta
            if beta < LOW:
                for j in range(i, min(i + longest, n + 1)):
                    alpha[j] *= 2.0**STEP
                frame += 1
    return log_likelihood


@inlined
def best_path(
    edges: Edges, start: int, n: int, skipped: int, lengths: Ints, log_p: Floats, best: Floats, last: Ints
) -> float:
    """Viterbi over n places from `start`, without the piece `skipped`; last[i] is the piece that ends at i."""
    for i in range(1, n + 1):
        best[i] = -np.inf
    best[0] = 0.0
    for i in range(n):
        here = best[i]
        for edge in range(edges.first[start + i], edges.first[start + i + 1]):
            piece = edges.piece[edge]
            end = i + lengths[piece]
            if end <= n and piece != skipped and here + log_p[piece] > best[end]:
                best[end] = here + log_p[piece]
                last[end] = piece
    return best[n]  # type: ignore[no-any-return]


@entry
def count_best(
    edges: Edges, words: Longs, counts: Longs, lengths: Ints, log_p: Floats, best: Floats, last: Ints, found: Longs
) -> float:
    """Add to `found` how often each piece is in the words' most probable segmentations; their summed log p."""
    total = 0.0
    for word in range(words.size - 1):
        place = words[word + 1] - words[word]
        total += counts[word] * best_path(edges, words[word], place, NONE, lengths, log_p, best, last)
        while place > 0:
            found[last[place]] += counts[word]
            place -= lengths[last[place]]
    return total


@entry
def lose_each(
    edges: Edges, starts: Longs, lengths: Ints, log_p: Floats, counts: Longs, best: Floats, last: Ints, losses: Floats
) -> None:
    """How much log p the text's best segmentation would lose without each piece: -1 if nothing, inf if it must stay.

    `starts`: a place where each piece occurs.
    """
    total = 0.0
    for piece in range(counts.size):
        total += counts[piece]
    for piece in range(lengths.size):
        n = integer(lengths[piece])
        if n == 1:
            losses[piece] = np.inf
            continue
        score = best_path(edges, starts[piece], n, piece, lengths, log_p, best, last)
        if counts[piece] == 0 or score > log_p[piece]:
            losses[piece] = -1.0
            continue
        n_instead = 0
        place = n
        while place > 0:
            n_instead += 1
            place -= lengths[last[place]]
        new_total = math.log(total + counts[piece] * (n_instead - 1))
        instead = 0.0
        place = n
        while place > 0:
            instead += math.log(counts[last[place]] + counts[piece]) - new_total
            place -= lengths[last[place]]
        losses[piece] = counts[piece] * (math.log(counts[piece]) - math.log(total) - instead)


@entry
def write_best(
    edges: Edges, words: Longs, lengths: Ints, log_p: Floats, best: Floats, last: Ints, pieces: Ints, ends: Longs
) -> None:
    """The pieces of the words' most probable segmentations; those of word w end at ends[w]."""
    n = 0
    for word in range(words.size - 1):
        place = words[word + 1] - words[word]
        best_path(edges, words[word], place, NONE, lengths, log_p, best, last)
        begin = n
        while place > 0:
            pieces[n] = last[place]
            n += 1
            place -= lengths[last[place]]
        for i in range((n - begin) // 2):  # from the last to the first
            pieces[begin + i], pieces[n - 1 - i] = pieces[n - 1 - i], pieces[begin + i]
        ends[word] = n
