"""Words as symbols linked to their neighbours: what plain Python merges pairs in, without counting anew after each.

All words lie one behind the other in flat lists, linked within each word, with the places where each pair occurs. A
merge visits only these places and corrects the counts of the neighbouring pairs, so the work is proportional to the
symbols merged, also in a single word of a megabyte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

_GONE = -1  # the symbol at a place that was merged into the one before it
_NONE = -1  # no place: the end of a word

Pair = tuple[int, int]


class LinkedWords:
    """Words as symbols (ids), and every adjacent pair with its count, by a sliding window, and its places."""

    def __init__(self, words: Iterable[tuple[Sequence[int], int]]) -> None:
        """`words`: the symbols of each, and how often it occurs."""
        self._symbols: list[int] = []
        self._before: list[int] = []
        self._after: list[int] = []
        self._weights: list[int] = []  # how often the word at this place occurs
        for word, count in words:
            if len(word) < 2:
                continue
            start, end = len(self._symbols), len(self._symbols) + len(word)
            self._symbols.extend(word)
            self._before.append(_NONE)
            self._before.extend(range(start, end - 1))
            self._after.extend(range(start + 1, end))
            self._after.append(_NONE)
            self._weights.extend([count] * len(word))
        self.counts: dict[Pair, int] = {}
        self._places: dict[Pair, list[int]] = {}  # may hold places where the pair no longer is
        for place, following in enumerate(self._after):
            if following != _NONE:
                self._add((self._symbols[place], self._symbols[following]), self._weights[place], place)

    def merge(self, left: int, right: int, merged: int) -> tuple[set[Pair], int]:
        """Replace a pair by the symbol `merged` wherever it occurs, from left to right in each word.

        Returns the pairs that have new places, and how often the pair was replaced, in words that occur so many times.
        """
        symbols, before, after = self._symbols, self._before, self._after
        grown: set[Pair] = set()
        total = 0
        # In order, as they are already unless `merged` was also made of other parts.
        for place in sorted(self._places.pop((left, right))):
            second = after[place]
            if symbols[place] != left or second == _NONE or symbols[second] != right:
                continue
            weight = self._weights[place]
            total += weight
            previous, following = before[place], after[second]
            symbols[place] = merged
            symbols[second] = _GONE
            after[place] = following
            if previous != _NONE:
                self.counts[symbols[previous], left] -= weight
                grown.add(self._add((symbols[previous], merged), weight, previous))
            if following != _NONE:
                before[following] = place
                self.counts[right, symbols[following]] -= weight
                grown.add(self._add((merged, symbols[following]), weight, place))
        del self.counts[left, right]
        return grown, total

    def _add(self, pair: Pair, weight: int, place: int) -> Pair:
        self.counts[pair] = self.counts.get(pair, 0) + weight
        self._places.setdefault(pair, []).append(place)
        return pair


class QueuedWords(LinkedWords):
    """The same with the most frequent pair at hand, if every merge makes a symbol that was not there before."""

    def __init__(self, words: Iterable[tuple[Sequence[int], int]], order: Callable[[int, int], Any]) -> None:
        """`order`: of equally frequent pairs, the one for which it is smallest comes first."""
        super().__init__(words)
        self._order = order
        # (-count, order, left, right): the most frequent pair first, then as the tie rule says. An entry may be out of
        # date, but for every pair there is one that promises at least its true count.
        self._heap = [(-count, order(*pair), *pair) for pair, count in self.counts.items()]
        heapify(self._heap)

    def pop_best(self) -> tuple[int, int, int] | None:
        """The count, left and right symbol of the most frequent pair, which then is out; None if none is left."""
        while self._heap:
            promised, order, left, right = heappop(self._heap)
            count = self.counts.get((left, right), 0)
            if count == -promised:
                return count, left, right
            if 0 < count < -promised:
                heappush(self._heap, (-count, order, left, right))
        return None

    def merge(self, left: int, right: int, merged: int) -> tuple[set[Pair], int]:
        """As above; then pairs that have new places wait for their turn."""
        grown, total = super().merge(left, right, merged)
        for pair in grown:
            if count := self.counts.get(pair, 0):
                heappush(self._heap, (-count, self._order(*pair), *pair))
        return grown, total
