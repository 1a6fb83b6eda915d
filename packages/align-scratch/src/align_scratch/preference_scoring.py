"""Log-probabilities of whole completions, with what else preference learning reports of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from align_scratch.protocols import Model, Sampler
from align_scratch.scoring import sequence_log_probs
from inference_scratch.score import Sequences

_ROWS = 256  # read at a time where no gradient is wanted: bounds memory, not the result


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """Of N completions."""

    log_probs: Tensor
    """(N,): log pi of the completion, summed over its tokens; differentiable."""
    logits: Tensor
    """(N,): logits, mean over the vocabulary, summed over the completion's tokens; without gradient."""


def score_rows(model: Model, rows: Sequences, sampler: Sampler | None) -> RowScores:
    """Of each row's completion, under the sampler's distribution or, without one, the model's own. One pass."""
    watch = _Watch(sampler)
    log_probs = sequence_log_probs(model, rows, watch).sum(1)  # (N,)
    watch.closed = True
    lengths = rows.completion_lengths
    row = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)  # (M,)
    return RowScores(
        log_probs=log_probs,
        logits=torch.zeros_like(log_probs).detach().index_add(0, row, torch.cat(watch.seen)),
    )


@torch.no_grad()
def log_probs_of(model: Model, rows: Sequences, sampler: Sampler | None) -> Tensor:
    """Summed log-probability (N,) of each row's completion, a bounded number of rows at a time."""
    parts = _parts(len(rows.ids), rows.ids.device)
    return torch.cat([sequence_log_probs(model, rows.select(part), sampler).sum(1) for part in parts])


def _parts(n: int, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, n, _ROWS):
        yield torch.arange(start, min(start + _ROWS, n), device=device)


class _Watch:
    """A sampler's distribution, or the model's own, that notes the mean logit at each token it is asked about."""

    def __init__(self, sampler: Sampler | None) -> None:
        self.sampler = sampler
        self.seen: list[Tensor] = []
        self.closed = False
        """The backward pass may ask again, for what has been noted already."""

    def log_probs(self, logits: Tensor, /) -> Tensor:
        if not self.closed:
            self.seen.append(logits.detach().float().mean(-1))  # (C,)
        if self.sampler is None:
            return logits.float().log_softmax(-1)
        return self.sampler.log_probs(logits)
