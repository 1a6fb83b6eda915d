"""The options of PPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, positive, refuse, within
from align_scratch.config.policy import PolicyConfig


@dataclass(frozen=True, kw_only=True)
class PPOConfig(PolicyConfig):
    """Trainer `ppo`: proximal policy optimization with a value head, on a checker or on a trained reward model."""

    steps: int = option(150, "rollout batches; each gives `minibatches` x `epochs_per_batch` optimizer updates")
    prompts_per_step: int = option(512, "prompts in a rollout batch")
    group_size: int = option(1, "completions sampled for each prompt; the value head is the baseline, so 1 is enough")
    epochs_per_batch: int = option(1, "passes over a rollout batch")
    minibatches: int = option(4, "optimizer updates in a pass")
    clip: float = option(0.2, "a ratio further than this from 1 earns no further gradient")
    dual_clip: float | None = option(None, "bound of the loss where the advantage is negative, say 3; none = no bound")
    clip_value: float | None = option(0.2, "furthest that a value moves from its old one in a batch; none = no limit")
    vf_coef: float = option(0.1, "weight of the value loss")
    ent_coef: float = option(0.0, "weight of an entropy bonus, from the whole distribution")
    gamma: float = option(1.0, "discount per token")
    lam: float = option(0.95, "generalized advantage estimation: 0 = one step, 1 = the whole return")
    whiten_advantages: bool = option(True, "centre and scale advantages over the batch's tokens")
    whiten_rewards: bool = option(False, "scale token rewards over the batch, without centring them")
    bootstrap_truncated: bool = option(False, "take a completion that was cut off to be worth its value at the cut")
    kl_coef: float = option(0.05, "weight in the reward of the divergence from the starting model")
    kl_estimator: Literal["k1", "k3"] = option("k1", "its form: k1 (the sequence's own, exact) or k3")
    kl_target: float | None = option(
        None, "nats a completion that an adaptive kl_coef aims at; none = kl_coef is fixed"
    )
    kl_horizon: float = option(10_000.0, "rollouts over which an adaptive kl_coef changes")
    missing_eos_penalty: float | None = option(
        None, "taken off the score of a completion without an end; none = nothing"
    )
    normalize_scores: bool | None = option(
        None, "scores to mean 0, deviation 1 by the first batch; none = only a reward model's"
    )
    clip_scores: float | None = option(None, "scores are cut to at most this far from 0; none = as they are")
    value_trunk: Literal["detached", "shared", "own"] = option(
        "shared", "what the value head reads: the policy's features (detached: no gradient into them) or a copy's"
    )
    value_head: str | None = option(None, "finished run of trainer `ppo` whose value function to begin with; none = 0")
    value_lr_ratio: float = option(50.0, "learning rate of the value head as a multiple of lr; it starts from nothing")
    adam_eps: float = option(1e-5, "AdamW: added to the root of the mean square")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "minibatches", "epochs_per_batch", why="it is a count")
        at_least(self, 0, "vf_coef", "ent_coef", "kl_coef", "missing_eos_penalty", why="it cannot be negative")
        positive(self, "clip_value", "kl_target", "kl_horizon", "clip_scores", "value_lr_ratio", "adam_eps",
                 why="0 would change nothing, and infinity everything")  # fmt: skip
        within(self, 0.0, 1.0, "gamma", "lam", "clip", why="it is a share")
        if self.dual_clip is not None and not self.dual_clip > 1 + self.clip:
            refuse("dual_clip", self.dual_clip, f"above 1 + clip ({1 + self.clip})", "it bounds what the clip leaves")
        if self.kl_target is not None and self.kl_coef == 0:
            refuse(
                "kl_coef", self.kl_coef, "positive with a kl_target", "an adaptive weight is multiplied, never added to"
            )
        one_of(self, "kl_estimator", "k1", "k3")
        one_of(self, "value_trunk", "detached", "shared", "own")
        if self.minibatches > self.prompts_per_step * self.group_size:
            refuse("minibatches", self.minibatches,
                   f"at most prompts_per_step x group_size ({self.prompts_per_step * self.group_size})",
                   "every minibatch needs a rollout")  # fmt: skip

    @property
    def needs_reference(self) -> bool:
        return self.kl_coef > 0 or super().needs_reference
