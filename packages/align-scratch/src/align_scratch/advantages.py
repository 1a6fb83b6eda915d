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


def group_advantages(rewards: Tensor, *, scale: str = "group") -> Tensor:
    """A_i = (r_i - mean(r)) / std(r) over each group (Shao et al. 2024, DeepSeekMath, section 4.1.2).

    Rewards (P, G) of P prompts, NaN where a completion could not be judged: it stays out of its group's statistics and
    gets 0. `scale` says whose standard deviation (with Bessel's correction) divides: "group", "batch" or "none", the
    last as in Dr. GRPO (Liu et al. 2025). A group without spread gets exactly 0.
    """
    if scale not in ("group", "batch", "none"):
        raise ValueError(f"scale: got {scale!r}, must be group, batch or none")
    if rewards.dim() != 2:
        raise ValueError(f"rewards: got shape {tuple(rewards.shape)}, must be (prompts, group_size)")
    valid = ~rewards.isnan() & ~zero_variance(rewards)[:, None]  # (P, G)
    centred = rewards - rewards.nanmean(1, keepdim=True)
    if scale == "group":
        count = valid.sum(1, keepdim=True)
        squares = centred.masked_fill(~valid, 0).square().sum(1, keepdim=True)
        centred = centred / ((squares / (count - 1).clamp(min=1)).sqrt() + EPS)
    elif scale == "batch":
        everything = rewards[~rewards.isnan()]
        centred = centred / (everything.std() + EPS) if everything.numel() > 1 else centred
    return centred.masked_fill(~valid, 0)
