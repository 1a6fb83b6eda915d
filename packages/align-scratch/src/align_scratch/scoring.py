"""What a model says at the places of completion tokens: whole distributions, and the tokens' log-probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from align_scratch.protocols import Model, Sampler
from inference_scratch.score import Sequences, completion_log_probs


def completion_logits(model: Model, rows: Sequences) -> tuple[Tensor, Tensor]:
    """Logits (M, V) at every real completion token of `rows`, and the tokens' ids (M,); differentiable.

    The head, the widest matrix of a small model, runs at those M places only.
    """
    features, ids = completion_features(model, rows)
    return model.head(features), ids


def completion_features(model: Model, rows: Sequences) -> tuple[Tensor, Tensor]:
    """What the head reads at every real completion token of `rows` (M, D), and the tokens' ids (M,); differentiable."""
    read = rows.ids[:, :-1]  # (B, T-1): the last id is predicted, never read
    end = rows.prompt_lengths + rows.completion_lengths  # (B,)
    features = model.features(read, lengths=end - 1)  # (B, T-1, D)
    predicts = torch.arange(1, rows.ids.shape[1], device=read.device)  # (T-1,): the place that each position predicts
    real = (predicts >= rows.prompt_lengths[:, None]) & (predicts < end[:, None])  # (B, T-1)
    places = real.flatten().nonzero()[:, 0]  # (M,)
    return features.flatten(0, 1).index_select(0, places), rows.ids[:, 1:].flatten()[places]


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats of log-probabilities (..., V): sum_v p_v log(p_v / q_v), never negative: (...).

    Over the whole vocabulary, and so without the noise of an estimate from the chosen token: k3 misses what a sharpened
    policy no longer samples, and leaps when it samples something rare.
    """
    return (p.exp() * (p - q)).sum(-1)


def sequence_log_probs(model: Model, rows: Sequences, sampler: Sampler | None) -> Tensor:
    """log pi(o_t | q, o_<t) (M, T_new) of every completion token under the sampler's distribution, 0 at padding.

    Without a sampler: under the model's own. Differentiable. The full vocabulary is held for a chunk of positions at a
    time: at most 64 MB of fp32 logits, or 256 tokens if that is more.
    """
    return completion_log_probs(model, rows, sampler=sampler, chunk_tokens=chunk_tokens(model))[0]


def sequence_entropies(model: Model, rows: Sequences, sampler: Sampler | None) -> tuple[Tensor, Tensor]:
    """`sequence_log_probs`, and the entropy in nats of each of those distributions: two (M, T_new), 0 at padding."""
    log_probs, entropies = completion_log_probs(
        model, rows, sampler=sampler, with_entropy=True, chunk_tokens=chunk_tokens(model)
    )
    if entropies is None:
        raise RuntimeError("entropies were asked for and did not come")
    return log_probs, entropies


def chunk_tokens(model: Model) -> int:
    """Positions whose distributions over the whole vocabulary are held at a time: 64 MB in fp32, or 256 of them."""
    return max(256, 2**24 // model.vocab_size)
