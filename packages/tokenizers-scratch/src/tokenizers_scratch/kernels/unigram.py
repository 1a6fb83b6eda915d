"""Learning the Unigram model, and cutting words by it, with the kernels of `lattices.py` and `substrings.py`.

The steps and their rules are those of `unigram_reference.py`. Pieces are parts of the words all along, a place and a
length each; only those that are left in the end become text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenizers_scratch.kernels.arrays import Floats, Ints, Longs
from tokenizers_scratch.kernels.compiling import compilation
from tokenizers_scratch.kernels.flat import flat, room_at
from tokenizers_scratch.kernels.lattices import (
    NONE,
    Edges,
    Trie,
    count_best,
    expect,
    fill_edges,
    fill_trie,
    keep_edges,
    lose_each,
    write_best,
)
from tokenizers_scratch.kernels.substrings import repeated_substrings
from tokenizers_scratch.unigram_reference import LEAST_COUNT, N_SUB_ITERATIONS, SHRINKING_FACTOR, SPARE


class Model:
    """Pieces with their log p, and all lattices of the training words."""

    def __init__(self, codes: Ints, words: Longs, counts: Longs, starts: Longs, lengths: Ints, log_p: Floats) -> None:
        """`codes` (P,): characters, words[w] to words[w + 1] those of word w; piece i is `lengths[i]` characters from
        `starts[i]`."""
        self.words, self.counts = words, counts
        self.starts, self.lengths, self.log_p = starts, lengths, log_p
        self.edges = edges_of(new_trie(codes, starts, lengths), codes, words, NONE)
        self.indices = np.arange(starts.size)  # the number that each piece had at the start
        longest_word = int(np.diff(words).max())
        self.buffer = np.empty(longest_word + 1)
        self.frames = np.empty(longest_word + 1, np.int64)
        self.last = np.empty(longest_word + 1, np.int32)

    def expected(self) -> tuple[Floats, float]:
        """The E step: how often each piece is expected, and the log-likelihood."""
        expected = np.zeros(self.starts.size)
        words, counts, p = self.words, self.counts, np.exp(self.log_p)
        return expected, expect(self.edges, words, counts, self.lengths, p, self.buffer, self.frames, expected)

    def maximize(self, expected: Floats) -> None:
        """The M step."""
        single = expected.astype(np.float32)
        self.keep((self.lengths == 1) | (single >= LEAST_COUNT))
        counts = np.maximum(expected[self.kept], LEAST_COUNT)
        self.log_p = digamma(counts) - digamma(counts.sum(keepdims=True))

    def prune(self, n_wanted: int) -> None:
        """Strike out the pieces without which the text loses least."""
        found = np.zeros(self.starts.size, np.int64)
        count_best(self.edges, self.words, self.counts, self.lengths, self.log_p, self.buffer, self.last, found)
        losses = np.empty(self.starts.size)
        lose_each(self.edges, self.starts, self.lengths, self.log_p, found, self.buffer, self.last, losses)
        useful = int((losses != -1).sum())
        n_kept = max(n_wanted, min(int(SHRINKING_FACTOR * losses.size), useful))
        kept = np.zeros(losses.size, np.bool_)
        kept[np.argsort(-losses.astype(np.float32), kind="stable")[:n_kept]] = True
        self.keep(kept)

    def keep(self, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        """Forget all other pieces."""
        self.kept = np.flatnonzero(kept)
        if self.kept.size < kept.size:
            new_number = np.where(kept, np.cumsum(kept) - 1, NONE).astype(np.int32)
            n_edges = keep_edges(self.edges, new_number)
            self.edges = self.edges._replace(piece=self.edges.piece[:n_edges])
            self.starts, self.lengths = self.starts[kept], self.lengths[kept]
            self.log_p, self.indices = self.log_p[kept], self.indices[kept]


def learn(
    codes: Ints, words: Longs, counts: Longs, room: Ints, *, n_pieces: int, n_seeds: int
) -> list[tuple[int, int, float]]:
    """A place, the length and the log p of at most `n_pieces` pieces, the most probable first.

    `codes` (P,): characters, numbered from 1 by code points; word w is words[w] to words[w + 1] and occurs counts[w]
    times; room[i]: how long a piece that begins at place i may be.
    """
    model = Model(codes, words, counts, *seeds(codes, words, counts, room, n_seeds))
    n_wanted = int(SPARE * n_pieces)
    while True:
        for _ in range(N_SUB_ITERATIONS):
            model.maximize(model.expected()[0])
        if model.log_p.size <= n_wanted:
            break
        model.prune(n_wanted)
    single = model.log_p.astype(np.float32)
    characters = model.lengths == 1
    n_others = max(n_pieces - int(characters.sum()), 0)
    others = np.flatnonzero(~characters)
    others = others[np.argsort(-single[others], kind="stable")[:n_others]]
    kept = np.concatenate((np.flatnonzero(characters), others))
    kept = kept[np.argsort(-single[kept], kind="stable")]
    return [(int(model.starts[i]), int(model.lengths[i]), float(model.log_p[i])) for i in kept]


def seeds(codes: Ints, words: Longs, counts: Longs, room: Ints, n_seeds: int) -> tuple[Longs, Ints, Floats]:
    """A place, the length and the log p of each seed: characters by falling count, then repeated substrings."""
    weights = np.repeat(counts, np.diff(words))
    character_counts = np.bincount(codes, weights).astype(np.int64)
    places = np.empty(character_counts.size, np.int64)
    places[codes] = np.arange(codes.size)
    characters = np.flatnonzero(character_counts)
    characters = characters[np.argsort(-character_counts[characters], kind="stable")]
    starts, lengths, found = repeated_substrings(codes, room, weights)
    n_found = max(n_seeds - characters.size, 0)
    starts = np.concatenate((places[characters], starts[:n_found]))
    lengths = np.concatenate((np.ones(characters.size, np.int32), lengths[:n_found]))
    all_counts = np.concatenate((character_counts[characters], found[:n_found]))
    shares = (all_counts * lengths).astype(np.float64)
    return starts, lengths, np.log(shares) - np.log(shares.sum())


def new_trie(codes: Ints, starts: Longs, lengths: Ints) -> Trie:
    """The trie of pieces that are parts of `codes`."""
    most = int(lengths.sum()) + 1
    room = min(most, 2 * starts.size + 1024)  # pieces share what they begin with, as a rule
    while True:
        keys = np.full(1 << (2 * room - 1).bit_length(), NONE, np.int64)
        trie = Trie(keys, np.empty(keys.size, np.int32), np.full(room, NONE, np.int32))
        if fill_trie(trie, codes, starts, lengths):
            return trie
        room = min(most, 2 * room)


def edges_of(trie: Trie, codes: Ints, words: Longs, unknown: int) -> Edges:
    """The edges of all lattices."""
    first = np.empty(codes.size + 1, np.int64)
    fill_edges(trie, codes, words, unknown, first, np.empty(0, np.int32))
    piece = np.empty(int(first[-1]), np.int32)
    fill_edges(trie, codes, words, unknown, first, piece)
    return Edges(first, piece)


class Cutter:
    """Cuts words into their most probable segmentations."""

    def __init__(self, pieces: Sequence[str], log_p: Sequence[float], unknown: float) -> None:
        """`unknown`: the log p of a character that is no piece; the number of such a piece is len(pieces)."""
        codes, starts = flat(pieces)
        lengths = np.diff(starts).astype(np.int32)
        self._trie = new_trie(codes, starts[:-1], lengths)
        self._lengths = np.append(lengths, np.int32(1))
        self._log_p = np.append(np.asarray(log_p, np.float64), unknown)
        self._unknown = len(pieces)

    def cut(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """The pieces of all words, one behind the other, and where those of each word end."""
        codes, starts = flat(words)
        edges = edges_of(self._trie, codes, starts, self._unknown)
        longest = int(np.diff(starts).max(initial=0))
        best, last = np.empty(longest + 1), np.empty(longest + 1, np.int32)
        pieces, ends = np.empty(codes.size, np.int32), np.empty(len(words), np.int64)
        write_best(edges, starts, self._lengths, self._log_p, best, last, pieces, ends)
        n = int(ends[-1]) if len(words) else 0
        return pieces[:n].tolist(), ends.tolist()


def digamma(x: Floats) -> Floats:
    """`unigram_reference.digamma` of each."""
    shift = np.zeros_like(x)
    x = x.copy()
    while (low := x < 10).any():
        shift[low] -= 1 / x[low]
        x[low] += 1
    y = 1 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * 691 / 32760)))))
    return shift + np.log(x) - 0.5 / x - series


def prepare() -> None:
    """Compile the kernels of this module, or load their machine code."""
    with compilation("unigram", "the kernels of the Unigram model"):
        words = ["abab", "ab", "ba" * 3]
        code_points, starts = flat(words)
        codes = code_points - 96
        room = room_at(codes, starts, [1, 1], 16)
        learn(codes, starts, np.array([3, 2, 1]), room, n_pieces=2, n_seeds=10)
        Cutter(["a", "ab"], [-1.0, -2.0], -12.0).cut(["abc"])
