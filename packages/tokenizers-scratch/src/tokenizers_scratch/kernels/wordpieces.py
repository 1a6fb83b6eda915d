"""Learn WordPiece merges by likelihood score without counting everything again after each.

The best pair is the best of each row's best, where a row is the pairs with one first symbol. Within a row
freq(first) is the same for all, so a merge that changes it changes no row's best; where freq(second) falls, pairs in
other rows can only gain and are compared with the best there; where the best of a row lost, the row is looked through.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import Ints, Longs
from tokenizers_scratch.kernels.compiling import compilation, entry, part
from tokenizers_scratch.kernels.pairs import (
    AFTER,
    BEFORE,
    GONE,
    LATER,
    N_PAIRS,
    N_SYMBOLS,
    NONE,
    PAIR,
    SYMBOL,
    WORD,
    Pairs,
    Text,
    add_place,
    find_piece,
    larger_pairs,
    new_pairs,
    new_text,
    remove_place,
)

LOWEST = 2
DONE, GROW_PAIRS, GROW_PLACES = 0, 1, 2


class Rows(NamedTuple):
    """Lists of pairs by their first and second symbol, and of symbols the best pair of each row."""

    next_in_row: Ints  # one entry a pair
    next_in_column: Ints
    linked: Ints
    row: Ints  # one entry a symbol, S at most
    column: Ints
    best: Ints  # the best pair of the row, or NONE
    dirty: Ints
    freq: Longs  # how often the symbol occurs
    start: Ints  # a place where it begins in the letters
    length: Ints
    made_left: Ints  # one entry a merge: the pair
    made_right: Ints
    limit: Longs  # (1,) how often a pair must occur by now


@entry
def enter_pairs(text: Text, pairs: Pairs, rows: Rows) -> None:
    """Count the symbols and pairs of the text as it is at the start."""
    for place in range(text.letters.size):
        symbol = text.places[place, SYMBOL]
        rows.freq[symbol] += text.counts[text.places[place, WORD]]
        rows.start[symbol] = place
        rows.length[symbol] = 1
        following = text.places[place, AFTER]
        if following != NONE:
            link(pairs, rows, add_place(text, pairs, place, symbol, text.places[following, SYMBOL]))


@part
def link(pairs: Pairs, rows: Rows, pair: int) -> None:
    """Enter a pair in its row and its column, if it is not there."""
    if rows.linked[pair] == 0:
        rows.linked[pair] = 1
        left, right = pairs.left[pair], pairs.right[pair]
        rows.next_in_row[pair] = rows.row[left]
        rows.row[left] = pair
        rows.next_in_column[pair] = rows.column[right]
        rows.column[right] = pair


@part
def is_better(pairs: Pairs, rows: Rows, pair: int, than: int) -> bool:
    """Whether a pair is better than another of its row."""
    if than == NONE:
        return True
    mine = pairs.counts[pair] / rows.freq[pairs.right[pair]]
    theirs = pairs.counts[than] / rows.freq[pairs.right[than]]
    if mine != theirs:
        return mine > theirs  # type: ignore[no-any-return]
    if pairs.counts[pair] != pairs.counts[than]:
        return pairs.counts[pair] > pairs.counts[than]  # type: ignore[no-any-return]
    return pairs.right[pair] < pairs.right[than]  # type: ignore[no-any-return]


@part
def look_through_row(pairs: Pairs, rows: Rows, symbol: int, min_frequency: int) -> None:
    """Find the best pair of a row."""
    best = NONE
    pair = rows.row[symbol]
    while pair != NONE:
        if pairs.counts[pair] >= min_frequency and is_better(pairs, rows, pair, best):
            best = pair
        pair = rows.next_in_row[pair]
    rows.best[symbol] = best
    rows.dirty[symbol] = 0


@part
def look_through_column(pairs: Pairs, rows: Rows, symbol: int, min_frequency: int, fell: bool) -> None:
    """Compare each pair with this second symbol with the best of its row; mark rows whose best lost."""
    pair = rows.column[symbol]
    while pair != NONE:
        left = pairs.left[pair]
        if rows.best[left] == pair:
            if not fell or pairs.counts[pair] < min_frequency:
                rows.dirty[left] = 1
        elif pairs.counts[pair] >= min_frequency and is_better(pairs, rows, pair, rows.best[left]):
            rows.best[left] = pair
        pair = rows.next_in_column[pair]


@part
def best_of_all(pairs: Pairs, rows: Rows, min_frequency: int) -> int:
    """The best pair there is, or NONE."""
    best, best_score = NONE, 0.0
    for symbol in range(pairs.numbers[N_SYMBOLS]):
        if rows.dirty[symbol]:
            look_through_row(pairs, rows, symbol, min_frequency)
        pair = rows.best[symbol]
        if pair == NONE:
            continue
        # One division of exact integers: equal fractions give equal numbers.
        score = pairs.counts[pair] / (float(rows.freq[symbol]) * float(rows.freq[pairs.right[pair]]))
        if best == NONE or score > best_score or (score == best_score and pairs.counts[pair] > pairs.counts[best]):
            best, best_score = pair, score
    return best


@entry
def merge_pairs(text: Text, pairs: Pairs, rows: Rows, places: Ints, pieces: Ints, n_symbols: int, lowest: int) -> int:
    """Merge until there are `n_symbols`. DONE; or what must be larger before it can go on.

    Where no pair occurs `rows.limit` times any more, that is halved, down to `lowest`.
    """
    while pairs.numbers[N_SYMBOLS] < n_symbols:
        min_frequency = rows.limit[0]
        pair = best_of_all(pairs, rows, min_frequency)
        if pair == NONE:
            if min_frequency <= lowest:
                return DONE
            rows.limit[0] = max(lowest, min_frequency // 2)
            rows.dirty[:] = 1
            continue
        n_places = pairs.n_places[pair]
        if n_places > places.size:
            return GROW_PLACES
        if pairs.numbers[N_PAIRS] + 2 * n_places > pairs.left.size:
            return GROW_PAIRS
        # Places in order: runs of equal symbols are merged from the left.
        place = pairs.first[pair]
        for i in range(n_places):
            places[i] = place
            place = text.places[place, LATER]
        sort_places(places, n_places)

        left, right = pairs.left[pair], pairs.right[pair]
        at = find_piece(
            text.letters, rows.start, rows.length, places[0], rows.length[left] + rows.length[right], pieces
        )
        merged = pieces[at]
        is_new = merged == NONE
        if is_new:
            merged = np.int32(pairs.numbers[N_SYMBOLS])
            pieces[at] = merged
            rows.made_left[merged] = left
            rows.made_right[merged] = right
            rows.start[merged] = places[0]
            rows.length[merged] = rows.length[left] + rows.length[right]
            pairs.numbers[N_SYMBOLS] += 1
        for i in range(n_places):
            merge_at(text, pairs, rows, places[i], pair, merged)
        rows.dirty[left] = 1
        rows.dirty[merged] = 1
        look_through_column(pairs, rows, left, min_frequency, True)
        look_through_column(pairs, rows, right, min_frequency, True)
        look_through_column(pairs, rows, merged, min_frequency, False)
    return DONE


@part
def sort_places(places: Ints, n: int) -> None:
    """Shell's sort, in place. Places are in order already unless a piece was made in two ways."""
    gap = 0
    for i in range(1, n):
        if places[i] < places[i - 1]:
            gap = n // 2
            break
    while gap > 0:
        for i in range(gap, n):
            place = places[i]
            j = i
            while j >= gap and places[j - gap] > place:
                places[j] = places[j - gap]
                j -= gap
            places[j] = place
        gap //= 2


@part
def merge_at(text: Text, pairs: Pairs, rows: Rows, place: int, pair: int, merged: int) -> None:
    """Make one symbol of the pair at `place`, if it is still there."""
    if text.places[place, PAIR] != pair:
        return
    second = text.places[place, AFTER]
    previous, following = text.places[place, BEFORE], text.places[second, AFTER]
    weight = text.counts[text.places[place, WORD]]
    rows.freq[text.places[place, SYMBOL]] -= weight
    rows.freq[text.places[second, SYMBOL]] -= weight
    rows.freq[merged] += weight
    remove_place(text, pairs, place)
    lose(text, pairs, rows, second)
    text.places[place, SYMBOL] = merged
    text.places[second, SYMBOL] = GONE
    text.places[place, AFTER] = following
    if previous != NONE:
        lose(text, pairs, rows, previous)
        link(pairs, rows, add_place(text, pairs, previous, text.places[previous, SYMBOL], merged))
    if following != NONE:
        text.places[following, BEFORE] = place
        link(pairs, rows, add_place(text, pairs, place, merged, text.places[following, SYMBOL]))


@part
def lose(text: Text, pairs: Pairs, rows: Rows, place: int) -> None:
    """Strike out the pair at `place`, and mark its row if that was the best there."""
    pair = remove_place(text, pairs, place)
    if pair != NONE and rows.best[pairs.left[pair]] == pair:
        rows.dirty[pairs.left[pair]] = 1


def learn_pairs(
    letters: Ints, starts: Longs, counts: Longs, *, n_letters: int, n_symbols: int, min_frequency: int | None
) -> list[tuple[int, int]]:
    """The two symbols that each symbol from `n_letters` on was made of. Symbols below are letters.

    `min_frequency`: None begins with the count of the most frequent pair and halves it down to 2.
    """
    text = new_text(letters, starts, counts)
    places = np.empty(1024, np.int32)
    pieces = np.full(1 << (2 * n_symbols).bit_length(), NONE, np.int32)
    row, column, best, start, length, made_left, made_right = (np.full(n_symbols, NONE, np.int32) for _ in range(7))
    dirty = np.ones(n_symbols, np.int32)
    freq = np.zeros(n_symbols, np.int64)
    pairs = new_pairs(1024 + min(letters.size, n_letters**2))  # enough for those at the start
    pairs.numbers[N_SYMBOLS] = n_letters
    room = pairs.left.size
    in_row, in_column, linked = np.full(room, NONE, np.int32), np.full(room, NONE, np.int32), np.zeros(room, np.int32)

    limit = np.full(1, 2, np.int64)
    rows = Rows(in_row, in_column, linked, row, column, best, dirty, freq, start, length, made_left, made_right, limit)
    enter_pairs(text, pairs, rows)
    used = int(pairs.numbers[N_PAIRS])
    lowest = LOWEST if min_frequency is None else min_frequency
    limit[0] = max(lowest, int(pairs.counts[:used].max(initial=0))) if min_frequency is None else min_frequency
    while (outcome := merge_pairs(text, pairs, rows, places, pieces, n_symbols, lowest)) != DONE:
        if outcome == GROW_PLACES:
            places = np.empty(2 * places.size, np.int32)
        else:
            more = np.zeros(pairs.left.size, np.int32)
            pairs = larger_pairs(pairs, 2 * pairs.left.size)
            rows = rows._replace(
                next_in_row=np.concatenate((rows.next_in_row, more)),
                next_in_column=np.concatenate((rows.next_in_column, more)),
                linked=np.concatenate((rows.linked, more)),
            )
    made = range(n_letters, int(pairs.numbers[N_SYMBOLS]))
    return [(int(made_left[symbol]), int(made_right[symbol])) for symbol in made]


def prepare() -> None:
    """Compile the kernels of this module, or load their machine code."""
    with compilation("wordpieces", "the kernels that learn WordPiece"):
        letters = np.array([0, 1, 1, 1, 1, 0, 1], np.int32)
        starts, counts = np.array([0, 5, 7], np.int64), np.array([2, 1], np.int64)
        learn_pairs(letters, starts, counts, n_letters=2, n_symbols=4, min_frequency=1)
