"""Learn a Unigram model: by the reference if the job is small, else by kernels."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers_scratch import unigram_reference as reference
from tokenizers_scratch.subword_kernels import kernels
from tokenizers_scratch.unigram_reference import MAX_PIECE_LENGTH, N_SEEDS, Limits, no_limits

_SECONDS_PER_LETTER = 2e-3
"""What one letter of the different words costs the reference, about: ten rounds, each with all its segmentations."""


def learn_unigram(
    word_counts: Mapping[str, int],
    *,
    n_pieces: int,
    max_piece_length: int = MAX_PIECE_LENGTH,
    n_seeds: int = N_SEEDS,
    limits: Limits = no_limits,
) -> list[tuple[str, float]]:
    """At most `n_pieces` pieces with their log p, the most probable first; all characters are among them.

    The steps and rules are those of `unigram_reference.learn_unigram`.
    """
    words = sorted(word_counts)  # so that sums do not depend on the order of the text
    counts = {word: word_counts[word] for word in words}
    kernel = kernels("unigram", _SECONDS_PER_LETTER * sum(map(len, words)))
    if kernel is None:
        return reference.learn_unigram(
            counts, n_pieces=n_pieces, max_piece_length=max_piece_length, n_seeds=n_seeds, limits=limits
        )
    import numpy as np  # here, because loading it costs more than a small job

    code_points, starts = kernel.flat(words)
    codes = np.unique(code_points, return_inverse=True)[1].astype(np.int32) + 1
    if limits is no_limits:
        ends = np.repeat(starts[1:], np.diff(starts))
        room = ends - np.arange(codes.size)
    else:
        room = np.array([limit - i for word in words for i, limit in enumerate(limits(word))])
    learned = kernel.learn(
        codes,
        starts,
        np.fromiter(counts.values(), np.int64, len(counts)),
        np.minimum(room, max_piece_length).astype(np.int32),
        n_pieces=n_pieces,
        n_seeds=n_seeds,
    )
    text = "".join(words)
    return [(text[start : start + length], score) for start, length, score in learned]
