"""Texts as the kernels take them: bytes one behind the other, and where each text starts and stops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np

from tokenizers_scratch.kernels.classes import class_table
from tokenizers_scratch.kernels.encoding import find_border
from tokenizers_scratch.kernels.machine import PADDING
from tokenizers_scratch.utf8 import text_to_bytes

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Longs

_WINDOW = 2**16


def join(texts: Sequence[str]) -> tuple[Bytes, Longs]:
    """The bytes of the texts, with a zero byte behind each and PADDING of them at the end, and (texts, 2) bounds."""
    return _joined([_encoded(text) for text in texts])


def join_bytes(texts: Sequence[bytes]) -> tuple[Bytes, Longs]:
    """The same of texts in bytes."""
    return _joined([(text,) for text in texts])


def _encoded(text: str) -> Sequence[bytes]:
    """`text_to_bytes`, in windows: Python takes room for the worst case, which costs more than to encode."""
    if len(text) <= _WINDOW or text.isascii():
        return (text_to_bytes(text),)
    return [text_to_bytes(text[start : start + _WINDOW]) for start in range(0, len(text), _WINDOW)]


def _joined(texts: Sequence[Sequence[bytes]]) -> tuple[Bytes, Longs]:
    lengths = np.fromiter((sum(map(len, parts)) for parts in texts), np.int64, len(texts))
    starts = np.zeros(len(texts), np.int64)
    np.cumsum(lengths[:-1] + 1, out=starts[1:])
    zero = (b"\0",)
    data = b"".join(chain(chain.from_iterable(chain(parts, zero) for parts in texts), zero * PADDING))
    return np.frombuffer(data, np.uint8), np.stack((starts, starts + lengths), axis=1)


def read_only(data: Bytes) -> Bytes:
    """The same array, not to be written to."""
    data.flags.writeable = False
    return data


def pieces(data: Bytes, bounds: Longs, pattern: int, size: int) -> tuple[Longs, Longs]:
    """The bounds with long texts cut at borders of words, about every `size` bytes; and the last piece of each text."""
    if len(bounds) == 0 or (bounds[:, 1] - bounds[:, 0]).max() <= size:
        return bounds, np.arange(len(bounds))
    classes = class_table()
    cut: list[tuple[int, int]] = []
    last = np.empty(len(bounds), np.int64)
    for i, (start, stop) in enumerate(bounds.tolist()):
        while stop - start > size:
            border = find_border(data, start + size, stop, classes, pattern)
            cut.append((start, border))
            start = border
        cut.append((start, stop))
        last[i] = len(cut) - 1
    return np.array(cut, np.int64), last


def groups(bounds: Longs, size: int) -> list[slice]:
    """Slices of neighbouring texts with about `size` bytes together."""
    number = np.cumsum(bounds[:, 1] - bounds[:, 0]) // size
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(bounds)]
    return [slice(first, second) for first, second in pairwise(edges)]
