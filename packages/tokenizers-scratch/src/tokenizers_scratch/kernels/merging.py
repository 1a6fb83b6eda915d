"""Apply merges to one word: while an adjacent pair is a merge, do the earliest learned one, leftmost first.

The same as `bpe_merge.merge_word`. Words of up to 256 bytes look for the earliest merge by scanning all pairs, which
needs no order to be kept and runs over 16 pairs at once; `long_words.py` has the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.compiling import inlined, part
from tokenizers_scratch.kernels.long_words import LONGEST_SCANNED, Workspace, merge_long_word
from tokenizers_scratch.kernels.machine import VECTOR, smallest
from tokenizers_scratch.kernels.ranks import NO_RANK, Merges, rank_of

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ids

_NEVER = np.int32(2**31 - 1)


@inlined
def merge_word(data: Bytes, i: int, length: int, merges: Merges, out: Ids, n_out: int, space: Workspace) -> int:
    """Write the ids of a word to `out` from `n_out` on, and return where they end."""
    if length == 1:
        out[n_out] = merges.byte_ids[data[i]]
        return n_out + 1
    if length <= LONGEST_SCANNED:
        return _merge_scanning(data, i, length, merges, out, n_out, space)
    return merge_long_word(data, i, length, merges, out, n_out, space)


@part
def _merge_scanning(data: Bytes, i: int, n: int, merges: Merges, out: Ids, n_out: int, space: Workspace) -> int:
    links = space.links
    symbols, after, before, keys = links[:256], links[256:512], links[512:768], links[768:1024]
    byte_ids, byte_ranks, products = merges.byte_ids, merges.byte_ranks, merges.products
    for k in range(n):
        symbols[k] = byte_ids[data[i + k]]
        after[k] = k + 1
        before[k] = k - 1
    for k in range(n - 1):  # rank, then place
        keys[k] = byte_ranks[integer(data[i + k]) << 8 | integer(data[i + k + 1])] << 8 | k
    n_keys = (n + VECTOR - 1) & -VECTOR
    for k in range(n - 1, n_keys):
        keys[k] = _NEVER
    while True:
        best = smallest(keys, 0)
        for k in range(VECTOR, n_keys, VECTOR):
            best = min(best, smallest(keys, k))
        rank = integer(best) >> 8
        if rank >= NO_RANK:
            break
        place = integer(best) & 0xFF
        second = integer(after[place])
        third = integer(after[second])
        symbols[place] = products[rank]
        keys[second] = _NEVER
        after[place] = third
        keys[place] = _NEVER
        if third < n:
            before[third] = place
            keys[place] = rank_of(merges, symbols[place], symbols[third]) << 8 | place
        previous = integer(before[place])
        if previous >= 0:
            keys[previous] = rank_of(merges, symbols[previous], symbols[place]) << 8 | previous
    k = 0
    while k < n:
        out[n_out] = symbols[k]
        n_out += 1
        k = integer(after[k])
    return n_out
