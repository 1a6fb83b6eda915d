"""BPE as sentencepiece has it, on characters, as a textbook would write it: what the fast version is held to.

Training: again and again the most frequent pair of neighbours within a word becomes one piece; of equally frequent
pairs the one that makes the shorter piece, then the smaller by code points, then has the shorter left part. A pair that
would make a piece that is there already, or one that is too long or of two scripts, is never merged. A piece's score is
minus its rank; characters follow the merges, the most frequent first.

Encoding knows no merges: while two neighbours together are a piece, the pair of the best score is joined, leftmost
first. So pieces are found that training made of other parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from tokenizers_scratch.unigram_reference import Kinds, one_kind, reaches

Word = list[str]
Pair = tuple[str, str]


def count_pair_frequencies(words: Sequence[tuple[Word, int]], allowed: Sequence[Sequence[int]]) -> Counter[Pair]:
    """How often each pair of neighbours occurs, by a sliding window, in words that occur so many times.

    `allowed[w][i]`: where a piece that begins at character i of word w must end at the latest.
    """
    counts: Counter[Pair] = Counter()
    for (word, count), ends in zip(words, allowed, strict=True):
        place = 0
        for left, right in pairwise(word):
            if place + len(left) + len(right) <= ends[place]:
                counts[left, right] += count
            place += len(left)
    return counts


def merge_pair_in_words(words: Sequence[tuple[Word, int]], pair: Pair) -> list[tuple[Word, int]]:
    """The words with every occurrence of `pair` replaced by one piece, from left to right."""
    joined = "".join(pair)
    result = []
    for word, count in words:
        merged: Word = []
        i = 0
        while i < len(word):
            if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
                merged.append(joined)
                i += 2
            else:
                merged.append(word[i])
                i += 1
        result.append((merged, count))
    return result


def learn_pieces(
    word_counts: Mapping[str, int],
    *,
    n_merges: int,
    min_frequency: int = 1,
    max_piece_length: int = 16,
    kind_of: Kinds = one_kind,
) -> list[str]:
    """The pieces that merges make, in their order; stops when no pair occurs `min_frequency` times."""
    words = [(list(word), count) for word, count in word_counts.items()]
    allowed = [[min(end, i + max_piece_length) for i, end in enumerate(reaches(word, kind_of))] for word in word_counts]
    pieces: dict[str, None] = {}
    while len(pieces) < n_merges:
        counts = count_pair_frequencies(words, allowed)
        found = [pair for pair in counts if counts[pair] >= min_frequency and "".join(pair) not in pieces]
        if not found:
            break
        pair = min(found, key=lambda pair: (-counts[pair], len(pair[0] + pair[1]), pair[0] + pair[1], len(pair[0])))
        words = merge_pair_in_words(words, pair)
        pieces["".join(pair)] = None
    return list(pieces)


def apply_merges_to_word(word: str, scores: Mapping[str, float]) -> list[str]:
    """Cut a word: while two neighbours together are a piece, join the pair of the best score, leftmost first."""
    pieces = list(word)
    while True:
        found = [(-scores[a + b], i) for i, (a, b) in enumerate(pairwise(pieces)) if a + b in scores]
        if not found:
            return pieces
        _, i = min(found)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def cut_word(word: str, scores: Mapping[str, float]) -> list[str]:
    """`apply_merges_to_word` by a heap over a linked list: n log n in the length of the word."""
    n = len(word)
    pieces: list[str | None] = list(word)
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))  # n: the end
    find = scores.get
    heap = [(-score, i, 2) for i in range(n - 1) if (score := find(word[i : i + 2])) is not None]
    if not heap:
        return list(word)
    heapify(heap)
    while heap:
        _, place, length = heappop(heap)
        left, second = pieces[place], after[place]
        right = pieces[second] if second < n else None
        if left is None or right is None or len(left) + len(right) != length:
            continue  # one of the two was joined in the meantime
        joined = pieces[place] = left + right
        pieces[second] = None
        following = after[place] = after[second]
        if following < n:
            before[following] = place
            both = joined + (pieces[following] or "")
            if (score := find(both)) is not None:
                heappush(heap, (-score, place, len(both)))
        previous = before[place]
        if previous >= 0:
            both = (pieces[previous] or "") + joined
            if (score := find(both)) is not None:
                heappush(heap, (-score, previous, len(both)))
    return [piece for piece in pieces if piece is not None]
