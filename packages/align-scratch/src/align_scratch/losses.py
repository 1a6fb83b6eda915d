"""Losses of policy optimization as pure functions of tensors.

Every loss here has the form  sum_i w_i sum_t m_it L_it  over rows i and positions t: a token term L, a mask m, and row
weights w that are known before the batch is split. So no split into micro-batches, order of rows or width of padding
changes a gradient. A member of the family is a choice of token term and of row weights.
"""

from __future__ import annotations

import torch
from torch import Tensor


def row_weights(loss_type: str, lengths: Tensor) -> Tensor:
    """How much each token of a row counts: (B,) for the `lengths` (B,) of *all* rows of an optimizer update.

    dapo: 1 / sum of lengths, every token alike (Yu et al. 2025, DAPO, eq. 8).
    grpo: 1 / (B |o_i|), the mean over sequences of their means (Shao et al. 2024, DeepSeekMath, eq. 3).
    A row of length 0 has weight but no token to use it on.
    """
    lengths = lengths.to(torch.get_default_dtype())
    if loss_type == "dapo":
        return (1 / lengths.sum().clamp(min=1)).expand_as(lengths)
    if loss_type == "grpo":
        return 1 / (len(lengths) * lengths.clamp(min=1))
    raise ValueError(f"loss_type: got {loss_type!r}, must be dapo or grpo")


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Token term  -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A),  rho = exp(log_ratio).

    Log-ratios (B, T) of the policy to the one that sampled, advantages (B,). PPO's clip (Schulman et al. 2017, eq. 7)
    with the upper bound of its own that DAPO calls clip-higher (eq. 10).
    """
    _check_rows(log_ratio, advantages=advantages)
    advantage = advantages[:, None]  # (B, 1)
    # Without an advantage there is nothing to weigh, and exp of a far ratio times 0 would be NaN.
    ratio = log_ratio.masked_fill(advantage == 0, 0).exp()  # (B, T)
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)


def clipped(log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """Where the clip takes the gradient away, below and above: two (B, T) bool.

    Only the side that bites counts: a ratio below the lower bound does so where the advantage is negative.
    """
    _check_rows(log_ratio, advantages=advantages)
    ratio, advantage = log_ratio.exp(), advantages[:, None]  # (B, T), (B, 1)
    return (ratio < 1 - clip_low) & (advantage < 0), (ratio > 1 + clip_high) & (advantage > 0)


def kl_penalty(log_probs: Tensor, reference: Tensor, estimator: str = "k3") -> Tensor:
    """A token's estimate of KL(policy || reference) from samples of the policy (Schulman 2020): same shape as given.

    With u = log policy - log reference: k1 = u, unbiased, may be negative, and as a loss without gradient on-policy;
    k2 = u^2 / 2, whose gradient is that of the reverse KL; k3 = exp(-u) - 1 + u, unbiased and never negative
    (DeepSeekMath, eq. 4), whose gradient is that of the forward KL.
    """
    _check_same(log_probs, reference=reference)
    u = log_probs - reference
    if estimator == "k1":
        return u
    if estimator == "k2":
        return u.square() / 2
    if estimator == "k3":
        return torch.expm1(-u) + u
    raise ValueError(f"kl_estimator: got {estimator!r}, must be k1, k2 or k3")


def weighted_sum(terms: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i sum_t m_it L_it: terms (B, T), mask (B, T) bool, weights (B,) -> scalar."""
    _check_rows(terms, weights=weights)
    _check_same(terms, mask=mask)
    return (terms.masked_fill(~mask, 0).sum(1) * weights).sum()


def split(rows: Tensor, parts: int) -> list[Tensor]:
    """`rows` (B, ...) in up to `parts` nearly equal runs, none of them empty."""
    return [part for part in rows.tensor_split(parts) if len(part)]


def _check_rows(terms: Tensor, **rows: Tensor) -> None:
    """One number a row of `terms` (B, T). Broadcasting would turn (B,) against (B, T) into a silent (B, B)."""
    if terms.ndim != 2:
        raise ValueError(f"got terms of shape {tuple(terms.shape)}, must be (B, T)")
    for name, value in rows.items():
        if value.shape != terms.shape[:1]:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, must be {tuple(terms.shape[:1])}")


def _check_same(terms: Tensor, **others: Tensor) -> None:
    for name, value in others.items():
        if value.shape != terms.shape:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, must be {tuple(terms.shape)}")
