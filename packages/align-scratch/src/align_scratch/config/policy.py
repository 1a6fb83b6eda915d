"""The options of every trainer that samples from the policy and learns from the marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, refuse
from align_scratch.config.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(OptimizerConfig):
    """Prompts per step and completions per prompt; every batch size follows from the two."""

    steps: int = option(200, "rollout batches")
    lr: float = option(5e-4, "peak learning rate of AdamW")
    warmup_steps: int = option(5, "steps over which the learning rate grows to its peak")
    prompts_per_step: int = option(64, "prompts in a rollout batch")
    group_size: int = option(8, "completions sampled for each prompt")
    max_new_tokens: int | None = option(None, "longest completion; none = longest training answer and its end mark")
    too_long: Literal["error", "skip"] = option(
        "error", "a prompt that leaves the model no room for a completion is: an error, or left out with a warning"
    )
    track_kl: int = option(16, "rollouts a step on which the divergence from the starting model is measured; 0 = none")
    reward_model: str | None = option(
        None, "run of trainer `reward` whose model gives the rewards; none = the task does"
    )
    disable_dropout: bool = option(True, "no dropout in updates, so that the first ratio is 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "prompts_per_step", "group_size", "max_new_tokens", why="it is a count")
        at_least(self, 0, "track_kl", why="it cannot be negative")
        one_of(self, "too_long", "error", "skip")

    @property
    def needs_reference(self) -> bool:
        """Whether anything looks at the model that the policy started from."""
        return self.track_kl > 0

    def refuse_group_of_one(self) -> None:
        """For trainers whose baseline is the group's mean."""
        if self.group_size < 2:
            refuse("group_size", self.group_size, "at least 2",
                   "the baseline is the mean of the group, so a group of one has no advantage; "
                   "raise group_size and lower prompts_per_step to keep the cost")  # fmt: skip

    def refuse_more_minibatches_than_prompts(self, minibatches: int) -> None:
        if minibatches > self.prompts_per_step:
            refuse("minibatches", minibatches, f"at most prompts_per_step ({self.prompts_per_step})",
                   "every minibatch needs a group")  # fmt: skip
