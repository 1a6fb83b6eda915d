"""Where negatives come from: ids in proportion to count**0.75 (Mikolov et al. 2013, section 2.2).

A draw is a binary search of a uniform number in cumulative weights, for a whole batch at once. Only ids that were
counted are in the table, so special tokens and unused ids are never drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from embeddings_scratch.errors import CorpusError


class NoiseTable:
    """Draws ids with probability count**exponent / sum.

    Args:
        counts: (V,), how often each id occurs; ids with count 0 are never drawn.
        exponent: any finite number; 0 draws all counted ids alike, a negative one prefers rare ids.
    """

    def __init__(self, counts: Tensor, exponent: float) -> None:
        self.ids = counts.nonzero().squeeze(1)  # (N,) the counted ids
        if not len(self.ids):
            raise CorpusError("no id was counted, so there is nothing to draw negatives from")
        # Relative to the largest term: no exponent can overflow the sum.
        logs = exponent * counts[self.ids].double().log()  # (N,)
        weights = (logs - logs.max()).exp()
        self.probabilities = torch.zeros(len(counts), dtype=torch.float64)  # (V,)
        self.probabilities[self.ids] = weights / weights.sum()
        self._cumulative = weights.cumsum(0)  # (N,)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Ids of the given shape, int64, on the CPU."""
        points = torch.rand(shape, generator=generator, dtype=torch.float64) * self._cumulative[-1]
        places = torch.searchsorted(self._cumulative, points, right=True)
        return self.ids[places.clamp_(max=len(self.ids) - 1)]  # the clamp: u * total may round up to total
