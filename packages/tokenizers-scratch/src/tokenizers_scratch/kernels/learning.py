"""Learn merges from counted words. The result is that of `bpe_reference.learn_merges`, tie rules included.

The words lie one behind the other with a border between them, one place a byte. A token sits where its first byte is;
its other places are empty, and at its last byte stands where it starts. So the length of a token leads to the next
one, the place before it to the previous one, and both are near in memory. Each pair of neighbours has a row with its
count and a list of the places where it was seen, in order: a merge walks this list and corrects the counts around.
Pairs wait in a heap; an entry may promise too much, and is then put back with the true count when it comes up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.compiling import entry, inlined, part

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ints, Longs

DONE, GROW, PAUSE = 0, 1, 2
"""What `learn` answers: there is nothing left to merge, call again after `grown`, or simply call again."""

TOKENS, PAIRS, ENTRIES, NODES = 0, 1, 2, 3
"""Places in `used`."""

_BORDER, _EMPTY = -1, -2
_KEY, _COUNT, _FIRST, _LAST = 0, 1, 2, 3
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_ID = 2**31 - 1
_FEW = 64  # the fewest pairs that a merge is given room for


class Learning(NamedTuple):
    """The state of a training."""

    symbols: Ints  # (places,) id of the token that starts there, or _BORDER or _EMPTY
    starts: Ints  # (places,) where the token that ends there starts
    weights: Longs  # (places,) how often the word occurs
    text: Bytes  # (places,) the bytes; the first 256 are those of the first 256 tokens
    rows: Longs  # (a power of two, 4) of each pair: left id << 31 | right id, count, first and last node of its list
    node_place: Ints  # (nodes,)
    node_next: Ints  # (nodes,)
    heap_count: Longs  # (entries,)
    heap_key: Longs  # (entries,)
    fresh: Longs  # (entries,) keys of the pairs that a merge made
    lengths: Ints  # (tokens,) in bytes
    examples: Ints  # (tokens,) a place where the token was made
    merged: Ints  # (merges, 2) ids
    used: Longs  # (4,)


def first_state(data: Bytes, bounds: Longs, times: Longs, byte_order: Bytes, n_tokens: int, by_text: bool) -> Learning:
    """The state before the first merge. Word `i` is data[bounds[i, 0] : bounds[i, 1]] and occurs times[i] times.

    `byte_order`: the bytes of the first 256 ids. Raises OverflowError for more than 700 MB of different words.
    """
    n_places = 257 + int((bounds[:, 1] - bounds[:, 0]).sum()) + len(bounds)
    if 3 * n_places >= 2**31:
        raise OverflowError(f"the different words of the text have {n_places} bytes, more than a training can number")
    n_rows = 2**18  # at least four times as many as there are pairs of bytes
    state = Learning(
        symbols=np.full(n_places, _BORDER, np.int32),
        starts=np.empty(n_places, np.int32),
        weights=np.empty(n_places, np.int64),
        text=np.empty(n_places, np.uint8),
        rows=np.full((n_rows, 4), -1, np.int64),
        node_place=np.empty(3 * n_places, np.int32),  # a merge of two places adds at most two nodes
        node_next=np.empty(3 * n_places, np.int32),
        heap_count=np.empty(n_rows, np.int64),
        heap_key=np.empty(n_rows, np.int64),
        fresh=np.empty(n_rows, np.int64),
        lengths=np.ones(n_tokens, np.int32),
        examples=np.arange(n_tokens, dtype=np.int32),
        merged=np.empty((n_tokens - 256, 2), np.int32),
        used=np.array([256, 0, 0, 0], np.int64),
    )
    state.text[:256] = byte_order
    id_of_byte = np.argsort(byte_order).astype(np.int32)
    place_words(data, bounds, times, id_of_byte, state, by_text)
    return state


def grown(state: Learning) -> Learning:
    """The same state with room for more pairs."""
    rows = np.full((4 * len(state.rows), 4), -1, np.int64)
    move_rows(state.rows, rows)
    more = np.empty(len(rows) - len(state.heap_count), np.int64)
    return state._replace(
        rows=rows,
        heap_count=np.concatenate((state.heap_count, more)),
        heap_key=np.concatenate((state.heap_key, more)),
        fresh=np.empty(len(rows), np.int64),
    )


@entry
def move_rows(rows: Longs, larger: Longs) -> None:
    """Copy the rows of all pairs to where they belong in a larger, empty table."""
    for old in range(rows.shape[0]):
        if rows[old, _KEY] >= 0:
            slot = _row_of(larger, rows[old, _KEY])
            for column in range(4):
                larger[slot, column] = rows[old, column]


@entry
def place_words(data: Bytes, bounds: Longs, times: Longs, id_of_byte: Ints, state: Learning, by_text: bool) -> None:
    """Lay out the words, list all pairs, and fill the heap."""
    place = 257
    n_fresh = 0
    for word in range(bounds.shape[0]):
        for i in range(bounds[word, 0], bounds[word, 1]):
            state.text[place] = data[i]
            state.symbols[place] = id_of_byte[data[i]]
            state.starts[place] = place
            state.weights[place] = times[word]
            if i > bounds[word, 0]:
                key = _key(state.symbols[place - 1], state.symbols[place])
                n_fresh = _add(state, key, times[word], place - 1, n_fresh)
            place += 1
        place += 1  # the border
    _push_fresh(state, n_fresh, 1, by_text)


@entry
def learn(state: Learning, min_frequency: int, longest: int, by_text: bool, most_merges: int) -> int:
    """Do up to `most_merges` merges and write them to `merged`.

    `longest`: bytes of the longest token. `by_text`: how ties are decided.
    """
    lengths, heap_key, heap_count, used = state.lengths, state.heap_key, state.heap_count, state.used
    while most_merges > 0:
        new = used[TOKENS]
        if new == lengths.shape[0] or used[ENTRIES] == 0:
            return DONE
        # Each pair that a merge makes has the new token at one side.
        room = max(2 * new + 2, _FEW)
        if 2 * (used[PAIRS] + room) > state.rows.shape[0] or used[ENTRIES] + room > heap_key.shape[0]:
            return GROW
        key, promised = heap_key[0], heap_count[0]
        _pop(state, by_text)
        count = state.rows[_row_of(state.rows, key), _COUNT]
        if count < promised:
            if count >= min_frequency:
                _push(state, count, key, by_text)
            continue
        if count < min_frequency:
            return DONE
        left, right = key >> 31, key & _ID
        if integer(lengths[left]) + lengths[right] > longest:
            continue
        state.merged[new - 256, 0], state.merged[new - 256, 1] = left, right
        lengths[new] = lengths[left] + lengths[right]
        used[TOKENS] += 1
        n_fresh = _merge(state, key, new)
        _push_fresh(state, n_fresh, min_frequency, by_text)
        most_merges -= 1
    return PAUSE


@part
def _merge(state: Learning, key: int, new: int) -> int:
    """Replace a pair by the token `new` wherever it is, from left to right; return how many pairs are in `fresh`."""
    symbols, starts, lengths, rows = state.symbols, state.starts, state.lengths, state.rows
    left, right = key >> 31, key & _ID
    n_fresh = 0
    node = rows[_row_of(rows, key), _FIRST]
    while node >= 0:
        place = integer(state.node_place[node])
        node = integer(state.node_next[node])
        second = place + lengths[left]
        if symbols[place] != left or symbols[second] != right:
            continue
        end = second + lengths[right]
        weight = state.weights[place]
        symbols[place], symbols[second] = new, _EMPTY
        starts[end - 1] = place
        state.examples[new] = place
        if symbols[place - 1] != _BORDER:
            previous = integer(starts[place - 1])
            rows[_row_of(rows, _key(symbols[previous], left)), _COUNT] -= weight
            n_fresh = _add(state, _key(symbols[previous], new), weight, previous, n_fresh)
        if symbols[end] != _BORDER:
            rows[_row_of(rows, _key(right, symbols[end])), _COUNT] -= weight
            n_fresh = _add(state, _key(new, symbols[end]), weight, place, n_fresh)
    rows[_row_of(rows, key), _COUNT] = 0
    return n_fresh


@inlined
def _key(left: int, right: int) -> int:
    return integer(left) << 31 | integer(right)


@inlined
def _row_of(rows: Longs, key: int) -> int:
    """The row of a pair, or the free row where it belongs."""
    n_rows = rows.shape[0]
    mixed = np.uint64(key) * _MULTIPLIER
    slot = integer((mixed ^ (mixed >> _HALF)) & np.uint64(n_rows - 1))
    while rows[slot, _KEY] != key and rows[slot, _KEY] >= 0:
        slot = (slot + 1) & (n_rows - 1)
    return slot


@inlined
def _add(state: Learning, key: int, weight: int, place: int, n_fresh: int) -> int:
    """Count a pair at a place, and put its place at the end of its list; return how many pairs are in `fresh`."""
    rows, used = state.rows, state.used
    node = used[NODES]
    used[NODES] += 1
    state.node_place[node] = place
    state.node_next[node] = -1
    slot = _row_of(rows, key)
    if rows[slot, _KEY] < 0:
        rows[slot, _KEY] = key
        rows[slot, _COUNT] = weight
        rows[slot, _FIRST] = node
        used[PAIRS] += 1
        state.fresh[n_fresh] = key
        n_fresh += 1
    else:
        rows[slot, _COUNT] += weight
        state.node_next[rows[slot, _LAST]] = node
    rows[slot, _LAST] = node
    return n_fresh


@part
def _push_fresh(state: Learning, n_fresh: int, min_frequency: int, by_text: bool) -> None:
    """Put the pairs in `fresh` on the heap. Their counts are final: later merges only take away."""
    for i in range(n_fresh):
        count = state.rows[_row_of(state.rows, state.fresh[i]), _COUNT]
        if count >= min_frequency:
            _push(state, count, state.fresh[i], by_text)


@part
def _push(state: Learning, count: int, key: int, by_text: bool) -> None:
    heap_count, heap_key = state.heap_count, state.heap_key
    k = state.used[ENTRIES]
    state.used[ENTRIES] += 1
    while k > 0:
        parent = (k - 1) >> 1
        if not _is_first(state, count, key, heap_count[parent], heap_key[parent], by_text):
            break
        heap_count[k], heap_key[k] = heap_count[parent], heap_key[parent]
        k = parent
    heap_count[k], heap_key[k] = count, key


@part
def _pop(state: Learning, by_text: bool) -> None:
    """Remove the first entry of the heap."""
    heap_count, heap_key = state.heap_count, state.heap_key
    state.used[ENTRIES] -= 1
    n = state.used[ENTRIES]
    count, key = heap_count[n], heap_key[n]
    k = 0
    while 2 * k + 1 < n:
        child = 2 * k + 1
        if child + 1 < n and _is_first(
            state, heap_count[child + 1], heap_key[child + 1], heap_count[child], heap_key[child], by_text
        ):
            child += 1
        if not _is_first(state, heap_count[child], heap_key[child], count, key, by_text):
            break
        heap_count[k], heap_key[k] = heap_count[child], heap_key[child]
        k = child
    heap_count[k], heap_key[k] = count, key


@inlined
def _is_first(state: Learning, count: int, key: int, other_count: int, other_key: int, by_text: bool) -> bool:
    """Whether a pair is merged before another: it is more frequent, or as frequent and the tie rule says so."""
    if count != other_count:
        return count > other_count
    if by_text:
        return _is_greater_text(state, key, other_key)
    return key < other_key


@part
def _is_greater_text(state: Learning, key: int, other: int) -> bool:
    order = _compare_text(state, key >> 31, other >> 31)
    if order == 0:
        order = _compare_text(state, key & _ID, other & _ID)
    return order > 0


@part
def _compare_text(state: Learning, token: int, other: int) -> int:
    """Above 0 if the bytes of a token are greater than those of another, 0 if they are equal."""
    first, second = integer(state.examples[token]), integer(state.examples[other])
    length, other_length = integer(state.lengths[token]), integer(state.lengths[other])
    if first == second and length == other_length:
        return 0
    for i in range(min(length, other_length)):
        difference = integer(state.text[first + i]) - integer(state.text[second + i])
        if difference != 0:
            return difference
    return length - other_length
