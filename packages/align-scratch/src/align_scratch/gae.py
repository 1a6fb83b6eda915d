"""From scores to what PPO learns from: rewards of tokens, advantages, returns, and the weight of the divergence.

Everything here is about a batch of N completions of up to T tokens. What is real is known from `lengths`, and what is
returned holds 0 at padding. All are pure functions but the controller, which is one number and a rule.

Generalized advantage estimation: Schulman et al. 2016, arXiv:1506.02438, equations 11, 12 and 16. Divergence in the
reward and its adaptive weight: Ziegler et al. 2019, arXiv:1909.08593, section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def valid(values: Tensor, lengths: Tensor) -> Tensor:
    """Mask (N, T) bool of what is real in `values` (N, T), whose rows have `lengths` (N,)."""
    if values.ndim != 2 or lengths.shape != values.shape[:1]:
        raise ValueError(f"got {tuple(values.shape)} and lengths {tuple(lengths.shape)}, must be (N, T) and (N,)")
    return torch.arange(values.shape[1], device=values.device) < lengths[:, None]


def token_rewards(scores: Tensor, kl: Tensor, lengths: Tensor, *, kl_coef: float) -> Tensor:
    """Rewards (N, T): -kl_coef kl_t for every token, and the score (N,) on the last real one, which is EOS or the cut.

    With the estimator k1 for `kl` (N, T), a row's rewards sum to score - kl_coef log(pi(y) / pi_ref(y)): R of Ziegler
    et al., eq. 2. A row of length 0 has no token to put its score on.
    """
    mask = valid(kl, lengths)
    if scores.shape != lengths.shape:
        raise ValueError(f"scores: got shape {tuple(scores.shape)}, must be {tuple(lengths.shape)}")
    rewards = (-kl_coef * kl).masked_fill(~mask, 0)  # (N, T)
    last = (lengths - 1).clamp(min=0)[:, None]  # (N, 1)
    return rewards.scatter_add(1, last, (scores.to(kl.dtype) * (lengths > 0))[:, None])


def gae(
    rewards: Tensor,
    values: Tensor,
    lengths: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 0.95,
    after: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Advantages and returns (N, T) of rewards and values (N, T); V_t is of the state before token t.

    A_t = sum_l (gamma lam)^l delta_{t+l},  delta_t = r_t + gamma V_{t+1} - V_t      (eq. 16, 12)

    backwards in one pass. `after` (N,) is V behind the last real token: 0 where the completion ended, and, by default,
    also where it was cut. The returns are A + V, the targets of the value function; take them before any whitening.
    """
    mask = valid(values, lengths)
    if rewards.shape != values.shape:
        raise ValueError(f"rewards: got shape {tuple(rewards.shape)}, must be {tuple(values.shape)}")
    n, width = values.shape
    v = torch.cat((values.masked_fill(~mask, 0), values.new_zeros(n, 1)), 1)  # (N, T + 1)
    if after is not None:
        v = v.scatter(1, lengths[:, None], after.to(v.dtype)[:, None])
    delta = (rewards + gamma * v[:, 1:] - v[:, :-1]).masked_fill(~mask, 0)  # (N, T)
    advantages, carried = torch.zeros_like(values), values.new_zeros(n)
    for t in reversed(range(width)):
        carried = delta[:, t] + gamma * lam * carried  # (N,); 0 as long as only padding was met
        advantages[:, t] = carried
    return advantages, (advantages + values).masked_fill(~mask, 0)


def whiten(values: Tensor, mask: Tensor, *, centre: bool = True) -> Tensor:
    """Values (N, T) over their standard deviation among the masked (Bessel's correction), 0 elsewhere.

    `centre` takes their mean off first, as for advantages; rewards are only scaled, since a shift of them would pay or
    fine every token. Fewer than two values are returned as they are. Equal values have no deviation, and what rounding
    leaves of one is not divided by: centred they are exactly 0, and else as they are.
    """
    if mask.shape != values.shape:
        raise ValueError(f"mask: got shape {tuple(mask.shape)}, must be {tuple(values.shape)}")
    some = values[mask]  # (M,)
    if len(some) < 2:
        return values.masked_fill(~mask, 0)
    if bool(some.max() == some.min()):
        return torch.zeros_like(values) if centre else values.masked_fill(~mask, 0)
    shifted = values - some.mean() if centre else values
    return (shifted / (some.std() + 1e-8)).masked_fill(~mask, 0)


@dataclass
class KLController:
    """The weight of the divergence in the reward; with a `target` it moves to hold the divergence there."""

    coef: float
    target: float | None = None
    horizon: float = 10_000.0

    def update(self, kl: float, n: int) -> None:
        """After `n` completions whose divergence was `kl` nats on average.

        e = clip(KL / KL_target - 1, -0.2, 0.2),  coef <- coef (1 + e n / horizon)
        """
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coef *= 1 + error * n / self.horizon
