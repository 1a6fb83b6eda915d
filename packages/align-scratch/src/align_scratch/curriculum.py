"""The order in which examples are seen: by length, as given, or at random.

Short examples first is the oldest curriculum (Bengio et al. 2009): the end mark comes early and errors are near their
cause. Every order shows each example once an epoch and is a pure function of the lengths, the seed and the step, so a
resumed run needs nothing but its step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from align_scratch.schedule import Shuffled, derived_seed

ORDERS = ("random", "short_first", "long_first", "as_given")


class ByLength:
    """Batches of `size` row numbers, each epoch from short to long (or long to short); equal lengths in random order.

    Endless, like `Shuffled`, and indexed by batch in the same way.
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int, *, long_first: bool = False) -> None:
        self.lengths, self.size, self.seed = lengths, size, seed
        self.sign = -1 if long_first else 1
        self._order = lru_cache(maxsize=2)(self._new_order)

    def _new_order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, f"epoch {epoch}"))
        shuffled: list[int] = torch.randperm(len(self.lengths), generator=generator).tolist()
        return sorted(shuffled, key=lambda row: self.sign * self.lengths[row])  # stable: ties stay shuffled

    def __getitem__(self, batch: int) -> list[int]:
        n = len(self.lengths)
        places = range(batch * self.size, (batch + 1) * self.size)
        return [self._order(place // n)[place % n] for place in places]


class AsGiven:
    """Batches of `size` row numbers in the order of the data, over and over."""

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, size

    def __getitem__(self, batch: int) -> list[int]:
        return [place % self.n for place in range(batch * self.size, (batch + 1) * self.size)]


def batches(order: str, lengths: Sequence[int], size: int, seed: int) -> Shuffled | ByLength | AsGiven:
    """Batch 0, 1, ... of row numbers in one of ORDERS; `lengths` has one for each row."""
    if order == "random":
        return Shuffled(len(lengths), size, seed)
    if order in ("short_first", "long_first"):
        return ByLength(lengths, size, seed, long_first=order == "long_first")
    if order == "as_given":
        return AsGiven(len(lengths), size)
    raise ValueError(f"order: got {order!r}, must be one of {', '.join(ORDERS)}")
