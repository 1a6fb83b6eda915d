"""How often each word occurs: documents to a table whose row[2] is a count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.blocks import word_ends
from tokenizers_scratch.kernels.compiling import entry, inlined
from tokenizers_scratch.kernels.words import (
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
    from tokenizers_scratch.kernels.arrays import Bytes, Longs

LONGEST_COUNTED = 2**16 - 1
"""The length of a longer word does not fit into its row."""

DOCUMENT, PLACE, NEEDED = 0, 1, 2
"""Places in `progress`: the document, the byte in it, the length of a word that is too long or for which there is no
room."""


@entry
def count(
    data: Bytes,
    bounds: Longs,
    times: Longs,
    pattern: int,
    classes: Bytes,
    table: WordTable,
    ahead: Ahead,
    progress: Longs,
) -> int:
    """Add the words of documents to `table`.

    `bounds`: (documents, 2), where each starts and stops in `data`. `times`: (documents,), how often each occurs.
    Returns 0 at a word that is too long, or for which the table needs to grow; called again with the same
    `progress`, it goes on.
    """
    rows, used = table.rows, table.used
    document, i = progress[DOCUMENT], progress[PLACE]
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
                if length <= LONGEST_SHORT:
                    slot = find_short(rows, ahead.slots[k], low, high)
                elif length <= LONGEST_COUNTED:
                    slot = find_long(rows, ahead.slots[k], table.texts, low, data, i, length)
                else:
                    _stop(progress, document, i, length)
                    return 0
                if rows[slot, 1] == np.uint64(0):
                    if 2 * used[ROWS] >= rows.shape[0] or used[TEXT] + length > table.texts.shape[0]:
                        _stop(progress, document, i, length)
                        return 0
                    if length <= LONGEST_SHORT:
                        add_short(table, slot, low, high)
                    else:
                        add_long(table, slot, low, data, i, length)
                rows[slot, 2] += np.uint64(times[document])
                i = end
        document += 1
    _stop(progress, document, i, 0)
    return 1


@inlined
def _stop(progress: Longs, document: int, i: int, needed: int) -> None:
    progress[DOCUMENT], progress[PLACE], progress[NEEDED] = document, i, needed


@entry
def list_words(table: WordTable, data: Bytes, bounds: Longs, times: Longs) -> None:
    """Write the words of a table one behind the other, as documents that `count` and `learn` take.

    `data` has room for the bytes of all words, `bounds` (words, 2) and `times` (words,) for their places and counts.
    """
    rows, texts = table.rows, table.texts
    word, i = 0, 0
    for slot in range(rows.shape[0]):
        key = rows[slot, 1]
        if key == np.uint64(0):
            continue
        bounds[word, 0] = i
        top = integer(key >> np.uint64(56))
        if top <= LONGEST_SHORT:
            for n in range(top):
                source = rows[slot, 0] if n < 8 else key
                data[i + n] = np.uint8((source >> np.uint64(8 * (n & 7))) & np.uint64(0xFF))
            i += top
        else:
            length = integer(key >> np.uint64(40)) & 0xFFFF
            place = integer(key & np.uint64(2**40 - 1))
            for n in range(length):
                data[i + n] = texts[place + n]
            i += length
        bounds[word, 1] = i
        times[word] = integer(rows[slot, 2])
        word += 1


@entry
def bytes_of_words(table: WordTable) -> int:
    """How many bytes all words of a table have together."""
    total: int = table.used[TEXT]
    for slot in range(table.rows.shape[0]):
        top = integer(table.rows[slot, 1] >> np.uint64(56))
        if top <= LONGEST_SHORT:
            total += top
    return total
