"""Documents to ids: cut into words, look each up, merge those that are new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.blocks import word_ends
from tokenizers_scratch.kernels.compiling import entry, inlined, part
from tokenizers_scratch.kernels.long_words import LONGEST_SCANNED, Workspace
from tokenizers_scratch.kernels.merging import merge_word
from tokenizers_scratch.kernels.ranks import Merges
from tokenizers_scratch.kernels.splitting import border_after
from tokenizers_scratch.kernels.words import (
    IDS,
    LONGEST,
    LONGEST_SHORT,
    ROWS,
    TEXT,
    Ahead,
    WordTable,
    add_long,
    add_short,
    find_long,
    find_short,
    keys_ahead,
)

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ids, Longs

DOCUMENT, PLACE, WRITTEN, NEEDED = 0, 1, 2, 3
"""Places in `progress`: the document, the byte in it, the ids written so far, the length of a word there is no room
for."""

_HALF = np.uint64(32)


@entry
def encode(
    data: Bytes,
    bounds: Longs,
    pattern: int,
    classes: Bytes,
    merges: Merges,
    table: WordTable,
    ahead: Ahead,
    space: Workspace,
    out: Ids,
    ends: Longs,
    progress: Longs,
) -> int:
    """Ids of documents into `out`, and into `ends` where those of each document end.

    `bounds`: (documents, 2), where each starts and stops in `data`. `table`: words with their ids: two ids in row[2],
    or more in `table.ids`; row[3] is how many, and where. `out` needs room for an id a byte, and one more. Returns 0
    if `table` or `space` is too small for the next word; called again with the same `progress`, it goes on.
    """
    rows, ids, used = table.rows, table.ids, table.used
    document, i, n_out = progress[DOCUMENT], progress[PLACE], progress[WRITTEN]
    while document < bounds.shape[0]:
        stop = bounds[document, 1]
        if i < bounds[document, 0]:
            i = bounds[document, 0]
        while i < stop:
            n_ahead = word_ends(data, i, stop, classes, pattern, ahead.ends)
            keys_ahead(data, i, n_ahead, rows, ahead)
            for k in range(n_ahead):
                end, low, high = ahead.ends[k], ahead.low[k], ahead.high[k]
                length = end - i
                if length > LONGEST:
                    if length > LONGEST_SCANNED and 3 * length > space.heap.shape[0]:
                        _stop(progress, document, i, n_out, length)
                        return 0
                    n_out = merge_word(data, i, length, merges, out, n_out, space)
                    i = end
                    continue
                if length <= LONGEST_SHORT:
                    slot = find_short(rows, ahead.slots[k], low, high)
                else:
                    slot = find_long(rows, ahead.slots[k], table.texts, low, data, i, length)
                if rows[slot, 1] != np.uint64(0):
                    n = integer(rows[slot, 3] & np.uint64(0xFFFFFFFF))
                    if n <= 2:
                        out[n_out] = np.uint32(rows[slot, 2] & np.uint64(0xFFFFFFFF))
                        out[n_out + 1] = np.uint32(rows[slot, 2] >> _HALF)
                    else:
                        first = integer(rows[slot, 3] >> _HALF)
                        for j in range(n):
                            out[n_out + j] = ids[first + j]
                    n_out += n
                    i = end
                    continue
                if (
                    2 * used[ROWS] >= rows.shape[0]
                    or used[TEXT] + length > table.texts.shape[0]
                    or used[IDS] + length > ids.shape[0]
                ):
                    _stop(progress, document, i, n_out, length)
                    return 0
                n_out = _add_word(data, i, length, slot, low, high, merges, table, space, out, n_out)
                i = end
        ends[document] = n_out
        document += 1
    _stop(progress, document, i, n_out, 0)
    return 1


@inlined
def _stop(progress: Longs, document: int, i: int, n_out: int, needed: int) -> None:
    progress[DOCUMENT], progress[PLACE], progress[WRITTEN], progress[NEEDED] = document, i, n_out, needed


@part
def _add_word(
    data: Bytes,
    i: int,
    length: int,
    slot: int,
    low: np.uint64,
    high: np.uint64,
    merges: Merges,
    table: WordTable,
    space: Workspace,
    out: Ids,
    n_out: int,
) -> int:
    """Write the ids of a new word to `out` from `n_out` on, keep them in the free row `slot`; return where they end."""
    after = merge_word(data, i, length, merges, out, n_out, space)
    if length <= LONGEST_SHORT:
        add_short(table, slot, low, high)
    else:
        add_long(table, slot, low, data, i, length)
    _keep_ids(table, slot, out, n_out, after - n_out)
    return after


@inlined
def _keep_ids(table: WordTable, slot: int, out: Ids, start: int, n: int) -> None:
    if n <= 2:
        second = np.uint64(out[start + 1]) if n == 2 else np.uint64(0)
        table.rows[slot, 2] = np.uint64(out[start]) | second << _HALF
        table.rows[slot, 3] = np.uint64(n)
    else:
        first = table.used[IDS]
        for k in range(n):
            table.ids[first + k] = out[start + k]
        table.rows[slot, 3] = np.uint64(n) | np.uint64(first) << _HALF
        table.used[IDS] += n


@entry
def find_border(data: Bytes, i: int, stop: int, classes: Bytes, pattern: int) -> int:
    """`border_after`, for Python."""
    return border_after(data, i, stop, classes, pattern)
