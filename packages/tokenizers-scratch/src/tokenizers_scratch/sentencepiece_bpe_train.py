"""Learn the pieces of sentencepiece's BPE: in plain Python if the job is small, else by kernels."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers_scratch import sentencepiece_bpe_python as plain
from tokenizers_scratch.scripts import ANY
from tokenizers_scratch.subword_kernels import kernels
from tokenizers_scratch.unigram_reference import Kinds, one_kind

_SECONDS_PER_LETTER = 5e-6
"""What one letter of the different words costs plain Python, about."""


def learn_pieces(
    word_counts: Mapping[str, int],
    *,
    n_merges: int,
    min_frequency: int = 1,
    max_piece_length: int = 16,
    kind_of: Kinds = one_kind,
) -> list[str]:
    """The pieces that merges make, in their order; stops when no pair occurs `min_frequency` times.

    The result is that of `sentencepiece_bpe.learn_pieces`, tie rules included.
    """
    seconds = _SECONDS_PER_LETTER * sum(map(len, word_counts))
    kernel = kernels("sentencepieces", seconds) if word_counts else None
    if kernel is None:
        return plain.learn_pieces(
            word_counts,
            n_merges=n_merges,
            min_frequency=min_frequency,
            max_piece_length=max_piece_length,
            kind_of=kind_of,
        )
    import numpy as np  # here, because loading it costs more than a small job

    from tokenizers_scratch.kernels.flat import number_characters

    codes, characters, starts = number_characters(list(word_counts))
    learned = kernel.learn_pieces(
        codes,
        starts,
        np.fromiter(word_counts.values(), np.int64, len(word_counts)),
        np.array([ANY, *map(kind_of, characters)], np.int32),
        n_merges=n_merges,
        min_frequency=min_frequency,
        max_piece_length=max_piece_length,
    )
    names = ["", *characters]
    return ["".join(map(names.__getitem__, piece)) for piece in learned]
