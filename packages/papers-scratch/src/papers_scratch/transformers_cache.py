"""A cache of keys and values for any transformers model, in which each row has its own length.

transformers appends a slot for every position of a call, padding included. So a row's real positions need not be
neighbours here: `valid` says which slots are real, the attention mask leaves out the others, and positions are counted
in real ones. Forgetting is done in `valid` too, and slots that no row needs any more are dropped from the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


class RaggedCache:
    """Keys and values of `batch_size` rows. Fill it only through its model."""

    def __init__(self, batch_size: int, max_length: int, *, device: torch.device) -> None:
        if batch_size < 1 or max_length < 1:
            raise ValueError(f"cache: got {batch_size} rows of {max_length} positions, must be at least 1 of each")
        self.max_length = max_length
        self.slots = DynamicCache()
        self.valid = torch.zeros(batch_size, 0, dtype=torch.bool, device=device)
        """(B, S): True where a slot holds a real position of the row."""
        self.lengths = torch.zeros(batch_size, dtype=torch.int64, device=device)
        """How many real positions each row holds: (B,)."""
        self.full = True
        """Every slot is real in every row, so that no mask is needed."""

    def extend(self, count: int, lengths: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Account for `count` new positions a row, of which `lengths` (B,) are real (all, if None), before the model
        computes them: the mask (B, S) to attend with, None if nothing is masked, and their positions (B, count)."""
        places = torch.arange(count, device=self.lengths.device)  # (count,)
        positions = self.lengths[:, None] + places  # (B, count)
        if lengths is None:
            added = torch.ones(len(self.lengths), count, dtype=torch.bool, device=self.lengths.device)
        else:
            added = places < lengths[:, None]  # (B, count)
            self.full = self.full and bool(added.all())
        self.valid = torch.cat((self.valid, added), 1)  # (B, S)
        self.lengths = self.lengths + added.sum(1)
        if int(self.lengths.max()) > self.max_length:
            raise ValueError(
                f"cache: {int(self.lengths.max())} positions, but it was made for {self.max_length} at most"
            )
        return (None if self.full else self.valid), positions

    def select(self, rows: Tensor, /) -> RaggedCache:
        """A new cache of `rows` (N,): dropped, repeated or reordered. Shares no memory with this one."""
        new = RaggedCache(len(rows), self.max_length, device=self.lengths.device)
        layers: list[Any] = self.slots.layers
        for number, layer in enumerate(layers):
            if layer.is_initialized:
                new.slots.update(layer.keys[rows], layer.values[rows], number)  # indexing copies
        new.valid, new.lengths, new.full = self.valid[rows], self.lengths[rows], self.full
        return new

    def truncate(self, lengths: Tensor, /) -> None:
        """Forget what lies beyond `lengths` (B,), in place. A row that is shorter already stays as it is."""
        self.valid = self.valid & (self.valid.cumsum(1) <= lengths.to(self.lengths)[:, None])
        self.lengths = self.valid.sum(1)
        used = self.valid.any(0).nonzero()  # (n, 1)
        last = int(used[-1]) + 1 if len(used) else 0
        surplus = self.valid.shape[1] - last
        if surplus and last:
            self.slots.crop(-surplus)
        elif surplus:
            self.slots = DynamicCache()
        self.valid = self.valid[:, :last]
        self.full = bool(self.valid.all())
