"""Words to ids by a Unigram model: the most probable segmentation, the best few, or a random one.

What is no piece, one character at a time, has the lowest log p of all pieces less 10 (as in sentencepiece and HF
tokenizers). With byte fallback such a character is spelled in the ids of its bytes; without, each run of such
characters is one unknown token.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from itertools import chain

from tokenizers_scratch.subword_kernels import kernels
from tokenizers_scratch.unigram_lattice import (
    MAX_SEGMENTATIONS,
    Edge,
    edges_of,
    n_best,
    sample_path,
    viterbi_tokenize,
)
from tokenizers_scratch.utf8 import text_to_bytes

UNKNOWN_PENALTY = 10.0
_CACHED_WORDS = 2**16
_LONGEST_CACHED = 64  # characters
_SECONDS_PER_LETTER = 3e-6
"""What one letter of new words costs plain Python, about."""


class PieceIds:
    """The ids of pieces, and of what is none."""

    def __init__(self, pieces: Mapping[int, tuple[str, float]], unk_id: int, byte_ids: Sequence[int]) -> None:
        self.id_of = {text: i for i, (text, _) in pieces.items()}
        self._unk_id = unk_id
        self._byte_ids = tuple(byte_ids)

    def of(self, pieces: Sequence[str]) -> list[int]:
        """Ids of pieces and characters that stand side by side."""
        ids: list[int] = []
        after_unknown = False
        for piece in pieces:
            known = self.id_of.get(piece)
            if known is not None:
                ids.append(known)
            elif self._byte_ids:
                ids.extend(self._byte_ids[byte] for byte in text_to_bytes(piece))
            elif not after_unknown:
                ids.append(self._unk_id)
            after_unknown = known is None
        return ids


class UnigramModel:
    """Pieces by id, each with its text and log p. Words already seen are looked up."""

    def __init__(self, pieces: Mapping[int, tuple[str, float]], unk_id: int, byte_ids: Sequence[int] = ()) -> None:
        """`byte_ids`: those of the 256 bytes, or none. Raises ValueError for pieces that cannot be."""
        self.log_p = check_pieces(pieces, byte_ids)
        self._ids = PieceIds(pieces, unk_id, byte_ids)
        self.id_of = self._ids.id_of
        self.unknown = min(self.log_p.values(), default=0.0) - UNKNOWN_PENALTY
        self._longest = max(map(len, self.log_p), default=1)
        self._cache: dict[str, list[int]] = {}
        self._cutter: object = None

    def encode_words(self, words: Sequence[str]) -> list[int]:
        """Ids of words that stand side by side."""
        new = dict.fromkeys(word for word in words if word not in self._cache)
        found = self._cut(list(new)) if new else {}
        known = self._cache
        ids = list(chain.from_iterable(known[word] if word in known else found[word] for word in words))
        for word, its in found.items():
            if len(word) <= _LONGEST_CACHED:
                if len(self._cache) >= _CACHED_WORDS:
                    self._cache.clear()  # to start anew costs less than to keep track of what was used last
                self._cache[word] = its
        return ids

    def pieces_of(self, word: str) -> list[str]:
        """The best segmentation as text; characters that are no piece stand by themselves."""
        return viterbi_tokenize(word, self.log_p, longest=self._longest, unknown=self.unknown)[0]

    def _cut(self, words: list[str]) -> dict[str, list[int]]:
        kernel = kernels("unigram", _SECONDS_PER_LETTER * sum(map(len, words)))
        if kernel is None:
            cut = {}
            for word in words:
                pieces, _ = viterbi_tokenize(word, self.log_p, longest=self._longest, unknown=self.unknown)
                cut[word] = self._ids.of(pieces)
            return cut
        if self._cutter is None:
            self._cutter = kernel.Cutter(list(self.log_p), list(self.log_p.values()), self.unknown)
            self._ids_in_order = [*map(self._ids.id_of.__getitem__, self.log_p), -1]
        numbers, ends = self._cutter.cut(words)  # type: ignore[attr-defined]
        ids_of, unknown = self._ids_in_order, len(self.log_p)
        cut = {}
        begin = 0
        for word, end in zip(words, ends, strict=True):
            row = numbers[begin:end]
            if unknown in row:
                cut[word] = self._ids.of(_texts(word, row, list(self.log_p)))
            else:
                cut[word] = [ids_of[number] for number in row]
            begin = end
        return cut

    def n_best(self, words: Sequence[str], size: int) -> list[tuple[list[int], float]]:
        """The `size` most probable segmentations of all words together, with their log p; fewer if there are fewer."""
        results: list[tuple[list[int], float]] = [([], 0.0)]
        for word in words:
            edges = self._edges(word)
            here = [(self._path_ids(word, path), score) for path, score in n_best(edges, len(word), size)]
            both = [(ids + more, score + added) for ids, score in results for more, added in here]
            both.sort(key=lambda item: -item[1])
            results = both[:size]
        return results

    def sample(self, words: Sequence[str], alpha: float, nbest_size: int, rng: random.Random) -> list[int]:
        """Ids of a segmentation drawn with probability proportional to p ** alpha.

        `nbest_size`: from the whole lattice if -1, else from so many best of all words together.
        """
        if nbest_size > 0:
            best = self.n_best(words, nbest_size)
            top = best[0][1]
            weights = [math.exp(alpha * (score - top)) for _, score in best]
            return list(rng.choices(best, weights)[0][0])
        ids = []
        for word in words:
            ids += self._path_ids(word, sample_path(self._edges(word), len(word), alpha, rng))
        return ids

    def _edges(self, word: str) -> list[Edge]:
        return edges_of(word, self.log_p, longest=self._longest, unknown=self.unknown)

    def _path_ids(self, word: str, path: Sequence[Edge]) -> list[int]:
        return self._ids.of([word[start:end] for start, end, _ in path])


def check_pieces(pieces: Mapping[int, tuple[str, float]], byte_ids: Sequence[int]) -> dict[str, float]:
    """Scores by text. Raises ValueError for what cannot be: empty or equal pieces, scores that are no numbers."""
    scores = {text: float(score) for text, score in pieces.values()}
    if len(scores) != len(pieces) or "" in scores:
        raise ValueError("a piece is empty, or there twice")
    if not all(map(math.isfinite, scores.values())):
        raise ValueError("the score of a piece is no finite number")
    if len(byte_ids) not in (0, 256) or len(set(byte_ids)) != len(byte_ids) or not set(byte_ids).isdisjoint(pieces):
        raise ValueError("there must be an id of its own for each of the 256 bytes, or for none")
    return scores


def check_sampling(alpha: float, nbest_size: int) -> None:
    """Raise ValueError for what cannot be sampled."""
    if not (math.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha: got {alpha}, must be a finite number from 0 up: 0 makes all segmentations equal")
    if nbest_size != -1 and not 1 <= nbest_size <= MAX_SEGMENTATIONS:
        raise ValueError(f"nbest_size: got {nbest_size}, must be -1 (all) or 1 to {MAX_SEGMENTATIONS}")


def _texts(word: str, numbers: Sequence[int], pieces: Sequence[str]) -> list[str]:
    texts = []
    start = 0
    for number in numbers:
        length = len(pieces[number]) if number < len(pieces) else 1
        texts.append(word[start : start + length])
        start += length
    return texts
