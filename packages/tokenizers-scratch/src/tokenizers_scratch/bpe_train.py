"""Learn the merges of byte-level BPE without counting everything again after each.

The result is that of `bpe_reference.learn_merges`, tie rules included. All words lie one behind the other in flat
lists, linked within each word, with the places where each pair occurs. A merge visits only these places and corrects
the counts of the neighbouring pairs, so the work is proportional to the symbols merged, also in a single word of a
megabyte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from tokenizers_scratch.byte_alphabet import BYTE_ORDER, single_bytes

_GONE = -1  # the symbol at a place that was merged into the one before it
_NONE = -1  # no place: the end of a word


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
    pairs = _Pairs(word_counts, byte_order, _smallest_ids if ties == "ids" else _GreatestBytes(tokens))
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


class _Pairs:
    """Words as symbols (ids), and every adjacent pair with its count and places."""

    def __init__(
        self, word_counts: Mapping[bytes, int], byte_order: Sequence[int], order: Callable[[int, int], Any]
    ) -> None:
        rank = [0] * 256
        for i, byte in enumerate(byte_order):
            rank[byte] = i
        self.order = order
        self.symbols: list[int] = []
        self.before: list[int] = []
        self.after: list[int] = []
        self.weights: list[int] = []  # how often the word at this place occurs
        for word, count in word_counts.items():
            if len(word) < 2:
                continue
            start, end = len(self.symbols), len(self.symbols) + len(word)
            self.symbols.extend(map(rank.__getitem__, word))
            self.before.append(_NONE)
            self.before.extend(range(start, end - 1))
            self.after.extend(range(start + 1, end))
            self.after.append(_NONE)
            self.weights.extend([count] * len(word))

        self.counts: dict[tuple[int, int], int] = {}
        self.places: dict[tuple[int, int], list[int]] = {}  # may hold places where the pair no longer is
        for place, following in enumerate(self.after):
            if following != _NONE:
                pair = (self.symbols[place], self.symbols[following])
                self.counts[pair] = self.counts.get(pair, 0) + self.weights[place]
                self.places.setdefault(pair, []).append(place)
        # (-count, order, left, right): the most frequent pair first, then as the tie rule says. An entry may be out of
        # date, but for every pair there is one that promises at least its true count.
        self.heap = [(-count, order(*pair), *pair) for pair, count in self.counts.items()]
        heapify(self.heap)

    def pop_best(self) -> tuple[int, int, int] | None:
        """The count, left and right id of the most frequent pair; None if there are no pairs."""
        while self.heap:
            promised, order, left, right = heappop(self.heap)
            count = self.counts.get((left, right), 0)
            if count == -promised:
                return count, left, right
            if 0 < count < -promised:
                heappush(self.heap, (-count, order, left, right))
        return None

    def merge(self, left: int, right: int, merged: int) -> None:
        """Replace the pair by the new symbol `merged` wherever it occurs, from left to right in each word."""
        symbols, before, after = self.symbols, self.before, self.after
        grown: set[tuple[int, int]] = set()
        # Places are in order: all of a pair's were found in one pass, at the start or when its younger symbol was made.
        for place in self.places.pop((left, right)):
            second = after[place]
            if symbols[place] != left or second == _NONE or symbols[second] != right:
                continue
            weight = self.weights[place]
            previous, following = before[place], after[second]
            symbols[place] = merged
            symbols[second] = _GONE
            after[place] = following
            if previous != _NONE:
                self._remove((symbols[previous], left), weight)
                grown.add(self._add((symbols[previous], merged), weight, previous))
            if following != _NONE:
                before[following] = place
                self._remove((right, symbols[following]), weight)
                grown.add(self._add((merged, symbols[following]), weight, place))
        del self.counts[left, right]
        for pair in grown:
            if count := self.counts.get(pair, 0):
                heappush(self.heap, (-count, self.order(*pair), *pair))

    def _add(self, pair: tuple[int, int], weight: int, place: int) -> tuple[int, int]:
        self.counts[pair] = self.counts.get(pair, 0) + weight
        self.places.setdefault(pair, []).append(place)
        return pair

    def _remove(self, pair: tuple[int, int], weight: int) -> None:
        self.counts[pair] -= weight
