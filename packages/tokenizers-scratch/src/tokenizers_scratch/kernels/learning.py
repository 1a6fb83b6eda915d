"""Learn merges from counted words. The result is that of `bpe_reference.learn_merges`, tie rules included.

The words lie one behind the other with a border between them, one place a letter, which for byte-level BPE is a byte
and for sentencepiece's (`sentencepieces.py`) a character. A token sits where its first letter is; at its last letter
stands how long it is, and between the two nothing. So the length of a token leads to the next one, the place before it
to the previous one, and all are near in memory. Each pair of neighbours has a row with its count and a list of the
places where it was seen, in order: a merge walks this list and corrects the counts around. Pairs wait in a heap; an
entry may promise too much, and is then put back with the true count when it comes up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.compiling import entry, inlined, part
from tokenizers_scratch.kernels.machine import prefetch
from tokenizers_scratch.kernels.pair_heap import COUNT, ID, KEY, Tokens, pop_pair, push_pair

if TYPE_CHECKING:
    from typing import Any

    from tokenizers_scratch.kernels.arrays import Bytes, Ints, Longs

DONE, GROW, PAUSE = 0, 1, 2
"""What `learn` answers: there is nothing left to merge, call again after `grown`, or simply call again."""

TOKENS, PAIRS, ENTRIES, NODES, PLACES = 0, 1, 2, 3, 4
"""Places in `used`."""

_BORDER, _NOTHING = -1, -2  # symbols; below them, minus the length of the token that ends there
_KEY, COUNTED, FIRST, _LAST = 0, 1, 2, 3
LINK, _WEIGHT = 0, 1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
PLACE = 2**32 - 1
_AHEAD = 32  # places of a list that are looked at before they are merged


class Learning(NamedTuple):
    """The state of a training."""

    symbols: Ints  # (places,) id of the token that starts there, or what else there is
    rows: Longs  # (a power of two, 4) of each pair: left id << 31 | right id, count, first and last node of its list
    nodes: Longs  # (nodes, 2) next node << 32 | place, how often the word at the place occurs
    heap: Longs  # (entries, 2)
    fresh: Longs  # (entries,) keys of the pairs that a merge made
    tokens: Tokens  # their text is that of all places; the letters come first, and are the first tokens
    merged: Ints  # (merges, 2) ids
    used: Longs  # (5,)


def first_state(data: Bytes, bounds: Longs, times: Longs, byte_order: Bytes, n_tokens: int, by_text: int) -> Learning:
    """The state before the first merge. Word `i` is data[bounds[i, 0] : bounds[i, 1]] and occurs times[i] times.

    `byte_order`: the bytes of the first 256 ids. `by_text`: how ties are decided.
    """
    state = empty_state(bounds, byte_order, n_tokens, 2**16)
    id_of_byte = np.argsort(byte_order).astype(np.int32)
    place_words(data, bounds, times, id_of_byte, state, by_text)
    return state


def empty_state(bounds: Longs, letters: Bytes | Ints, n_tokens: int, n_pairs: int) -> Learning:
    """Room for these words, and for so many pairs of letters, if there can be so many.

    `letters`: of the first tokens. Raises OverflowError for words of more than 700 million letters.
    """
    n_letters = letters.size
    n_places = n_letters + 1 + int((bounds[:, 1] - bounds[:, 0]).sum()) + len(bounds)
    if 3 * n_places >= 2**31:  # nodes have numbers of 31 bits
        raise OverflowError(f"the different words of the text have {n_places} letters, more than a training can number")
    n_rows = 2**10
    while n_rows < 4 * min(n_places, n_pairs):
        n_rows *= 2
    tokens = Tokens(
        text=np.empty(n_places, letters.dtype),
        examples=np.arange(n_tokens, dtype=np.int32),
        lengths=np.ones(n_tokens, np.int32),
    )
    tokens.text[:n_letters] = letters
    return Learning(
        symbols=np.full(n_places, _BORDER, np.int32),
        rows=np.full((n_rows, 4), -1, np.int64),
        nodes=np.empty((3 * n_places, 2), np.int64),  # a merge adds two nodes at most, and takes a place away
        heap=np.empty((n_rows, 2), np.int64),
        fresh=np.empty(n_rows, np.int64),
        tokens=tokens,
        merged=np.empty((n_tokens - n_letters, 2), np.int32),
        used=np.array([n_letters, 0, 0, 0, n_letters + 1], np.int64),
    )


def grown(state: Learning) -> Learning:
    """The same state with room for more pairs."""
    rows = np.full((2 * len(state.rows), 4), -1, np.int64)
    move_rows(state.rows, rows)
    heap, fresh = np.empty((len(rows), 2), np.int64), np.empty(len(rows), np.int64)
    heap[: len(state.heap)] = state.heap
    fresh[: len(state.fresh)] = state.fresh
    return state._replace(rows=rows, heap=heap, fresh=fresh)


@entry
def move_rows(rows: Longs, larger: Longs) -> None:
    """Copy the rows of all pairs to where they belong in a larger, empty table."""
    for old in range(rows.shape[0]):
        if rows[old, _KEY] >= 0:
            slot = row_of(larger, rows[old, _KEY])
            for column in range(4):
                larger[slot, column] = rows[old, column]


@entry
def place_words(data: Bytes, bounds: Longs, times: Longs, id_of_byte: Ints, state: Learning, by_text: int) -> None:
    """Lay out the words, list all pairs, and fill the heap."""
    count_pairs(data, bounds, times, id_of_byte, state, 0)
    list_pairs(bounds, times, state)
    push_fresh(state, state.used[PAIRS], 1, by_text)


@part
def count_pairs(data: Any, bounds: Longs, times: Longs, id_of: Ints, state: Learning, word: int) -> int:
    """Lay out the words from `word` on, and count their pairs; the first for whose pairs there may be no room, or none.

    `id_of`: the id of each letter.
    """
    symbols, text, rows, used = state.symbols, state.tokens.text, state.rows, state.used
    while word < bounds.shape[0]:
        start, stop = bounds[word, 0], bounds[word, 1]
        if 2 * min(used[PAIRS] + stop - start, id_of.size * id_of.size) > rows.shape[0]:
            return word
        place = used[PLACES]
        for i in range(start, stop):
            text[place] = data[i]
            symbols[place] = id_of[data[i]]
            if i > start:
                key = _key(symbols[place - 1], symbols[place])
                slot = row_of(rows, key)
                if rows[slot, _KEY] < 0:
                    rows[slot, _KEY], rows[slot, COUNTED], rows[slot, FIRST] = key, 0, 0
                    state.fresh[used[PAIRS]] = key
                    used[PAIRS] += 1
                rows[slot, COUNTED] += times[word]
                rows[slot, FIRST] += 1  # for now, how many places the list will have
            place += 1
        used[PLACES] = place + 1  # behind the border
        word += 1
    return word


@part
def list_pairs(bounds: Longs, times: Longs, state: Learning) -> None:
    """List the places of all pairs that were counted."""
    symbols, rows, nodes, used = state.symbols, state.rows, state.nodes, state.used
    for k in range(used[PAIRS]):  # the nodes of a list lie one behind the other, so that it is quick to walk
        slot = row_of(rows, state.fresh[k])
        first = used[NODES]
        used[NODES] += rows[slot, FIRST]
        rows[slot, FIRST], rows[slot, _LAST] = first, first - 1
    place = used[TOKENS] + 1
    for word in range(bounds.shape[0]):
        for _ in range(bounds[word, 0] + 1, bounds[word, 1]):
            slot = row_of(rows, _key(symbols[place], symbols[place + 1]))
            rows[slot, _LAST] += 1
            node = rows[slot, _LAST]
            nodes[node, LINK], nodes[node, _WEIGHT] = (node + 1) << 32 | place, times[word]
            place += 1
        place += 2 if bounds[word, 1] > bounds[word, 0] else 1
    for k in range(used[PAIRS]):
        nodes[rows[row_of(rows, state.fresh[k]), _LAST], LINK] |= -1 << 32


@entry
def learn(state: Learning, min_frequency: int, longest: int, by_text: int, most_merges: int) -> int:
    """Do up to `most_merges` merges and write them to `merged`.

    `longest`: bytes of the longest token. `by_text`: how ties are decided.
    """
    lengths, heap, used = state.tokens.lengths, state.heap, state.used
    while most_merges > 0:
        new = used[TOKENS]
        if new == lengths.shape[0] or used[ENTRIES] == 0:
            return DONE
        if is_tight(state):
            return GROW
        promised, key = heap[0, COUNT], heap[0, KEY]
        pop_pair(heap, used[ENTRIES], state.tokens, by_text)
        used[ENTRIES] -= 1
        count = state.rows[row_of(state.rows, key), COUNTED]
        if count < promised:
            if count >= min_frequency:
                push_pair(heap, used[ENTRIES], count, key, state.tokens, by_text)
                used[ENTRIES] += 1
            continue
        if count < min_frequency:
            return DONE
        if integer(lengths[key >> 31]) + lengths[key & ID] > longest:
            continue
        push_fresh(state, merge(state, key), min_frequency, by_text)
        most_merges -= 1
    return PAUSE


@inlined
def is_tight(state: Learning) -> bool:
    """Whether there may be too little room for the pairs of one more merge: each has the new token at one side."""
    room = 2 * state.used[TOKENS] + 2
    return 2 * (state.used[PAIRS] + room) > state.rows.shape[0] or state.used[ENTRIES] + room > state.heap.shape[0]  # type: ignore[no-any-return]


@part
def merge(state: Learning, key: int) -> int:
    """Replace a pair by a new token wherever it is, from left to right; return how many pairs are in `fresh`."""
    symbols, rows, nodes, lengths, used = state.symbols, state.rows, state.nodes, state.tokens.lengths, state.used
    left, right = key >> 31, key & ID
    new = used[TOKENS]
    n_letters = lengths.shape[0] - state.merged.shape[0]
    state.merged[new - n_letters, 0], state.merged[new - n_letters, 1] = left, right
    lengths[new] = lengths[left] + lengths[right]
    used[TOKENS] += 1
    n_fresh = 0
    node = rows[row_of(rows, key), FIRST]
    while node >= 0:
        _look_ahead(state, node, left, right, new)
        for _ in range(_AHEAD):
            if node < 0:
                break
            place, weight = nodes[node, LINK] & PLACE, nodes[node, _WEIGHT]
            node = nodes[node, LINK] >> 32
            second = place + lengths[left]
            if symbols[place] != left or symbols[second] != right:
                continue
            end = second + lengths[right]
            symbols[second] = _NOTHING
            symbols[place] = new
            symbols[end - 1] = _NOTHING - (end - place)
            state.tokens.examples[new] = place
            previous = _previous(symbols, place)
            if previous >= 0:
                rows[row_of(rows, _key(symbols[previous], left)), COUNTED] -= weight
                n_fresh = _add(state, _key(symbols[previous], new), weight, previous, n_fresh)
            if symbols[end] != _BORDER:
                rows[row_of(rows, _key(right, symbols[end])), COUNTED] -= weight
                n_fresh = _add(state, _key(new, symbols[end]), weight, place, n_fresh)
    rows[row_of(rows, key), COUNTED] = 0
    return n_fresh


@part
def _look_ahead(state: Learning, node: int, left: int, right: int, new: int) -> None:
    """Bring what the next merges of a list need into the processor's cache, all at once."""
    symbols, rows, nodes, lengths = state.symbols, state.rows, state.nodes, state.tokens.lengths
    first = node
    for _ in range(_AHEAD):
        if node < 0:
            break
        prefetch(symbols, nodes[node, LINK] & PLACE)
        node = nodes[node, LINK] >> 32
    node = first
    for _ in range(_AHEAD):
        if node < 0:
            break
        place, node = nodes[node, LINK] & PLACE, nodes[node, LINK] >> 32
        end = place + lengths[left] + lengths[right]
        if symbols[place] != left or symbols[place + lengths[left]] != right:
            continue
        previous = _previous(symbols, place)
        if previous >= 0:
            prefetch(rows, _first_row(rows, _key(symbols[previous], left)))
            prefetch(rows, _first_row(rows, _key(symbols[previous], new)))
        if symbols[end] >= 0:
            prefetch(rows, _first_row(rows, _key(right, symbols[end])))
            prefetch(rows, _first_row(rows, _key(new, symbols[end])))


@inlined
def _previous(symbols: Ints, place: int) -> int:
    """Where the token before the one at `place` starts; -1 if there is none."""
    last = integer(symbols[place - 1])
    if last == _BORDER:
        return -1
    return place - 1 if last >= 0 else place + last - _NOTHING


@inlined
def _key(left: int, right: int) -> int:
    return integer(left) << 31 | integer(right)


@inlined
def _first_row(rows: Longs, key: int) -> int:
    """Where to look for a pair first."""
    mixed = np.uint64(key) * _MULTIPLIER
    return integer((mixed ^ (mixed >> _HALF)) & np.uint64(rows.shape[0] - 1))


@inlined
def row_of(rows: Longs, key: int) -> int:
    """The row of a pair, or the free row where it belongs."""
    slot = _first_row(rows, key)
    while rows[slot, _KEY] != key and rows[slot, _KEY] >= 0:
        slot = (slot + 1) & (rows.shape[0] - 1)
    return slot


@inlined
def _add(state: Learning, key: int, weight: int, place: int, n_fresh: int) -> int:
    """Count a pair at a place, and put its place at the end of its list; return how many pairs are in `fresh`."""
    rows, nodes, used = state.rows, state.nodes, state.used
    node = used[NODES]
    used[NODES] += 1
    nodes[node, LINK], nodes[node, _WEIGHT] = -1 << 32 | place, weight
    slot = row_of(rows, key)
    if rows[slot, _KEY] < 0:
        rows[slot, _KEY], rows[slot, COUNTED], rows[slot, FIRST] = key, weight, node
        used[PAIRS] += 1
        state.fresh[n_fresh] = key
        n_fresh += 1
    else:
        rows[slot, COUNTED] += weight
        last = rows[slot, _LAST]
        nodes[last, LINK] = node << 32 | (nodes[last, LINK] & PLACE)
    rows[slot, _LAST] = node
    return n_fresh


@part
def push_fresh(state: Learning, n_fresh: int, min_frequency: int, by_text: int) -> None:
    """Put the pairs in `fresh` on the heap. Their counts are final: later merges only take away."""
    for i in range(n_fresh):
        count = state.rows[row_of(state.rows, state.fresh[i]), COUNTED]
        if count >= min_frequency:
            push_pair(state.heap, state.used[ENTRIES], count, state.fresh[i], state.tokens, by_text)
            state.used[ENTRIES] += 1
