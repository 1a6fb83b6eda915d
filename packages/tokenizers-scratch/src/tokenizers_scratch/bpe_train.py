"""Learn the merges of byte-level BPE without counting everything again after each.

The result is that of `bpe_reference.learn_merges`, tie rules included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers_scratch.byte_alphabet import BYTE_ORDER, single_bytes
from tokenizers_scratch.linked_words import QueuedWords


def learn_merges(
    word_counts: Mapping[bytes, int],
    *,
    n_tokens: int,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    byte_order: Sequence[int] = BYTE_ORDER,
    ties: str = "ids",
) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Tokens in the order of their ids, the 256 bytes first, and the merges in the order they were learned.

    Stops at `n_tokens` tokens, or when no pair occurs `min_frequency` times. A pair of more than `max_token_length`
    bytes is passed over. `byte_order` and `ties`: see `bpe_reference.py`.
    """
    tokens = single_bytes(byte_order)
    merges: list[tuple[bytes, bytes]] = []
    rank = {byte: i for i, byte in enumerate(byte_order)}
    words = ((list(map(rank.__getitem__, word)), count) for word, count in word_counts.items())
    pairs = QueuedWords(words, _smallest_ids if ties == "ids" else _GreatestBytes(tokens))
    while len(tokens) < n_tokens:
        best = pairs.pop_best()
        if best is None or best[0] < min_frequency:
            break
        _, left, right = best
        if max_token_length is not None and len(tokens[left]) + len(tokens[right]) > max_token_length:
            continue
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
        pairs.merge(left, right, merged=len(tokens) - 1)
    return tokens, merges


def _smallest_ids(left: int, right: int) -> tuple[int, int]:
    """What to sort equally frequent pairs by."""
    return left, right


class _GreatestBytes:
    """The other rule: a key that is small for pairs with great bytes."""

    def __init__(self, tokens: list[bytes]) -> None:
        self._tokens = tokens
        self._keys: list[tuple[int, ...]] = []

    def __call__(self, left: int, right: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        for token in self._tokens[len(self._keys) :]:
            self._keys.append((*(255 - byte for byte in token), 256))  # 256: of two, the longer is the greater
        return self._keys[left], self._keys[right]
