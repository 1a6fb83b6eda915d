"""From rewards to advantages: how much better a completion did than the others of its group."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-4  # as in TRL; only groups with some spread are ever divided


def zero_variance(rewards: Tensor) -> Tensor:
    """Rewards (P, G) -> (P,) bool: groups whose rewards are all equal, NaN aside. They teach nothing.

    Tested by max == min: the standard deviation of eight equal rewards of 0.3 is 6e-8 in fp32, not 0.
    """
    valid = ~rewards.isnan()
    highest = rewards.masked_fill(~valid, -torch.inf).amax(1)
    lowest = rewards.masked_fill(~valid, torch.inf).amin(1)
    return highest <= lowest  # `<`: no valid reward at all


def group_advantages(rewards: Tensor, *, baseline: str = "group", scale: str = "group", eps: float = EPS) -> Tensor:
    """A_i = (r_i - mean(r)) / std(r) over each group (Shao et al. 2024, DeepSeekMath, section 4.1.2).

    Rewards (P, G) of P prompts, NaN where a completion could not be judged: it stays out of its group's statistics and
    gets 0. `baseline` says what is subtracted: the mean of the "group"; of its other members, "leave_one_out", which is
    G / (G - 1) (r_i - mean(r)) (Kool et al. 2019; Ahmadian et al. 2024, RLOO); of the "batch"; or nothing, "none".
    `scale` says whose standard deviation (with Bessel's correction) plus `eps` divides: "group", "batch" or "none", the
    last as in Dr. GRPO (Liu et al. 2025). Against its own group, a group without spread gets exactly 0, and against
    the batch's mean a batch without; by the deviation of such a batch nothing is divided.
    """
    if baseline not in ("group", "leave_one_out", "batch", "none"):
        raise ValueError(f"baseline: got {baseline!r}, must be group, leave_one_out, batch or none")
    if scale not in ("group", "batch", "none"):
        raise ValueError(f"scale: got {scale!r}, must be group, batch or none")
    if rewards.dim() != 2:
        raise ValueError(f"rewards: got shape {tuple(rewards.shape)}, must be (prompts, group_size)")
    valid = ~rewards.isnan()  # (P, G)
    if baseline in ("group", "leave_one_out"):
        valid &= ~zero_variance(rewards)[:, None]
        centred = rewards - rewards.nanmean(1, keepdim=True)
    else:
        centred = rewards - (rewards.nanmean() if baseline == "batch" else 0)
    everything = rewards[~rewards.isnan()]  # (M,)
    differ = bool(everything.numel() > 1 and everything.max() > everything.min())
    if baseline == "batch" and not differ:
        valid &= False
    advantages = centred
    count = valid.sum(1, keepdim=True)
    if baseline == "leave_one_out":
        advantages = advantages * (count / (count - 1).clamp(min=1))
    if scale == "group":
        squares = centred.masked_fill(~valid, 0).square().sum(1, keepdim=True)
        advantages = advantages / ((squares / (count - 1).clamp(min=1)).sqrt() + eps)
    elif scale == "batch" and differ:
        advantages = advantages / (everything.std() + eps)
    return advantages.masked_fill(~valid, 0)
