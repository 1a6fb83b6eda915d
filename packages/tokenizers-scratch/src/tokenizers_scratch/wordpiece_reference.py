"""Learning WordPiece as a textbook would write it: slow, short, and what the fast version is held to.

BERT's trainer was never published. This is the usual reconstruction (Schuster & Nakajima, 2012, choose the pair that
raises the likelihood of the text most; Hugging Face course, chapter 6): start from single characters, `##` marking
those that do not begin a word; again and again merge the pair with the best

    score = freq(pair) / (freq(first) * freq(second))

- Only pairs that occur `min_frequency` times can be merged: a pair of two symbols seen once would have score 1, the
  best there is, so with a low limit the vocabulary fills with what is rare. What is low depends on the text, so the
  limit can also start high and fall as far as it must.
- Frequencies of symbols are of the text as it is cut now. Pairs are counted by sliding a window.
- Of pairs with equal scores the more frequent wins, then that whose first symbol is the older, then whose second is.
  The alphabet is ordered by code points.
- Two merges may give the same piece (`a` + `##bc`, `ab` + `##c`): the second adds no entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

PREFIX = "##"
LOWEST = 2
"""The limit of pair counts that falls goes no further: a pair seen once says nothing."""

Pair = tuple[str, str]


def get_wordpiece_word_splits(word_counts: Mapping[str, int]) -> list[tuple[list[str], int]]:
    """Words, with their counts, as characters: the first as it is, the others behind `##`."""
    return [([c if i == 0 else PREFIX + c for i, c in enumerate(word)], n) for word, n in word_counts.items()]


def wordpiece_alphabet(word_counts: Mapping[str, int]) -> list[str]:
    """The pieces that words are spelled in at the start, by code points."""
    first, others = {word[0] for word in word_counts}, set().union(*(word[1:] for word in word_counts))
    return sorted(first | {PREFIX + character for character in others})


def compute_wordpiece_pair_scores(
    words: Sequence[tuple[Sequence[str], int]], *, min_frequency: int = 1
) -> dict[Pair, tuple[float, int]]:
    """The score and the count of every pair that occurs at least `min_frequency` times."""
    pieces: Counter[str] = Counter()
    pairs: Counter[Pair] = Counter()
    for word, count in words:
        for piece in word:
            pieces[piece] += count
        for pair in pairwise(word):
            pairs[pair] += count
    return {
        (a, b): (count / (pieces[a] * pieces[b]), count) for (a, b), count in pairs.items() if count >= min_frequency
    }


def join_pieces(first: str, second: str) -> str:
    """What two pieces that stand side by side in a word are as one piece."""
    return first + second.removeprefix(PREFIX)


def merge_wordpiece_pair(word: Sequence[str], pair: Pair) -> list[str]:
    """The word with every occurrence of `pair` replaced by one piece, from left to right."""
    merged: list[str] = []
    i = 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            merged.append(join_pieces(*pair))
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged


def learn_wordpieces(word_counts: Mapping[str, int], *, n_pieces: int, min_frequency: int | None) -> list[str]:
    """Pieces in the order of their ids, the alphabet first; stops at `n_pieces`, or when no pair is left.

    `min_frequency`: None begins with the count of the most frequent pair, and halves it, down to 2, whenever no pair
    is left: as high a limit as the text allows for so many pieces.
    """
    pieces = wordpiece_alphabet(word_counts)
    rank = {piece: i for i, piece in enumerate(pieces)}
    words = get_wordpiece_word_splits(word_counts)
    lowest = limit = min_frequency or LOWEST
    if min_frequency is None:
        limit = max([lowest, *(count for _, count in compute_wordpiece_pair_scores(words).values())])
    while len(pieces) < n_pieces:
        scores = compute_wordpiece_pair_scores(words, min_frequency=limit)
        if not scores:
            if limit <= lowest:
                break
            limit = max(lowest, limit // 2)
            continue
        pair = min(scores, key=lambda p: (-scores[p][0], -scores[p][1], rank[p[0]], rank[p[1]]))
        words = [(merge_wordpiece_pair(word, pair), count) for word, count in words]
        piece = join_pieces(*pair)
        if piece not in rank:
            rank[piece] = len(pieces)
            pieces.append(piece)
    return pieces


def longest_match(word: str, vocab: Mapping[str, int], max_word_length: int = 100) -> list[str] | None:
    """The word cut into pieces of `vocab`, the longest first, from left to right; None if that leads nowhere."""
    if len(word) > max_word_length:
        return None
    pieces = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else PREFIX + word[start:end]
            if piece in vocab:
                pieces.append(piece)
                start = end
                break
        else:
            return None
    return pieces
