"""What a model says at the places of completion tokens: whole distributions, and the tokens' log-probabilities."""

from __future__ import annotations

from torch import Tensor

from align_scratch.protocols import Model, Sampler
from inference_scratch.score import Sequences, completion_features, completion_log_probs


def completion_logits(model: Model, rows: Sequences) -> tuple[Tensor, Tensor]:
    """Logits (M, V) at every real completion token of `rows`, and the tokens' ids (M,); differentiable.

    The head, the widest matrix of a small model, runs at those M places only.
    """
    features, ids = completion_features(model, rows)
    return model.head(features), ids


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
