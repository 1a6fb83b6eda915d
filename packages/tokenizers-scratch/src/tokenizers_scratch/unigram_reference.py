"""Learning the Unigram model as a textbook would write it: slow, short, and what the fast version is held to.

Kudo, 2018 (arXiv:1804.10959, section 3.2), with the choices of sentencepiece:

1. Seeds: all characters, and the substrings that occur twice with the highest count x length. A substring that is
   always followed by the same character is left out: its extension is as frequent and longer.
2. EM, two rounds: expected counts by forward-backward; pieces expected less than half a time go; then
   log p = digamma(count) - digamma(sum), which favours few pieces (Bayesian, as in Liang & Klein, 2007).
3. Prune: how much worse would the text's most probable segmentation be without a piece? Those whose loss is smallest
   go, at most a quarter of all, until 1.1 times as many are left as wanted; back to 2.
4. The most probable ones are kept.

Unlike in sentencepiece a character never goes (its expected count is at least 0.5), so every word can always be cut; a
substring's seed count is that in the text, not in the list of words; sums are in double precision, and what is compared
at a limit (losses, log p, counts) is rounded to single precision first, so that the order of summation decides nothing.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping

from tokenizers_scratch.unigram_lattice import edges_of, marginals, viterbi_tokenize
from tokenizers_scratch.vocabulary import extract_unique_chars

MAX_PIECE_LENGTH = 16
N_SEEDS = 1_000_000
SHRINKING_FACTOR = 0.75
N_SUB_ITERATIONS = 2
SPARE = 1.1
LEAST_COUNT = 0.5

Kinds = Callable[[str], int]
"""The kind of a character: a piece goes on to the next one if both are of one kind, or the first is of kind 0."""


def one_kind(character: str) -> int:
    """A piece may be any part of a word."""
    return 0


def reaches(word: str, kind_of: Kinds) -> list[int]:
    """For each place of a word, where the longest piece that may begin there ends."""
    ends = [len(word)] * len(word)
    for i in range(len(word) - 2, -1, -1):
        kind = kind_of(word[i])
        ends[i] = ends[i + 1] if kind in (0, kind_of(word[i + 1])) else i + 1
    return ends


def build_initial_unigram_vocab(
    word_counts: Mapping[str, int],
    *,
    max_piece_length: int = MAX_PIECE_LENGTH,
    n_seeds: int = N_SEEDS,
    kind_of: Kinds = one_kind,
) -> dict[str, float]:
    """Seeds with their log p: the characters, the most frequent first, then substrings by falling count x length."""
    characters = extract_unique_chars(word_counts)
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for start, limit in enumerate(reaches(word, kind_of)):
            for end in range(start + 1, min(start + max_piece_length, limit) + 1):
                counts[word[start:end]] += count
    always_extended = {piece[:-1] for piece, count in counts.items() if counts.get(piece[:-1]) == count}
    found = [p for p, count in counts.items() if len(p) > 1 and count > 1 and p not in always_extended]
    found.sort(key=lambda piece: (-counts[piece] * len(piece), piece))
    weights = {c: characters[c] for c in sorted(characters, key=lambda c: (-characters[c], c))}
    weights |= {piece: counts[piece] * len(piece) for piece in found[: max(n_seeds - len(weights), 0)]}
    total = math.log(sum(weights.values()))
    return {piece: math.log(weight) - total for piece, weight in weights.items()}


def expected_counts(word_counts: Mapping[str, int], log_p: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """The E step: how often each piece is expected in the text, and the log-likelihood of the text."""
    longest = max(map(len, log_p))
    expected = dict.fromkeys(log_p, 0.0)
    log_likelihood = 0.0
    for word, count in word_counts.items():
        edges = edges_of(word, log_p, longest=longest)
        probable, log_z = marginals(edges, len(word))
        log_likelihood += count * log_z
        for (start, end, _), p in zip(edges, probable, strict=True):
            expected[word[start:end]] += count * p
    return expected, log_likelihood


def compute_unigram_loss(word_counts: Mapping[str, int], log_p: Mapping[str, float]) -> float:
    """Minus the log-likelihood of the text, over all segmentations."""
    return -expected_counts(word_counts, log_p)[1]


def most_likely(expected: Mapping[str, float]) -> dict[str, float]:
    """The M step of plain maximum likelihood, after which the likelihood is never lower."""
    total = math.log(sum(expected.values()))
    return {piece: math.log(count) - total for piece, count in expected.items() if count > 0}


def bayesian(expected: Mapping[str, float]) -> dict[str, float]:
    """The M step that is used: drops what is expected less than half a time, and takes from all a little."""
    kept = {
        piece: max(count, LEAST_COUNT)
        for piece, count in expected.items()
        if len(piece) == 1 or single(count) >= LEAST_COUNT
    }
    total = digamma(math.fsum(kept.values()))
    return {piece: digamma(count) - total for piece, count in kept.items()}


def prune_unigram_vocab(
    word_counts: Mapping[str, int],
    log_p: Mapping[str, float],
    *,
    n_wanted: int,
    shrinking_factor: float = SHRINKING_FACTOR,
) -> dict[str, float]:
    """The pieces without which the text would be least probable: `shrinking_factor` of all, `n_wanted` at least.

    Pieces that no most probable segmentation has, or whose own one is of several pieces, go first.
    """
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for piece in viterbi_tokenize(word, log_p)[0]:
            counts[piece] += count
    total = sum(counts.values())
    losses: dict[str, float] = {}
    for piece, score in log_p.items():
        if len(piece) == 1:
            losses[piece] = math.inf
            continue
        others = {p: s for p, s in log_p.items() if p in piece and p != piece}
        alternative, alternative_score = viterbi_tokenize(piece, others)
        if not counts[piece] or alternative_score > score:
            losses[piece] = -1.0
            continue
        # Without the piece its places are taken by its second-best segmentation, and there are more tokens.
        new_total = math.log(total + counts[piece] * (len(alternative) - 1))
        instead = sum(math.log(counts[p] + counts[piece]) - new_total for p in alternative)
        losses[piece] = single(counts[piece] * (math.log(counts[piece]) - math.log(total) - instead))
    useful = sum(loss != -1.0 for loss in losses.values())
    n_kept = max(n_wanted, min(int(shrinking_factor * len(log_p)), useful))
    kept = set(sorted(losses, key=lambda piece: -losses[piece])[:n_kept])
    return {piece: score for piece, score in log_p.items() if piece in kept}


def learn_unigram(
    word_counts: Mapping[str, int],
    *,
    n_pieces: int,
    max_piece_length: int = MAX_PIECE_LENGTH,
    n_seeds: int = N_SEEDS,
    kind_of: Kinds = one_kind,
) -> list[tuple[str, float]]:
    """At most `n_pieces` pieces with their log p, the most probable first; all characters are among them."""
    log_p = build_initial_unigram_vocab(
        word_counts, max_piece_length=max_piece_length, n_seeds=n_seeds, kind_of=kind_of
    )
    n_wanted = int(SPARE * n_pieces)
    while True:
        for _ in range(N_SUB_ITERATIONS):
            log_p = bayesian(expected_counts(word_counts, log_p)[0])
        if len(log_p) <= n_wanted:
            break
        log_p = prune_unigram_vocab(word_counts, log_p, n_wanted=n_wanted)
    characters = [piece for piece in log_p if len(piece) == 1]
    others = sorted((p for p in log_p if len(p) > 1), key=lambda piece: -single(log_p[piece]))
    kept = [*characters, *others[: max(n_pieces - len(characters), 0)]]
    return sorted(((piece, log_p[piece]) for piece in kept), key=lambda item: -single(item[1]))


def digamma(x: float) -> float:
    """The derivative of log gamma, for x > 0; to about 1e-13 (Abramowitz & Stegun, 6.3.5 and 6.3.18)."""
    result = 0.0
    while x < 10:
        result -= 1 / x
        x += 1
    y = 1 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * 691 / 32760)))))
    return result + math.log(x) - 0.5 / x - series


def single(value: float) -> float:
    """The value in single precision."""
    return struct.unpack("f", struct.pack("f", value))[0]  # type: ignore[no-any-return]
