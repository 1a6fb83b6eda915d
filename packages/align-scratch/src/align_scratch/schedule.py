"""What changes with the step number alone: the learning rate, and which examples a batch holds.

Both are pure functions of the step and the seed, so a resumed run needs nothing but its step to go on as it was.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import torch


def learning_rate(step: int, *, steps: int, lr: float, warmup_steps: int, min_lr_ratio: float) -> float:
    """Of step 1, 2, ..., `steps`: up linearly over `warmup_steps`, then down linearly to `min_lr_ratio * lr`."""
    if step < warmup_steps:
        return lr * step / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return lr * (1 - (1 - min_lr_ratio) * min(max(done, 0.0), 1.0))


def derived_seed(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, so that one stream of random numbers never repeats another."""
    return int.from_bytes(blake2b(f"{seed} {purpose}".encode(), digest_size=8).digest(), "big") >> 1


class Shuffled:
    """Batches of `size` row numbers below `n`: endless epochs with each row once, each epoch in an order of its own."""

    def __init__(self, n: int, size: int, seed: int) -> None:
        self.n, self.size, self.seed = n, size, seed
        self._order = lru_cache(maxsize=2)(self._new_order)

    def _new_order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, f"epoch {epoch}"))
        return torch.randperm(self.n, generator=generator).tolist()

    def __getitem__(self, batch: int) -> list[int]:
        """The rows of batch 0, 1, ...; a batch larger than an epoch holds rows more than once."""
        places = range(batch * self.size, (batch + 1) * self.size)
        return [self._order(place // self.n)[place % self.n] for place in places]
