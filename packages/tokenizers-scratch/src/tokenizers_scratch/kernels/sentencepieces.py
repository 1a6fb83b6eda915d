"""Learn the pieces of sentencepiece's BPE: those of `sentencepiece_bpe.py`, by the merges of `learning.py`.

No piece goes beyond where one kind of character ends, so words are cut there first: what is left is far fewer different
parts, and how long a piece may be is then a matter of its pair alone.
"""

from __future__ import annotations

import numpy as np

from tokenizers_scratch.kernels.arrays import Ints, Longs, integer
from tokenizers_scratch.kernels.compiling import compilation, entry
from tokenizers_scratch.kernels.learning import (
    COUNTED,
    DONE,
    ENTRIES,
    FIRST,
    GROW,
    LINK,
    PAIRS,
    PAUSE,
    PLACE,
    TOKENS,
    Learning,
    count_pairs,
    empty_state,
    grown,
    is_tight,
    list_pairs,
    merge,
    move_rows,
    push_fresh,
    row_of,
)
from tokenizers_scratch.kernels.pair_heap import BY_PIECE, COUNT, ID, KEY, pop_pair, push_pair
from tokenizers_scratch.kernels.pairs import NONE, find_piece

_MERGES_A_CALL = 4096  # between two calls an interrupt is noticed


@entry
def cut_words(
    codes: Ints, starts: Longs, counts: Longs, kinds: Ints, bounds: Longs, times: Longs, hashes: Longs, slots: Ints
) -> int:
    """Cut words where a character of one kind meets one of another; how many different parts of two and more there are.

    Writes where each begins and ends in `codes` to `bounds`, and to `times` how often it occurs. `slots` are free.
    """
    n = 0
    mask = slots.size - 1
    for word in range(counts.size):
        start, stop = starts[word], starts[word + 1]
        while start < stop:
            end = start + 1
            key = np.uint64(codes[start])
            while end < stop and (kinds[codes[end - 1]] == 0 or kinds[codes[end - 1]] == kinds[codes[end]]):
                key = (key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(codes[end])
                end += 1
            if end - start > 1:
                mixed = integer((key ^ (key >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9))
                at = (mixed >> 20) & mask
                part = slots[at]
                while part != NONE:
                    if hashes[part] == mixed and bounds[part, 1] - bounds[part, 0] == end - start:
                        i = 0
                        while start + i < end and codes[bounds[part, 0] + i] == codes[start + i]:
                            i += 1
                        if start + i == end:
                            break
                    at = (at + 1) & mask
                    part = slots[at]
                if part == NONE:
                    slots[at] = part = np.int32(n)
                    n += 1
                    bounds[part, 0], bounds[part, 1], hashes[part], times[part] = start, end, mixed, 0
                times[part] += counts[word]
            start = end
    return n


@entry
def count_parts(codes: Ints, bounds: Longs, times: Longs, letters: Ints, state: Learning, part: int) -> int:
    """`count_pairs` from one part on."""
    return count_pairs(codes, bounds, times, letters, state, part)


@entry
def enter_pairs(bounds: Longs, times: Longs, state: Learning, min_frequency: int) -> None:
    """List all pairs that were counted, and fill the heap."""
    list_pairs(bounds, times, state)
    push_fresh(state, state.used[PAIRS], min_frequency, BY_PIECE)


@entry
def learn(state: Learning, table: Ints, min_frequency: int, longest: int, most_merges: int) -> int:
    """Do up to `most_merges` merges. `table`: the pieces made so far, by their letters. `longest`: letters of one."""
    tokens, heap, used = state.tokens, state.heap, state.used
    while most_merges > 0:
        if used[TOKENS] == tokens.lengths.size or used[ENTRIES] == 0:
            return DONE
        if is_tight(state):
            return GROW
        promised, key = heap[0, COUNT], heap[0, KEY]
        pop_pair(heap, used[ENTRIES], tokens, BY_PIECE)
        used[ENTRIES] -= 1
        length = integer(tokens.lengths[key >> 31]) + tokens.lengths[key & ID]
        if length > longest:
            continue
        row = row_of(state.rows, key)
        count = state.rows[row, COUNTED]
        if count < promised:
            if count >= min_frequency:
                push_pair(heap, used[ENTRIES], count, key, tokens, BY_PIECE)
                used[ENTRIES] += 1
            continue
        if count < min_frequency:
            return DONE
        place = state.nodes[state.rows[row, FIRST], LINK] & PLACE
        at = find_piece(tokens.text, tokens.examples, tokens.lengths, place, length, table)
        if table[at] != NONE:
            continue  # made of other parts before
        table[at] = used[TOKENS]
        push_fresh(state, merge(state, key), min_frequency, BY_PIECE)
        most_merges -= 1
    return PAUSE


def learn_pieces(
    codes: Ints,
    starts: Longs,
    counts: Longs,
    kinds: Ints,
    *,
    n_merges: int,
    min_frequency: int,
    max_piece_length: int,
) -> list[list[int]]:
    """The characters of each piece that merges make, in their order.

    `codes` (P,): characters, numbered from 1 by code points; word w is starts[w] to starts[w + 1] and occurs counts[w]
    times; `kinds`: of each number.
    """
    most = codes.size // 2 + 1
    slots = np.full(1 << (2 * most).bit_length(), NONE, np.int32)
    bounds, times, hashes = np.empty((most, 2), np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    n_parts = cut_words(codes, starts, counts, kinds, bounds, times, hashes, slots)
    bounds, times = bounds[:n_parts], times[:n_parts]
    del slots, hashes
    letters = np.arange(kinds.size, dtype=np.int32)
    state = empty_state(bounds, letters, letters.size + n_merges, 2**14)
    part = 0
    while (part := count_parts(codes, bounds, times, letters, state, part)) < n_parts:
        state = grown(state)
    enter_pairs(bounds, times, state, min_frequency)
    table = np.full(1 << (2 * n_merges + 1).bit_length(), NONE, np.int32)
    while (answer := learn(state, table, min_frequency, max_piece_length, _MERGES_A_CALL)) != DONE:
        if answer == GROW:
            state = grown(state)
    text, examples, lengths = state.tokens
    made = range(letters.size, int(state.used[TOKENS]))
    return [text[examples[token] : examples[token] + lengths[token]].tolist() for token in made]


def prepare() -> None:
    """Compile the kernels of this module, or load their machine code."""
    with compilation("sentencepieces", "the kernels that learn sentencepiece's BPE"):
        codes = np.array([1, 2, 1, 2, 1, 2, 2], np.int32)
        starts, counts = np.array([0, 4, 7], np.int64), np.array([2, 1], np.int64)
        kinds = np.array([0, 1, 1], np.int32)
        learn_pieces(codes, starts, counts, kinds, n_merges=3, min_frequency=1, max_piece_length=16)
        move_rows(*(np.full((n_rows, 4), NONE, np.int64) for n_rows in (4, 8)))
