"""The options of best-of-n."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import at_least, option, refuse
from align_scratch.config.imitation import ImitationConfig


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig(ImitationConfig):
    """Trainer `best-of-n`: imitate the best of n samples, by a checker or by a trained reward model."""

    steps: int = option(40, "batches of samples, each followed by the imitation of the best")
    prompts_per_step: int = option(256, "prompts in a batch of samples")
    group_size: int = option(8, "n: completions sampled for each prompt, of which the best is imitated")
    drop_zero_variance: bool = option(True, "leave out prompts whose samples all have one reward: none is the best")
    curve_prompts: int = option(256, "held-out prompts on which an evaluation measures the best of 1, 2, 4, ... n")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "curve_prompts", why="it cannot be negative")
        if self.group_size < 2:
            refuse("group_size", self.group_size, "at least 2",
                   "the best of one is that one; raise group_size (and lower prompts_per_step)")  # fmt: skip
