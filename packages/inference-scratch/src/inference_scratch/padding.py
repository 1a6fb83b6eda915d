"""Rows of unequal length as one tensor, padded on the right."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor


def pad_right(rows: Sequence[Sequence[int]]) -> tuple[Tensor, list[int]]:
    """Rows of ids -> ids (B, T), int64, filled up with 0 where a row is shorter, and the length of each row.

    Raises TypeError or OverflowError for what is no id.
    """
    lengths = [len(row) for row in rows]
    shape = len(lengths), max(lengths, default=0)
    numbers = array("q", chain.from_iterable(rows))  # several times as fast as torch.tensor of a list of lists
    flat = torch.frombuffer(numbers, dtype=torch.int64) if numbers else torch.zeros(0, dtype=torch.int64)
    if len(flat) < shape[0] * shape[1]:
        real = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]  # (B, T)
        flat = torch.zeros(shape, dtype=torch.int64).masked_scatter_(real, flat)
    return flat.view(shape).clone(), lengths
