"""The options of RLOO."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import at_least, option, positive, within
from align_scratch.config.policy_gradient import PolicyGradientConfig


@dataclass(frozen=True, kw_only=True)
class RLOOConfig(PolicyGradientConfig):
    """Trainer `rloo`: REINFORCE leave-one-out, on whole completions, with the divergence in the reward."""

    steps: int = option(200, "rollout batches; each gives `minibatches` x `epochs_per_batch` optimizer updates")
    group_size: int = option(8, "completions sampled for each prompt; the others' mean reward is the baseline")
    minibatches: int = option(2, "optimizer updates that a rollout batch is split into")
    epochs_per_batch: int = option(1, "passes over a rollout batch")
    kl_coef: float = option(0.01, "weight in the reward of the divergence from the reference model")
    clip_low: float = option(0.2, "a completion's ratio below 1 - clip_low earns no further gradient")
    clip_high: float = option(0.2, "a completion's ratio above 1 + clip_high earns no further gradient")
    reward_clip: float | None = option(None, "rewards are cut to at most this far from 0; none = as they are")
    normalize_advantages: bool = option(False, "centre and scale advantages over the batch")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "minibatches", "epochs_per_batch", why="it is a count")
        positive(self, "clip_high", "reward_clip", why="0 would change nothing, and infinity everything")
        within(self, 0.0, 1.0, "clip_low", why="it is a share")
        self.refuse_group_of_one()
        self.refuse_more_minibatches_than_prompts(self.minibatches)
