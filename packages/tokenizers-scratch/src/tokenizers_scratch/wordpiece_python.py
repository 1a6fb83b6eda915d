"""Learn WordPiece in plain Python, without counting and scoring everything again after each merge.

A merge changes the frequencies of its two symbols and of the piece they make, and counts of pairs that hold one of
these. A row is the pairs with one first symbol, a column those with one second symbol. So each row keeps its best pair;
after a merge the rows of the three symbols are looked through, and of other rows only the pairs in the three columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tokenizers_scratch import wordpiece_reference as reference
from tokenizers_scratch.linked_words import LinkedWords, Pair

Rank = tuple[float, int, int, int]
"""What orders pairs, the best first: minus the score, minus the count, the first and the second symbol."""

_NOTHING: Rank = (1.0, 0, 0, 0)  # behind every pair


def learn_wordpieces(word_counts: Mapping[str, int], *, n_pieces: int, min_frequency: int | None) -> list[str]:
    """Pieces in the order of their ids, the alphabet first; stops at `n_pieces`, or when no pair is left.

    The result is that of `wordpiece_reference.learn_wordpieces`, tie rules included.
    """
    pieces = reference.wordpiece_alphabet(word_counts)
    number = {piece: i for i, piece in enumerate(pieces)}
    splits = reference.get_wordpiece_word_splits(word_counts)
    table = _Table([([number[piece] for piece in word], count) for word, count in splits], len(pieces))
    lowest = table.limit = min_frequency or reference.LOWEST
    if min_frequency is None:
        table.limit = max([lowest, *table.words.counts.values()])
    table.look_through(range(len(pieces)))
    while len(pieces) < n_pieces:
        score, _, left, right = min(table.best)
        if score > 0:
            if table.limit <= lowest:
                break
            table.limit = max(lowest, table.limit // 2)
            table.look_through(range(len(pieces)))
            continue
        piece = reference.join_pieces(pieces[left], pieces[right])
        if piece not in number:
            number[piece] = len(pieces)
            pieces.append(piece)
        table.merge(left, right, number[piece])
    return pieces


class _Table:
    """Words, how often each symbol occurs, and the best pair of each row."""

    def __init__(self, words: list[tuple[list[int], int]], n_symbols: int) -> None:
        self.words = LinkedWords(words)
        self.limit = 1
        self.best: list[Rank] = [_NOTHING] * n_symbols
        self._freq = [0] * n_symbols
        for word, count in words:
            for symbol in word:
                self._freq[symbol] += count
        self._rows: list[set[int]] = [set() for _ in range(n_symbols)]
        self._columns: list[set[int]] = [set() for _ in range(n_symbols)]
        self._enter(self.words.counts)

    def _enter(self, pairs: Iterable[Pair]) -> None:
        for left, right in pairs:
            self._rows[left].add(right)
            self._columns[right].add(left)

    def merge(self, left: int, right: int, merged: int) -> None:
        """Replace a pair by a symbol, a new one or one that is there."""
        if merged == len(self.best):
            self.best.append(_NOTHING)
            self._freq.append(0)
            self._rows.append(set())
            self._columns.append(set())
        grown, n = self.words.merge(left, right, merged)
        self._enter(grown)
        self._freq[left] -= n
        self._freq[right] -= n
        self._freq[merged] += n
        stale = {left, right, merged}
        for symbol in (left, right, merged):
            stale.update(self._look_through_column(symbol))
        self.look_through(stale)

    def look_through(self, symbols: Iterable[int]) -> None:
        """Find the best pair of each of these rows; pairs that are no more are taken out."""
        counts, freq, limit = self.words.counts, self._freq, self.limit
        for left in symbols:
            best, row, gone = _NOTHING, self._rows[left], []
            for right in row:
                count = counts.get((left, right), 0)
                if count >= limit:
                    best = min(best, (-count / (freq[left] * freq[right]), -count, left, right))
                elif not count:
                    gone.append(right)
            for right in gone:
                row.discard(right)
                self._columns[right].discard(left)
            self.best[left] = best

    def _look_through_column(self, right: int) -> list[int]:
        """Compare each pair of a column with the best of its row; the rows whose best has become worse."""
        counts, freq, limit, bests = self.words.counts, self._freq, self.limit, self.best
        stale = []
        for left in self._columns[right]:
            count, best = counts.get((left, right), 0), bests[left]
            rank = (-count / (freq[left] * freq[right]), -count, left, right) if count >= limit else _NOTHING
            if rank <= best:
                bests[left] = rank
            elif best[2:] == (left, right):
                stale.append(left)
        return stale
