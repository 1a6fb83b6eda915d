"""The options that every trainer has: how long, how fast, and AdamW's own."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import at_least, check_betas, option, positive, within


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """What `state.adamw`, `state.update` and `schedule.learning_rate` read. Trainers change the defaults."""

    steps: int = option(500, "optimizer steps, at most")
    lr: float = option(1e-3, "peak learning rate of AdamW")
    beta1: float = option(0.9, "AdamW: decay of the mean of gradients")
    beta2: float = option(0.99, "AdamW: decay of the mean of squared gradients")
    weight_decay: float = option(0.0, "AdamW: decoupled weight decay, on matrices only")
    warmup_steps: int = option(20, "steps over which the learning rate grows to its peak")
    min_lr_ratio: float = option(0.1, "final learning rate as a share of the peak, reached linearly; 1 = no decay")
    grad_clip: float | None = option(1.0, "longest gradient norm; none = no clipping")
    grad_accum_steps: int = option(1, "micro-batches in an optimizer update; changes memory, not gradients")

    def __post_init__(self) -> None:
        at_least(self, 1, "steps", "grad_accum_steps", why="it is a count")
        at_least(self, 0, "warmup_steps", "weight_decay", why="it cannot be negative")
        positive(self, "lr", "grad_clip", why="0 would change nothing, and infinity everything")
        within(self, 0.0, 1.0, "min_lr_ratio", why="it is a share")
        check_betas(self)
