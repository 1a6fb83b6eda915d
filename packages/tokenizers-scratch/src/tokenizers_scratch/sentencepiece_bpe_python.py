"""Learn the pieces of sentencepiece's BPE in plain Python, without counting everything again after each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tokenizers_scratch.linked_words import QueuedWords
from tokenizers_scratch.unigram_reference import Kinds, reaches


def learn_pieces(
    word_counts: Mapping[str, int], *, n_merges: int, min_frequency: int, max_piece_length: int, kind_of: Kinds
) -> list[str]:
    """The pieces that merges make, in their order; stops when no pair occurs `min_frequency` times.

    The result is that of `sentencepiece_bpe.learn_pieces`, tie rules included.
    """
    parts = cut_words(word_counts, kind_of)
    tokens = sorted(set().union(*parts))
    number = {character: i for i, character in enumerate(tokens)}

    def order(left: int, right: int) -> tuple[int, str, int]:
        return len(tokens[left]) + len(tokens[right]), tokens[left] + tokens[right], len(tokens[left])

    pairs = QueuedWords(((list(map(number.__getitem__, part)), count) for part, count in parts.items()), order)
    pieces: dict[str, None] = {}
    while len(pieces) < n_merges:
        best = pairs.pop_best()
        if best is None or best[0] < min_frequency:
            break
        _, left, right = best
        piece = tokens[left] + tokens[right]
        if len(piece) <= max_piece_length and piece not in pieces:
            pieces[piece] = None
            tokens.append(piece)
            pairs.merge(left, right, merged=len(tokens) - 1)
    return list(pieces)


def cut_words(word_counts: Mapping[str, int], kind_of: Kinds) -> Counter[str]:
    """Words cut where a character of one kind meets one of another, which no piece goes beyond."""
    parts: Counter[str] = Counter()
    for word, count in word_counts.items():
        ends = reaches(word, kind_of)
        start = 0
        while start < len(word):
            parts[word[start : ends[start]]] += count
            start = ends[start]
    return parts
