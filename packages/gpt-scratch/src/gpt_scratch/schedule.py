"""The learning rate as a pure function of the step, so that resuming needs no state of it.

Convention: steps count from 0, and step 0 already learns something (rate lr / warm-up steps, not 0).
"""

from __future__ import annotations

import math


def learning_rate(
    step: int, *, steps: int, lr: float, min_lr_ratio: float, warmup_steps: int, schedule: str = "cosine"
) -> float:
    """Rate of optimizer step `step`: a line up to `lr` at the end of the warm-up, then down to `min_lr_ratio * lr`.

    With t the share of the way from the end of the warm-up to `steps`: cosine falls as (1 + cos(pi t)) / 2
    (Loshchilov & Hutter 2017, eq. 5, one cycle), linear as 1 - t, constant does not. From `steps` on it stays.
    """
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    if schedule == "constant":
        return lr
    t = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    height = (1.0 + math.cos(math.pi * t)) / 2.0 if schedule == "cosine" else 1.0 - t
    lowest = min_lr_ratio * lr
    return lowest + height * (lr - lowest)
