"""Learn the pieces of sentencepiece's BPE without counting everything again after each.

Pairs wait in a heap by count, then length, then text. A count in the heap may be out of date, but promises at least
the true one: every pair is entered when its younger symbol has just been made, and from then on can only lose places.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import Ints, Longs, integer
from tokenizers_scratch.kernels.compiling import compilation, entry, part
from tokenizers_scratch.kernels.pairs import (
    AFTER,
    BEFORE,
    GONE,
    LATER,
    N_PAIRS,
    N_SYMBOLS,
    NONE,
    SYMBOL,
    Pairs,
    Text,
    add_place,
    find_piece,
    larger_pairs,
    new_pairs,
    new_text,
    remove_place,
)

DONE, GROW = 0, 1


class Heap(NamedTuple):
    """One entry a pair at most; size[0] are in use."""

    pair: Ints
    promised: Longs
    size: Longs
    sample: Ints  # one entry a pair: a place where it began


class Pieces(NamedTuple):
    """One entry a symbol."""

    start: Ints  # a place where it begins in the letters
    length: Ints
    table: Ints  # of those made by merges, by their letters


@entry
def enter_pairs(text: Text, pairs: Pairs, pieces: Pieces, room: Ints, heap: Heap) -> None:
    """Count the pairs of the text as it is at the start."""
    for place in range(text.letters.size):
        symbol = text.places[place, SYMBOL]
        pieces.start[symbol] = place
        pieces.length[symbol] = 1
        enter(text, pairs, pieces, room, heap, place)
    for pair in range(pairs.numbers[N_PAIRS]):
        push(text.letters, pairs, pieces, heap, pair)


@part
def enter(text: Text, pairs: Pairs, pieces: Pieces, room: Ints, heap: Heap, place: int) -> None:
    """Enter the pair that begins at `place`, if there is one and it may be a piece."""
    following = text.places[place, AFTER]
    if following == NONE:
        return
    left, right = text.places[place, SYMBOL], text.places[following, SYMBOL]
    # Symbols are being entered in order at the start, so that of `following` may not have its length yet.
    length = pieces.length[left] + max(pieces.length[right], 1)
    if length <= room[place]:
        heap.sample[add_place(text, pairs, place, left, right)] = place


@part
def is_before(letters: Ints, pairs: Pairs, pieces: Pieces, heap: Heap, i: int, j: int) -> bool:
    """Whether entry i of the heap comes before entry j."""
    if heap.promised[i] != heap.promised[j]:
        return heap.promised[i] > heap.promised[j]  # type: ignore[no-any-return]
    mine, theirs = heap.pair[i], heap.pair[j]
    length = pieces.length[pairs.left[mine]] + pieces.length[pairs.right[mine]]
    other = pieces.length[pairs.left[theirs]] + pieces.length[pairs.right[theirs]]
    if length != other:
        return length < other  # type: ignore[no-any-return]
    a, b = heap.sample[mine], heap.sample[theirs]
    for k in range(length):
        if letters[a + k] != letters[b + k]:
            return letters[a + k] < letters[b + k]  # type: ignore[no-any-return]
    return mine < theirs  # type: ignore[no-any-return]


@part
def swap(heap: Heap, i: int, j: int) -> None:
    """Exchange two entries."""
    heap.pair[i], heap.pair[j] = heap.pair[j], heap.pair[i]
    heap.promised[i], heap.promised[j] = heap.promised[j], heap.promised[i]


@part
def push(letters: Ints, pairs: Pairs, pieces: Pieces, heap: Heap, pair: int) -> None:
    """Add a pair with its count of now."""
    i = heap.size[0]
    heap.size[0] += 1
    heap.pair[i] = pair
    heap.promised[i] = pairs.counts[pair]
    while i > 0 and is_before(letters, pairs, pieces, heap, i, (i - 1) // 2):
        swap(heap, i, (i - 1) // 2)
        i = (i - 1) // 2


@part
def sink(letters: Ints, pairs: Pairs, pieces: Pieces, heap: Heap) -> None:
    """Put the first entry where it belongs."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= heap.size[0]:
            return
        if child + 1 < heap.size[0] and is_before(letters, pairs, pieces, heap, child + 1, child):
            child += 1
        if not is_before(letters, pairs, pieces, heap, child, i):
            return
        swap(heap, i, child)
        i = child


@entry
def merge_pairs(
    text: Text, pairs: Pairs, pieces: Pieces, room: Ints, heap: Heap, n_symbols: int, min_frequency: int
) -> int:
    """Merge until there are `n_symbols`. DONE; or GROW: there must be room for more pairs before it can go on."""
    while pairs.numbers[N_SYMBOLS] < n_symbols and heap.size[0] > 0:
        pair = heap.pair[0]
        count = pairs.counts[pair]
        if count >= min_frequency and heap.promised[0] != count:
            heap.promised[0] = count
            sink(text.letters, pairs, pieces, heap)
            continue
        left, right = pairs.left[pair], pairs.right[pair]
        length = pieces.length[left] + pieces.length[right]
        at = find_piece(text.letters, pieces.start, pieces.length, heap.sample[pair], length, pieces.table)
        if count >= min_frequency and pieces.table[at] == NONE:
            before = pairs.numbers[N_PAIRS]
            if before + 2 * pairs.n_places[pair] > pairs.left.size:
                return GROW
        swap(heap, 0, heap.size[0] - 1)
        heap.size[0] -= 1
        sink(text.letters, pairs, pieces, heap)
        if count < min_frequency or pieces.table[at] != NONE:
            continue  # too rare, or made of other parts before
        merged = integer(pairs.numbers[N_SYMBOLS])
        pairs.numbers[N_SYMBOLS] += 1
        pieces.table[at] = merged
        pieces.start[merged] = heap.sample[pair]
        pieces.length[merged] = length
        place = pairs.first[pair]
        while place != NONE:
            later = text.places[place, LATER]
            # In a run of equal symbols the next place may be that of the second symbol, which is about to go.
            if later != NONE and later == text.places[place, AFTER]:
                later = text.places[later, LATER]
            merge_at(text, pairs, pieces, room, heap, place, merged)
            place = later
        for new in range(before, pairs.numbers[N_PAIRS]):
            push(text.letters, pairs, pieces, heap, new)
    return DONE


@part
def merge_at(text: Text, pairs: Pairs, pieces: Pieces, room: Ints, heap: Heap, place: int, merged: int) -> None:
    """Make one symbol of the pair at `place`."""
    second = text.places[place, AFTER]
    previous, following = text.places[place, BEFORE], text.places[second, AFTER]
    remove_place(text, pairs, place)
    remove_place(text, pairs, second)
    text.places[place, SYMBOL] = merged
    text.places[second, SYMBOL] = GONE
    text.places[place, AFTER] = following
    if previous != NONE:
        remove_place(text, pairs, previous)
        enter(text, pairs, pieces, room, heap, previous)
    if following != NONE:
        text.places[following, BEFORE] = place
        enter(text, pairs, pieces, room, heap, place)


def learn_pieces(
    codes: Ints, words: Longs, counts: Longs, room: Ints, *, n_merges: int, min_frequency: int
) -> list[tuple[int, int]]:
    """A place and the length of each piece that merges make, in their order.

    `codes` (P,): characters, numbered from 1 by code points; word w is words[w] to words[w + 1] and occurs counts[w]
    times; room[i]: how long a piece that begins at place i may be.
    """
    n_letters = int(codes.max()) + 1
    n_symbols = n_letters + n_merges
    text = new_text(codes, words, counts)
    pairs = new_pairs(1024 + min(codes.size, max(n_letters**2, 2**18)))  # enough for those at the start
    pairs.numbers[N_SYMBOLS] = n_letters
    table = np.full(1 << (2 * n_symbols).bit_length(), NONE, np.int32)
    pieces = Pieces(np.zeros(n_symbols, np.int32), np.zeros(n_symbols, np.int32), table)
    size = pairs.left.size
    heap = Heap(np.zeros(size, np.int32), np.zeros(size, np.int64), np.zeros(1, np.int64), np.zeros(size, np.int32))
    enter_pairs(text, pairs, pieces, room, heap)
    while merge_pairs(text, pairs, pieces, room, heap, n_symbols, min_frequency) == GROW:
        more = np.zeros(pairs.left.size, np.int32)
        pairs = larger_pairs(pairs, 2 * pairs.left.size)
        heap = heap._replace(
            pair=np.concatenate((heap.pair, more)),
            promised=np.concatenate((heap.promised, more.astype(np.int64))),
            sample=np.concatenate((heap.sample, more)),
        )
    made = slice(n_letters, int(pairs.numbers[N_SYMBOLS]))
    return list(zip(pieces.start[made].tolist(), pieces.length[made].tolist(), strict=True))


def prepare() -> None:
    """Compile the kernels of this module, or load their machine code."""
    with compilation("sentencepieces", "the kernels that learn sentencepiece's BPE"):
        codes = np.array([1, 2, 1, 2, 1, 2, 2], np.int32)
        words, counts = np.array([0, 4, 7], np.int64), np.array([2, 1], np.int64)
        room = np.array([4, 3, 2, 1, 3, 2, 1], np.int32)
        learn_pieces(codes, words, counts, room, n_merges=3, min_frequency=1)
