"""Learn a Unigram model: by the reference if the job is small, else by kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tokenizers_scratch import unigram_reference as reference
from tokenizers_scratch.subword_kernels import kernels
from tokenizers_scratch.unigram_reference import MAX_PIECE_LENGTH, N_SEEDS, Kinds, one_kind, single

_MANY_LETTERS = 1000
"""With more letters in the different words, the reference takes seconds. Only this decides, and not what is loaded
already: the two sum in another order, and one text is to give one tokenizer."""


def learn_unigram(
    word_counts: Mapping[str, int],
    *,
    n_pieces: int,
    max_piece_length: int = MAX_PIECE_LENGTH,
    n_seeds: int = N_SEEDS,
    kind_of: Kinds = one_kind,
) -> list[tuple[str, float]]:
    """At most `n_pieces` pieces with their log p, the most probable first; all characters are among them.

    The steps and rules are those of `unigram_reference.learn_unigram`. Log p are rounded to single precision.
    """
    words = sorted(word_counts)  # so that sums do not depend on the order of the text
    kernel = kernels("unigram", math.inf if sum(map(len, words)) > _MANY_LETTERS else 0.0)
    if kernel is None:
        counts = {word: word_counts[word] for word in words}
        learned = reference.learn_unigram(
            counts, n_pieces=n_pieces, max_piece_length=max_piece_length, n_seeds=n_seeds, kind_of=kind_of
        )
        return [(piece, single(score)) for piece, score in learned]
    import numpy as np  # here, because loading it costs more than a small job

    from tokenizers_scratch.kernels.flat import number_characters, room_at

    codes, characters, starts = number_characters(words)
    room = room_at(codes, starts, [kind_of(character) for character in characters], max_piece_length)
    parts = kernel.learn(
        codes,
        starts,
        np.fromiter(map(word_counts.__getitem__, words), np.int64, len(words)),
        room,
        n_pieces=n_pieces,
        n_seeds=n_seeds,
    )
    text = "".join(words)
    return [(text[start : start + length], single(score)) for start, length, score in parts]
