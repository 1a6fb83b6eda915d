"""Byte-pair encoding as a textbook would write it: slow, short, and what the fast version is held to.

Training (Sennrich et al., 2016, arXiv:1508.07909, algorithm 1, on bytes): start from single bytes; again and again
count every adjacent pair in every word, take the most frequent one, and replace it everywhere, from left to right.

- Pairs are counted by sliding a window: `aaaa` holds (a, a) three times, although one merge replaces two.
- Of pairs with equal counts the one with the smaller left id wins, then the smaller right id, as in HF tokenizers; with
  `ties="lexicographic"` the one with the greater left bytes, then the greater right bytes. The first 256 ids are the
  bytes in `byte_order`, those after them the tokens in the order in which they were made.
- No two merges give the same bytes. Equal bytes that fill whole tokens at two places have been cut alike all along: a
  merge inside them is missed at one place only if a run crosses their left border, and then they do not fill tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tokenizers_scratch.byte_alphabet import BYTE_ORDER, single_bytes

Pair = tuple[bytes, bytes]


def learn_merges(
    word_counts: Mapping[bytes, int],
    *,
    n_tokens: int,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    byte_order: Sequence[int] = BYTE_ORDER,
    ties: str = "ids",
) -> tuple[list[bytes], list[Pair]]:
    """Tokens in the order of their ids, the 256 bytes first, and the merges in the order they were learned.

    Stops at `n_tokens` tokens, or when no pair occurs `min_frequency` times. Pairs of more than `max_token_length`
    bytes are left alone.
    """
    tokens = single_bytes(byte_order)
    rank = {token: i for i, token in enumerate(tokens)}
    merges: list[Pair] = []
    words = [([bytes((byte,)) for byte in word], count) for word, count in word_counts.items()]
    while len(tokens) < n_tokens:
        counts = count_pairs(words)
        if max_token_length is not None:
            counts = Counter({p: n for p, n in counts.items() if len(p[0] + p[1]) <= max_token_length})
        if not counts:
            break
        most = max(counts.values())
        tied = [pair for pair in counts if counts[pair] == most]
        pair = max(tied) if ties == "lexicographic" else min(tied, key=lambda pair: (rank[pair[0]], rank[pair[1]]))
        if most < min_frequency:
            break
        merges.append(pair)
        rank[pair[0] + pair[1]] = len(tokens)
        tokens.append(pair[0] + pair[1])
        words = [(merge_pair(word, pair), count) for word, count in words]
    return tokens, merges


def count_pairs(words: Sequence[tuple[Sequence[bytes], int]]) -> Counter[Pair]:
    """How often each adjacent pair occurs, over words (as tokens) that occur so many times."""
    counts: Counter[Pair] = Counter()
    for word, count in words:
        for pair in pairwise(word):
            counts[pair] += count
    return counts


def merge_pair(word: Sequence[bytes], pair: Pair) -> list[bytes]:
    """The word with every occurrence of `pair` replaced by one token, from left to right."""
    merged: list[bytes] = []
    i = 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged


def encode_word(word: bytes, merges: Sequence[Pair]) -> list[bytes]:
    """Cut a word into tokens: while an adjacent pair is a merge, do the earliest learned one, leftmost first."""
    rank = {pair: i for i, pair in reversed(list(enumerate(merges)))}
    tokens = [bytes((byte,)) for byte in word]
    while True:
        found = [(rank[pair], i) for i, pair in enumerate(pairwise(tokens)) if pair in rank]
        if not found:
            return tokens
        _, i = min(found)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
