"""Which windows of a token stream a step learns from: a pure function of seed and position.

The stream is a ring of N tokens, cut into n = N // T windows of T tokens and their successors. Each epoch visits every
window once, in an order and from an offset of its own, both drawn from (seed, epoch): with fixed windows the loss would
repeat its waves every epoch, and the same tokens would always be the ones without context.

Windows are numbered through all epochs, so that a position in training is one integer, and a step's windows follow from
its number alone. Nothing has to be saved to resume exactly. A window may run over the end of the ring into its
beginning, which is a border between two documents like any other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gpt_scratch.errors import CorpusError


def epoch_starts(num_tokens: int, context: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Where the windows of one epoch begin, in the order of visit: (n,)."""
    rng = np.random.default_rng([seed % 2**64, epoch])
    offset = rng.integers(num_tokens)
    order = rng.permutation(num_tokens // context)
    return (offset + context * order) % num_tokens


class Windows:
    """Windows of `context` tokens over `stream` (N,), int64. Holds the order of one epoch, and no other state."""

    def __init__(self, stream: Tensor, context: int, *, seed: int) -> None:
        if len(stream) < context + 1:
            raise CorpusError(
                f"the training text has {len(stream)} tokens, but one window needs {context + 1} "
                f"(context {context} and the token after it): use more text or a smaller context"
            )
        self.stream = stream
        self.context = context
        self.seed = seed
        self.num_windows = len(stream) // context
        self._epoch = -1
        self._starts = np.empty(0, dtype=np.int64)

    def starts(self, first: int, count: int) -> list[int]:
        """Where windows number `first` to `first + count - 1` begin in the stream."""
        return [self._start(number) for number in range(first, first + count)]

    def batch(self, starts: list[int]) -> tuple[Tensor, Tensor]:
        """Inputs and targets (B, T): each target is the token after its input."""
        offsets = torch.arange(self.context + 1)
        window = self.stream[(torch.tensor(starts).unsqueeze(1) + offsets) % len(self.stream)]  # (B, T + 1)
        return window[:, :-1], window[:, 1:]

    def _start(self, number: int) -> int:
        epoch, index = divmod(number, self.num_windows)
        if epoch != self._epoch:
            self._starts = epoch_starts(len(self.stream), self.context, seed=self.seed, epoch=epoch)
            self._epoch = epoch
        return int(self._starts[index])
