"""The token terms of proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347), all (N, T) -> (N, T)."""

from __future__ import annotations

import torch
from torch import Tensor


def policy_terms(log_ratio: Tensor, advantages: Tensor, clip: float, dual_clip: float | None = None) -> Tensor:
    """-min(rho A, clip(rho, 1 - clip, 1 + clip) A),  rho = exp(log_ratio)   (eq. 7)

    `dual_clip` c > 1 bounds the loss where the advantage is negative, by -max(..., c A): a far ratio there has no other
    bound (Ye et al. 2020, arXiv:1912.09729, eq. 5).
    """
    _check_same(log_ratio, advantages=advantages)
    # Without an advantage there is nothing to weigh, and exp of a far ratio times 0 would be NaN.
    ratio = log_ratio.masked_fill(advantages == 0, 0).exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    if dual_clip is not None:
        gain = torch.where(advantages < 0, torch.maximum(gain, dual_clip * advantages), gain)
    return -gain


def policy_clipped(log_ratio: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Where the clip takes the gradient away, below and above, bool: only where it bites, which A's sign decides."""
    ratio = log_ratio.exp()
    return (ratio < 1 - clip) & (advantages < 0), (ratio > 1 + clip) & (advantages > 0)


def value_terms(values: Tensor, old: Tensor, returns: Tensor, clip: float | None) -> tuple[Tensor, Tensor]:
    """1/2 max((V - R)^2, (V_old + clip(V - V_old, -clip, clip) - R)^2), and where the second is larger, bool.

    The value function is held near what it was when the advantages were made, as the policy is; the maximum makes the
    clip a pessimist: it withholds progress beyond its range and never forgives a move away from R. None: no clip.
    """
    _check_same(values, old=old, returns=returns)
    plain = (values - returns).square()
    if clip is None:
        return plain / 2, torch.zeros_like(plain, dtype=torch.bool)
    held = (old + (values - old).clamp(-clip, clip) - returns).square()
    return torch.maximum(plain, held) / 2, held > plain


def _check_same(terms: Tensor, **others: Tensor) -> None:
    if terms.ndim != 2:
        raise ValueError(f"got terms of shape {tuple(terms.shape)}, must be (N, T)")
    for name, value in others.items():
        if value.shape != terms.shape:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, must be {tuple(terms.shape)}")
