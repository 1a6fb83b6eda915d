"""The losses of supervised fine-tuning: a term for each learned token, and how much each row's tokens count.

Like every loss here they are  sum_i w_i sum_t m_it L_it  with weights known before the step is split.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from align_scratch.labels import TokenBatch
from align_scratch.protocols import Model
from align_scratch.scoring import chunk_tokens
from inference_scratch.score import entropy


def row_weights(loss_type: str, counts: Tensor, *, normalize_constant: float = 1.0) -> Tensor:
    """How much each token of a row counts: (B,) fp32 for the learned tokens `counts` (B,) of *all* rows of a step.

    nll, dft: 1 / sum of counts: every token alike, so long answers weigh more than short ones.
    sequence: 1 / (B counts_i): the mean over rows of their means, every answer alike.
    sum: 1 / (B constant): long answers weigh more, by a measure that other rows do not change.
    A row without a learned token has weight but no token to use it on.
    """
    counts = counts.to(torch.float32)
    if loss_type in ("nll", "dft"):
        return (1 / counts.sum().clamp(min=1)).expand_as(counts)
    if loss_type == "sequence":
        return 1 / (len(counts) * counts.clamp(min=1))
    if loss_type == "sum":
        return torch.full_like(counts, 1 / (len(counts) * normalize_constant))
    raise ValueError(f"loss_type: got {loss_type!r}, must be nll, sequence, sum or dft")


def token_terms(logits: Tensor, targets: Tensor, *, loss_type: str = "nll", label_smoothing: float = 0.0) -> Tensor:
    """What each target (M,) costs under logits (M, V), in nats: (M,), differentiable.

    -log p(target); with label smoothing e, (1 - e) of that and e of the mean over the vocabulary (Szegedy et al. 2016,
    sec. 7). dft multiplies by p(target) without its gradient (Wu et al. 2025, "On the generalization of SFT", eq. 9):
    a token that the model finds impossible then teaches little.
    """
    return _terms(logits.float().log_softmax(-1), targets, loss_type, label_smoothing)


def _terms(log_probs: Tensor, targets: Tensor, loss_type: str, label_smoothing: float) -> Tensor:
    nll = torch.nn.functional.nll_loss(log_probs, targets, reduction="none")  # (M,)
    if label_smoothing:
        nll = (1 - label_smoothing) * nll - label_smoothing * log_probs.mean(-1)
    return nll * nll.detach().neg().exp() if loss_type == "dft" else nll


def labelled_loss(
    model: Model,
    batch: TokenBatch,
    weights: Tensor,
    *,
    loss_type: str = "nll",
    label_smoothing: float = 0.0,
    segments: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, int, Tensor]:
    """The weighted loss of a micro-batch; how many targets the model ranks first; the sum of its entropies in nats.

    weights: (N, T), of each position. segments: (N, T), for models that keep the examples of a row apart. The head
    runs where something is learned, on `chunk` positions at a time (None: `scoring.chunk_tokens` of them); with more
    than one chunk its work is repeated in the backward pass, not kept.
    """
    extra = {} if segments is None else {"segments": segments}
    features = model.features(batch.ids, lengths=batch.lengths, **extra)  # (N, T, D)
    places = batch.mask.flatten().nonzero()[:, 0]  # (M,)
    features = features.flatten(0, 1).index_select(0, places)  # (M, D)
    targets = batch.targets.flatten()[places]  # (M,)
    weights = weights.flatten()[places]  # (M,)

    def of_chunk(features: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_probs = model.head(features).float().log_softmax(-1)  # (C, V)
        terms = _terms(log_probs, targets, loss_type, label_smoothing)  # (C,)
        with torch.no_grad():
            hits, spread = (log_probs.argmax(-1) == targets).sum(), entropy(log_probs).sum()
        return (terms * weights).sum(), hits, spread

    chunk = chunk or chunk_tokens(model)
    if len(targets) <= chunk:
        loss, hits, spread = of_chunk(features, targets, weights)
        return loss, int(hits), spread
    pieces = zip(*(torch.split(tensor, chunk) for tensor in (features, targets, weights)), strict=True)
    parts = [checkpoint(of_chunk, *piece, use_reentrant=False) for piece in pieces]
    losses, all_hits, spreads = zip(*parts, strict=True)
    return torch.stack(losses).sum(), int(sum(all_hits)), torch.stack(spreads).sum()
