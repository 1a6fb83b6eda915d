"""The options of GRPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, positive, within
from align_scratch.config.policy import PolicyConfig


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(PolicyConfig):
    """Trainer `grpo`: group relative policy optimization on a task's own checker."""

    steps: int = option(200, "rollout batches; each gives `minibatches` x `epochs_per_batch` optimizer updates")
    group_size: int = option(8, "completions sampled for each prompt; their mean reward is the baseline")
    clip_low: float = option(0.2, "a ratio below 1 - clip_low earns no further gradient")
    clip_high: float = option(0.28, "a ratio above 1 + clip_high earns no further gradient")
    minibatches: int = option(2, "optimizer updates that a rollout batch is split into")
    epochs_per_batch: int = option(1, "passes over a rollout batch")
    loss_type: Literal["dapo", "grpo"] = option(
        "dapo", "normaliser: dapo = mean over all tokens, grpo = mean over sequences of their means"
    )
    scale_rewards: Literal["group", "batch", "none"] = option(
        "group", "divide advantages by the standard deviation of: group, batch or none"
    )
    drop_zero_variance: bool = option(True, "leave out groups whose rewards are all equal: they carry no gradient")
    kl_coef: float = option(0.0, "weight in the loss of the divergence from the starting model")
    kl_estimator: Literal["k1", "k2", "k3"] = option(
        "k3", "its form in the loss: k1, k2 or k3 (k1 has no gradient on-policy)"
    )
    mask_truncated: bool = option(False, "learn nothing from completions that were cut off")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "minibatches", "epochs_per_batch", why="it is a count")
        at_least(self, 0, "kl_coef", why="it cannot be negative")
        positive(self, "clip_high", why="0 would change nothing, and infinity everything")
        within(self, 0.0, 1.0, "clip_low", why="it is a share")
        self.refuse_group_of_one()
        self.refuse_more_minibatches_than_prompts(self.minibatches)
        one_of(self, "loss_type", "dapo", "grpo")
        one_of(self, "scale_rewards", "group", "batch", "none")
        one_of(self, "kl_estimator", "k1", "k2", "k3")
