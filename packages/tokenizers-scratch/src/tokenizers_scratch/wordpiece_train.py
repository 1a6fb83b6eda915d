"""Learn WordPiece pieces: in plain Python if the job is small, else by a kernel."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers_scratch import wordpiece_python as plain
from tokenizers_scratch import wordpiece_reference as reference
from tokenizers_scratch.subword_kernels import kernels

_SECONDS_PER_LETTER, _SECONDS_PER_MERGE = 2e-6, 4e-4
"""What plain Python needs, about, for each letter of the different words and for each merge."""


def learn_wordpieces(word_counts: Mapping[str, int], *, n_pieces: int, min_frequency: int | None) -> list[str]:
    """Pieces in the order of their ids, the alphabet first; stops at `n_pieces`, or when no pair is left.

    The result is that of `wordpiece_reference.learn_wordpieces`, tie rules included. In machine code the work of a
    merge is proportional to the places it changes, plus the pairs that hold one of its two symbols.
    """
    alphabet = reference.wordpiece_alphabet(word_counts)
    n_merges = n_pieces - len(alphabet)
    seconds = _SECONDS_PER_LETTER * sum(map(len, word_counts)) + _SECONDS_PER_MERGE * n_merges
    kernel = kernels("wordpieces", seconds) if n_merges > 0 else None
    if kernel is None:
        return plain.learn_wordpieces(word_counts, n_pieces=n_pieces, min_frequency=min_frequency)
    import numpy as np  # here, because loading it costs more than a small job

    rank = {piece: i for i, piece in enumerate(alphabet)}
    lengths = np.fromiter(map(len, word_counts), np.int64, len(word_counts))
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    codes = np.frombuffer("".join(word_counts).encode("utf-32-le", "surrogatepass"), np.uint32)
    # The symbol of each character, where it begins a word and where it does not.
    used, index = np.unique(codes, return_inverse=True)
    first = np.array([rank.get(chr(code), -1) for code in used], np.int32)
    inner = np.array([rank.get(reference.PREFIX + chr(code), -1) for code in used], np.int32)
    letters = inner[index]
    letters[starts[:-1]] = first[index[starts[:-1]]]
    counts = np.fromiter(word_counts.values(), np.int64, len(word_counts))
    made = kernel.learn_pairs(
        letters, starts, counts, n_letters=len(alphabet), n_symbols=n_pieces, min_frequency=min_frequency
    )
    pieces = alphabet
    for left, right in made:
        pieces.append(reference.join_pieces(pieces[left], pieces[right]))
    return pieces
