"""Less padding in a step, with the loss and the gradient of the step without: two ways to pack rows.

Buckets: the rows of a step are sorted by length and cut into micro-batches of rows that are about equally long. Exact
with every model, because the loss is a sum with weights known before the cut.

Shared rows: several examples stand in one row, placed by best fit decreasing. That is exact only if a model keeps the
examples of a row apart: attends within a segment and counts positions from its start. Nothing in an ordinary causal
mask does, so this is for models whose `features` takes `segments` (B, T); others are refused.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from align_scratch.labels import TokenBatch, TokenRow

WASTE = 1 / 8
"""Share of a bucket's positions that may be padding."""


def buckets(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Runs of row numbers, longest rows first, of at most `most` rows and at most WASTE padding each."""
    bucket: list[int] = []
    real = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if bucket:
            positions = lengths[bucket[0]] * (len(bucket) + 1)
            if len(bucket) == most or real + lengths[row] < (1 - WASTE) * positions:
                yield bucket
                bucket, real = [], 0
        bucket.append(row)
        real += lengths[row]
    if bucket:
        yield bucket


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of `capacity` positions that hold all items: the row numbers in each, by O(n log n) comparisons.

    Longest first, each into the fullest row that still has room (Johnson 1973: at most 11/9 of the fewest rows, plus
    one). Raises ValueError for an item longer than a row.
    """
    packed: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (positions left, row), sorted
    for item in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        length = lengths[item]
        if length > capacity:
            raise ValueError(f"item {item}: has length {length}, must be at most the capacity, {capacity}")
        place = bisect_left(room, (length, -1))
        if place == len(room):
            packed.append([item])
            insort(room, (capacity - length, len(packed) - 1))
        else:
            left, row = room.pop(place)
            packed[row].append(item)
            insort(room, (left - length, row))
    return packed


def keeps_segments_apart(model: Any) -> bool:
    """Whether the model's `features` takes `segments`, and so promises not to look across their borders."""
    return "segments" in inspect.signature(model.features).parameters


def share_rows(rows: Sequence[TokenRow], packed: Sequence[Sequence[int]]) -> tuple[list[TokenRow], Tensor]:
    """The rows of each group joined into one, and which of `rows` each position comes from: (B, T) int64, -1 if none.

    These numbers are the `segments`. What a position reads and predicts is as it was: no target lies in another row.
    """
    joined: list[TokenRow] = []
    segments: list[list[int]] = []
    for group in packed:
        reads: list[int] = []
        predicts: list[int] = []
        spans: list[tuple[int, int]] = []
        belongs: list[int] = []
        for item in group:
            start = len(reads)
            spans += [(start + a, start + b) for a, b in rows[item].spans]
            reads += rows[item].reads
            predicts += rows[item].predicts
            belongs += [item] * len(rows[item].reads)
        joined.append(TokenRow(reads, predicts, tuple(spans)))
        segments.append(belongs)
    width = max(map(len, segments))
    return joined, torch.tensor([[*belongs, *[-1] * (width - len(belongs))] for belongs in segments])


def padding_share(parts: Sequence[TokenBatch]) -> float:
    """Share of the positions that are read in vain."""
    real = sum(int(part.lengths.sum()) for part in parts)
    return 1 - real / sum(part.ids.numel() for part in parts)
