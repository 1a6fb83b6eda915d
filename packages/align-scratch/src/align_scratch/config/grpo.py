"""The options of GRPO and its relatives: a loss type is a token term, a ratio and a length normalisation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from align_scratch.config.checks import at_least, one_of, option, positive, refuse, within
from align_scratch.config.policy_gradient import PolicyGradientConfig


class Form(NamedTuple):
    """What a loss type stands for; each of the three can be chosen apart from the others."""

    policy_loss: str
    ratio_level: str
    length_norm: str


FORMS: dict[Any, Form] = {
    "dapo": Form("clip", "token", "tokens"),
    "grpo": Form("clip", "token", "mean"),
    "dr_grpo": Form("clip", "token", "constant"),
    "bnpo": Form("clip", "token", "microbatch_tokens"),
    "cispo": Form("cispo", "token", "tokens"),
    "gspo": Form("clip", "sequence", "mean"),
    "luspo": Form("clip", "sequence", "sum"),
    "sapo": Form("sapo", "token", "mean"),
}


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(PolicyGradientConfig):
    """Trainer `grpo`: group relative policy optimization on a task's own checker."""

    steps: int = option(200, "rollout batches; each gives `minibatches` x `epochs_per_batch` optimizer updates")
    group_size: int = option(8, "completions sampled for each prompt; their mean reward is the baseline")
    minibatches: int = option(2, "optimizer updates that a rollout batch is split into")
    epochs_per_batch: int = option(1, "passes over a rollout batch")

    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo", "cispo", "gspo", "luspo", "sapo"] = option(
        "dapo", "token term, ratio and length normalisation at once; the README has the table"
    )
    policy_loss: Literal["auto", "clip", "no_clip", "reinforce", "cispo", "sapo"] = option(
        "auto", "token term; auto = as loss_type says, reinforce = no ratio at all"
    )
    ratio_level: Literal["auto", "token", "sequence"] = option(
        "auto", "a ratio for each token or one for a sequence; auto = as loss_type says"
    )
    length_norm: Literal["auto", "tokens", "mean", "constant", "sum", "microbatch", "microbatch_tokens"] = option(
        "auto", "how token terms are averaged; auto = as loss_type says"
    )
    length_constant: int | None = option(None, "divisor of length_norm=constant; none = the longest completion allowed")
    clip_low: float = option(0.2, "a ratio below 1 - clip_low earns no further gradient")
    clip_high: float = option(0.28, "a ratio above 1 + clip_high earns no further gradient")
    delta: float | None = option(None, "policy_loss=clip: the ratio is capped at this first, also where A < 0")
    cispo_cap: float = option(5.0, "policy_loss=cispo: the cap itself on the detached ratio, so well above 1")
    sapo_temperature_pos: float = option(1.0, "policy_loss=sapo: how fast ratios lose their gradient where A > 0")
    sapo_temperature_neg: float = option(1.05, "policy_loss=sapo: the same where A <= 0")

    baseline: Literal["group", "leave_one_out", "batch", "none"] = option(
        "group", "what a reward is compared with: mean of its group, of the others there, of the batch, or 0"
    )
    scale_rewards: Literal["group", "batch", "none"] = option(
        "group", "divide advantages by the standard deviation of: group, batch or none"
    )
    advantage_eps: float = option(1e-4, "added to that deviation")
    drop_zero_variance: bool = option(True, "leave out groups whose rewards are all equal: they carry no gradient")
    resample: int = option(0, "batches drawn at most in place of such groups, until prompts_per_step are left")

    kl_estimator: Literal["k1", "k2", "k3"] = option(
        "k3", "its form: k1, k2 or k3 (k1 in the loss has no gradient on-policy)"
    )
    kl_in: Literal["loss", "reward"] = option("loss", "add it to the loss, or take it off the reward")
    kl_level: Literal["token", "sequence"] = option("token", "estimate it token by token, or of whole sequences")
    kl_unbiased: bool = option(False, "in the loss: times the ratio, so that k1 and k3 have the reverse KL's gradient")

    entropy_coef: float = option(0.0, "weight of the entropy bonus: mean entropy a token, over the whole vocabulary")
    importance_cap: float | None = option(
        None, "weigh tokens by the policy's own score over the sampler's, at most this; none = trust the sampler"
    )

    @property
    def form(self) -> Form:
        """Token term, ratio level and length normalisation, with every `auto` looked up."""
        chosen = (self.policy_loss, self.ratio_level, self.length_norm)
        named = FORMS[self.loss_type]
        return Form(*(of_type if own == "auto" else own for own, of_type in zip(chosen, named, strict=True)))

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "minibatches", "epochs_per_batch", "length_constant", why="it is a count")
        at_least(self, 0, "entropy_coef", "advantage_eps", "resample", why="it cannot be negative")
        positive(self, "clip_high", why="0 would change nothing, and infinity everything")
        positive(self, "sapo_temperature_pos", "sapo_temperature_neg", "cispo_cap", "importance_cap",
                 why="0 would leave nothing to learn")  # fmt: skip
        within(self, 0.0, 1.0, "clip_low", why="it is a share")
        self.refuse_more_minibatches_than_prompts(self.minibatches)
        one_of(self, "loss_type", *FORMS)
        one_of(self, "policy_loss", "auto", "clip", "no_clip", "reinforce", "cispo", "sapo")
        one_of(self, "ratio_level", "auto", "token", "sequence")
        one_of(self, "length_norm", "auto", "tokens", "mean", "constant", "sum", "microbatch", "microbatch_tokens")
        one_of(self, "baseline", "group", "leave_one_out", "batch", "none")
        one_of(self, "scale_rewards", "group", "batch", "none")
        one_of(self, "kl_estimator", "k1", "k2", "k3")
        one_of(self, "kl_in", "loss", "reward")
        one_of(self, "kl_level", "token", "sequence")
        self._check_combinations()

    def _check_combinations(self) -> None:
        """What is fine alone and without meaning together."""
        if self.baseline in ("group", "leave_one_out"):
            self.refuse_group_of_one()
        if self.scale_rewards == "group" and self.baseline in ("batch", "none"):
            refuse("scale_rewards", "group", f"batch or none where baseline is {self.baseline}",
                   "a group of equal rewards has no deviation, and here it does carry a gradient")  # fmt: skip
        if self.resample and not (self.drop_zero_variance and self.baseline in ("group", "leave_one_out")):
            refuse("resample", self.resample, "0 unless groups of equal rewards are dropped",
                   "there would be nothing to replace; set drop_zero_variance=true and baseline=group")  # fmt: skip
        if self.delta is not None and not self.delta > 1 + self.clip_high:
            refuse("delta", self.delta, f"above 1 + clip_high ({1 + self.clip_high:g})",
                   "it caps ratios that the clip lets through where the advantage is negative")  # fmt: skip
        if self.kl_unbiased and self.kl_in == "reward":
            refuse("kl_unbiased", True, "false where kl_in is reward",
                   "a reward has no gradient of its own to correct; k1 there is exact as it is")  # fmt: skip
        if self.form.policy_loss == "cispo" and self.cispo_cap < 1:
            warnings.warn(
                f"cispo_cap: {self.cispo_cap} is below 1, so every gradient is scaled down by it even on-policy: it is "
                "the largest ratio that counts in full, not a distance from 1",
                stacklevel=3,
            )
