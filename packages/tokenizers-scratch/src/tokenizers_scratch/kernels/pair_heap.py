"""A heap of pairs with their counts: the next one to merge is first.

Each entry has four children, whose counts and keys share a cache line, so a heap of a million is ten lines deep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tokenizers_scratch.kernels.arrays import integer
from tokenizers_scratch.kernels.compiling import inlined, part

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ints, Longs

COUNT, KEY = 0, 1
"""Columns of a heap."""

ID = 2**31 - 1
"""What of a key is the right id."""


BY_IDS, BY_BYTES, BY_PIECE = 0, 1, 2
"""Which of equally frequent pairs is first: that with the smaller ids, that with the greater left bytes, then right
bytes, or that which makes the shorter piece, then the smaller one, then has the shorter left part."""


class Tokens(NamedTuple):
    """The letters of the tokens, by places in a text where they occur."""

    text: Bytes | Ints
    examples: Ints  # (tokens,) a place
    lengths: Ints  # (tokens,)


@part
def push_pair(heap: Longs, n: int, count: int, key: int, tokens: Tokens, by_text: int) -> None:
    """Add a pair to `n` others. `key`: left id << 31 | right id. `by_text`: the tie rule."""
    while n > 0:
        parent = (n - 1) >> 2
        if not _is_first(count, key, heap[parent, COUNT], heap[parent, KEY], tokens, by_text):
            break
        heap[n, COUNT], heap[n, KEY] = heap[parent, COUNT], heap[parent, KEY]
        n = parent
    heap[n, COUNT], heap[n, KEY] = count, key


@part
def pop_pair(heap: Longs, n: int, tokens: Tokens, by_text: int) -> None:
    """Remove the first of `n` pairs."""
    n -= 1
    count, key = heap[n, COUNT], heap[n, KEY]
    k = 0
    while 4 * k + 1 < n:
        child = 4 * k + 1
        for other in range(child + 1, min(child + 4, n)):
            if _is_first(heap[other, COUNT], heap[other, KEY], heap[child, COUNT], heap[child, KEY], tokens, by_text):
                child = other
        if not _is_first(heap[child, COUNT], heap[child, KEY], count, key, tokens, by_text):
            break
        heap[k, COUNT], heap[k, KEY] = heap[child, COUNT], heap[child, KEY]
        k = child
    heap[k, COUNT], heap[k, KEY] = count, key


@inlined
def _is_first(count: int, key: int, other_count: int, other_key: int, tokens: Tokens, by_text: int) -> bool:
    """Whether a pair is merged before another: it is more frequent, or as frequent and the tie rule says so."""
    if count != other_count:
        return count > other_count
    if by_text == BY_IDS:
        return key < other_key
    if by_text == BY_BYTES:
        return _is_greater_text(key, other_key, tokens)
    return _is_smaller_piece(key, other_key, tokens)


@part
def _is_greater_text(key: int, other: int, tokens: Tokens) -> bool:
    order = _compare_text(key >> 31, other >> 31, tokens)
    if order == 0:
        order = _compare_text(key & ID, other & ID, tokens)
    return order > 0


@part
def _is_smaller_piece(key: int, other: int, tokens: Tokens) -> bool:
    left, right = key >> 31, key & ID
    other_left, other_right = other >> 31, other & ID
    split, other_split = integer(tokens.lengths[left]), integer(tokens.lengths[other_left])
    length, other_length = split + tokens.lengths[right], other_split + tokens.lengths[other_right]
    if length != other_length:
        return length < other_length  # type: ignore[no-any-return]
    first, other_first = integer(tokens.examples[left]), integer(tokens.examples[other_left])
    for i in range(length):
        if i == split:
            first = integer(tokens.examples[right]) - split
        if i == other_split:
            other_first = integer(tokens.examples[other_right]) - other_split
        if tokens.text[first + i] != tokens.text[other_first + i]:
            return tokens.text[first + i] < tokens.text[other_first + i]  # type: ignore[no-any-return]
    return split < other_split


@part
def _compare_text(token: int, other: int, tokens: Tokens) -> int:
    """Above 0 if the bytes of a token are greater than those of another, 0 if they are equal."""
    if token == other:
        return 0
    first, second = integer(tokens.examples[token]), integer(tokens.examples[other])
    length, other_length = integer(tokens.lengths[token]), integer(tokens.lengths[other])
    for i in range(min(length, other_length)):
        difference = integer(tokens.text[first + i]) - integer(tokens.text[second + i])
        if difference != 0:
            return difference
    return length - other_length
