"""A cache of keys and values for any transformers model, in which each row has its own length.

transformers appends a slot for every position of a call, padding included. So a row's real positions need not be
neighbours here: `valid` says which slots are real, the attention mask leaves out the others, and positions are counted
in real ones. Forgetting is done in `valid` too, and slots that no row needs any more are dropped from the end.

The common case, that every slot is real in every row, is known as a plain int, so that a step of generation needs no
mask and reads nothing back from a tensor.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RaggedCache:
    """Keys and values of `batch_size` rows. Fill it only through its model."""

    def __init__(self, batch_size: int, max_length: int, *, device: torch.device) -> None:
        if batch_size < 1 or max_length < 1:
            raise ValueError(f"cache: got {batch_size} rows of {max_length} positions, must be at least 1 of each")
        self.max_length = max_length
        self.slots = _slots(max_length)
        self._device, self._rows = device, batch_size
        self._same: int | None = 0  # slots there are, if all of them are real in all rows
        self._valid: Tensor | None = None  # and otherwise which are: (B, S)

    @property
    def full(self) -> bool:
        """Every slot is real in every row, so that no mask is needed."""
        return self._same is not None

    @property
    def valid(self) -> Tensor:
        """(B, S): True where a slot holds a real position of the row."""
        if self._valid is not None:
            return self._valid
        return torch.ones(self._rows, self._same or 0, dtype=torch.bool, device=self._device)

    @property
    def lengths(self) -> Tensor:
        """How many real positions each row holds: (B,)."""
        return self.valid.sum(1)

    def extend(self, count: int, lengths: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Account for `count` new positions a row, of which `lengths` (B,) are real (all, if None), before the model
        computes them: the mask (B, S) to attend with, None if nothing is masked, and their positions (B or 1, count).
        """
        places = torch.arange(count, device=self._device)  # (count,)
        if self._same is not None and (lengths is None or bool((lengths >= count).all())):
            start = self._same
            self._check_room(start + count)
            self._same = start + count
            return None, (places + start)[None]
        added = places < (count if lengths is None else lengths[:, None])  # (B or 1, count)
        positions = self.lengths[:, None] + places  # (B, count)
        valid = torch.cat((self.valid, added.expand(self._rows, count)), 1)  # (B, S)
        self._check_room(int(valid.sum(1).max()))
        self._set(valid)
        # Padding behind a long row would be at positions that the model does not have.
        return self._valid, positions.clamp(max=self.max_length - 1)

    def select(self, rows: Tensor, /) -> RaggedCache:
        """A new cache of `rows` (N,): dropped, repeated or reordered. Shares no memory with this one."""
        new = RaggedCache(len(rows), self.max_length, device=self._device)
        layers: list[Any] = self.slots.layers
        for number, layer in enumerate(layers):
            if layer.is_initialized:
                new.slots.update(layer.keys[rows], layer.values[rows], number)  # indexing copies
        new._same = self._same
        new._valid = None if self._valid is None else self._valid[rows]
        return new

    def truncate(self, lengths: Tensor, /) -> None:
        """Forget what lies beyond `lengths` (B,), in place. A row that is shorter already stays as it is."""
        valid = self.valid
        slots = valid.shape[1]
        valid = valid & (valid.cumsum(1) <= lengths.to(self._device)[:, None])
        used = valid.any(0).nonzero()  # (n, 1)
        last = int(used[-1]) + 1 if len(used) else 0
        if last == 0:
            self.slots = _slots(self.max_length)
        elif last < slots:
            self.slots.crop(last - slots)
        self._set(valid[:, :last])

    def _set(self, valid: Tensor) -> None:
        full = bool(valid.all())
        self._same, self._valid = (valid.shape[1], None) if full else (None, valid)

    def _check_room(self, longest: int) -> None:
        if longest > self.max_length:
            raise ValueError(f"cache: {longest} positions, but it was made for {self.max_length} at most")


class Slots(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values, in memory that is set aside once: transformers copies all of them for each token."""

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._capacity = capacity
        self._store: tuple[Tensor, Tensor] | None = None  # (B, H, capacity, D) each, if that is where they are

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append (B, H, T, D) each: all keys and values, (B, H, S, D) each."""
        if torch.is_grad_enabled():  # a gradient needs what was there before
            self._store = None
            appended: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
            return appended
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        keys, values = self._room(key_states, value_states, start, end)
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def _room(self, key_states: Tensor, value_states: Tensor, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Where slots up to `end` fit and those below `start` are. What inference mode made cannot be written outside
        of it, and is copied then."""
        store = self._store
        if store is None or end > self._capacity or store[0].is_inference() != torch.is_inference_mode_enabled():
            self._capacity = max(self._capacity, end)
            (B, H, _, D), E = key_states.shape, value_states.shape[-1]
            store = key_states.new_empty(B, H, self._capacity, D), value_states.new_empty(B, H, self._capacity, E)
            if start and self.keys is not None and self.values is not None:
                store[0][:, :, :start] = self.keys
                store[1][:, :, :start] = self.values
            self._store = store
        return store


def _slots(capacity: int) -> DynamicCache:
    slots = DynamicCache()
    layer: Any = partial(Slots, capacity)
    slots.layer_class_to_replicate = layer
    return slots
