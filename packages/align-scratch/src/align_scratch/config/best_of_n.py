"""The options of best-of-n."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import at_least, option, refuse
from align_scratch.config.policy import PolicyConfig


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig(PolicyConfig):
    """Trainer `best-of-n`: imitate the best of n samples, by a checker or by a trained reward model."""

    steps: int = option(40, "batches of samples, each followed by the imitation of the best")
    lr: float = option(1e-3, "peak learning rate of AdamW")
    prompts_per_step: int = option(256, "prompts in a batch of samples")
    group_size: int = option(8, "n: completions sampled for each prompt, of which the best is imitated")
    epochs: int = option(1, "passes over the best of a batch")
    batch_size: int = option(64, "completions in an optimizer update, at most")
    drop_zero_variance: bool = option(True, "leave out prompts whose samples all have one reward: none is the best")
    curve_prompts: int = option(256, "held-out prompts on which an evaluation measures the best of 1, 2, 4, ... n")
    mask_truncated: bool = option(True, "keep no completion that was cut off: it does not show how to end")
    disable_dropout: bool = option(False, "no dropout while imitating")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "epochs", "batch_size", why="it is a count")
        at_least(self, 0, "curve_prompts", why="it cannot be negative")
        if self.group_size < 2:
            refuse("group_size", self.group_size, "at least 2",
                   "the best of one is that one; raise group_size (and lower prompts_per_step)")  # fmt: skip
