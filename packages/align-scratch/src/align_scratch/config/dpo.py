"""The options of preference learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, positive, refuse
from align_scratch.config.optimizer import OptimizerConfig

LOSSES = ("sigmoid", "ipo", "hinge", "cdpo", "robust", "sigmoid_norm", "apo_zero", "sppo_hard", "kto", "orpo", "simpo")
SMOOTHED = ("cdpo", "robust")
WITH_DIVERGENCE = ("sigmoid", "ipo", "hinge", "cdpo", "robust", "sigmoid_norm")
WITHOUT_REFERENCE = ("orpo", "simpo")
DIVERGENCES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")


@dataclass(frozen=True, kw_only=True)
class DPOConfig(OptimizerConfig):
    """Trainer `dpo`: learning from pairs without a reward model, by DPO's loss or one of its relatives."""

    steps: int = option(200, "optimizer steps")
    lr: float = option(2e-4, "peak learning rate of AdamW")
    warmup_steps: int = option(5, "steps over which the learning rate grows to its peak")
    batch_size: int = option(64, "pairs in an optimizer step; kto: two labelled completions for each")
    loss_type: Literal[
        "sigmoid", "ipo", "hinge", "cdpo", "robust", "sigmoid_norm", "apo_zero", "sppo_hard", "kto", "orpo", "simpo"
    ] = option("sigmoid", "loss, as the README's table has them; sigmoid is DPO itself")  # fmt: skip
    beta: float | None = option(None, "how near to stay to the reference; none = 0.1, and 2 for simpo")
    label_smoothing: float | None = option(None, "cdpo, robust: share of preferences that may be wrong; none = 0.1")
    simpo_gamma: float = option(0.5, "simpo: margin between the two sides")
    nll_coef: float | None = option(None, "weight of the chosen's negative log-likelihood; none = 1 for orpo, else 0")
    desirable_weight: float = option(1.0, "kto: weight of what was liked")
    undesirable_weight: float = option(1.0, "kto: weight of what was not")
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = option(
        "reverse_kl", "divergence from the reference, for sigmoid, ipo, hinge, cdpo, robust and sigmoid_norm"
    )
    f_alpha_divergence_coef: float = option(0.5, "alpha of alpha_divergence")
    pairs: Literal["auto", "task", "sampled"] = option(
        "auto", "task = its own pairs, sampled = best and worst of the policy's samples; auto = own if there are any"
    )
    prompts_per_sampling: int = option(256, "pairs sampled: prompts sampled from at a time")
    group_size: int = option(8, "pairs sampled: completions sampled for each prompt")
    resample_every: int | None = option(4, "pairs sampled: steps until new ones are sampled; none = once, at the start")
    max_new_tokens: int | None = option(None, "longest completion; none = longest training answer and its end mark")
    precompute_ref_log_probs: bool = option(False, "ask the reference once, before training, and keep no copy of it")
    disable_dropout: bool = option(True, "no dropout in updates, so that the policy starts as the reference")
    eval_pairs: int = option(512, "held-out pairs that are judged, at most")

    @property
    def used_beta(self) -> float:
        if self.beta is not None:
            return self.beta
        return 2.0 if self.loss_type == "simpo" else 0.1

    @property
    def used_smoothing(self) -> float:
        if self.loss_type not in SMOOTHED:
            return 0.0
        return 0.1 if self.label_smoothing is None else self.label_smoothing

    @property
    def used_nll_coef(self) -> float:
        if self.nll_coef is not None:
            return self.nll_coef
        return 1.0 if self.loss_type == "orpo" else 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(
            self, 1, "batch_size", "prompts_per_sampling", "resample_every", "max_new_tokens", "eval_pairs",
            why="it is a count",
        )  # fmt: skip
        at_least(self, 2, "group_size", why="a pair has a best and a worst")
        positive(self, "beta", why="0 would prefer nothing, and infinity would never move")
        at_least(
            self, 0, "simpo_gamma", "nll_coef", "desirable_weight", "undesirable_weight", why="it cannot be negative"
        )
        one_of(self, "loss_type", *LOSSES)
        one_of(self, "f_divergence_type", *DIVERGENCES)
        one_of(self, "pairs", "auto", "task", "sampled")
        if self.label_smoothing is not None:
            if self.loss_type not in SMOOTHED:
                refuse("label_smoothing", self.label_smoothing, f"none with loss_type {self.loss_type}",
                       "that loss takes every preference for right; cdpo and robust do not")  # fmt: skip
            if not 0 <= self.label_smoothing < 0.5:
                refuse("label_smoothing", self.label_smoothing, "at least 0 and below 0.5",
                       "with half of the preferences wrong there is nothing to learn")  # fmt: skip
        if self.f_divergence_type != "reverse_kl" and self.loss_type not in WITH_DIVERGENCE:
            refuse("f_divergence_type", self.f_divergence_type, f"reverse_kl with loss_type {self.loss_type}",
                   "only losses of the difference of both sides have another divergence")  # fmt: skip
        if self.loss_type == "kto" and self.nll_coef:
            refuse("nll_coef", self.nll_coef, "0 or none with loss_type kto", "its rows are in no pairs")
        if self.precompute_ref_log_probs:
            if self.loss_type in WITHOUT_REFERENCE:
                refuse("precompute_ref_log_probs", True, f"false with loss_type {self.loss_type}",
                       "that loss has no reference")  # fmt: skip
            if self.pairs == "sampled" and self.resample_every is not None:
                refuse("precompute_ref_log_probs", True, "false where pairs are sampled again",
                       "the reference has to read them too; set resample_every=none to sample once")  # fmt: skip
        if self.grad_accum_steps > self.batch_size:
            refuse("grad_accum_steps", self.grad_accum_steps, f"at most batch_size ({self.batch_size})",
                   "every micro-batch needs a pair")  # fmt: skip
