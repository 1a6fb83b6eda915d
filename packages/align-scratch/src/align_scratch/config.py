"""The options of every task and trainer here. Imports nothing heavy: a host reads this file to list and check them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal


def _opt(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def _refuse(name: str, got: object, must: str, why: str) -> None:
    raise ValueError(f"{name}: got {got!r}, must be {must}: {why}")


def _at_least(config: object, least: float, *names: str, why: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:  # `not >=` also catches NaN
            _refuse(name, value, f"at least {least}", why)


def _within(config: object, low: float, high: float, *names: str, why: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            _refuse(name, value, f"between {low} and {high}", why)


def _positive(config: object, *names: str, why: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            _refuse(name, value, "positive and finite", why)


# --- tasks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SortConfig:
    """Task `sort`."""

    length: int = _opt(8, "digits in a problem: the difficulty")
    order: Literal["descending", "ascending"] = _opt(
        "descending", "order that the reward wants: descending or ascending"
    )
    mixed: float = _opt(0.6, "share of demonstrations that show the other order; 0 = all as the reward wants")
    partial: float = _opt(0.0, "share of the reward paid for digits at the right position; 0 = all or nothing")
    n_train: int = _opt(16384, "training problems, at most")
    n_held_out: int = _opt(1024, "held-out problems, at most")
    seed: int = _opt(0, "decides which problems are drawn, and which of them get the other order")

    def __post_init__(self) -> None:
        _within(self, 2, 64, "length", why="one digit cannot be sorted, and more than 64 is no small task")
        if self.order not in ("ascending", "descending"):
            _refuse("order", self.order, "ascending or descending", "digits are sorted one way or the other")
        _within(self, 0.0, 1.0, "mixed", "partial", why="it is a share")
        _at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")
        _within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")


@dataclass(frozen=True, kw_only=True)
class AddConfig:
    """Task `add`."""

    digits: int = _opt(2, "most digits in a number: the difficulty")
    partial: float = _opt(0.0, "share of the reward paid for digits at the right position; 0 = all or nothing")
    n_train: int = _opt(16384, "training problems, at most")
    n_held_out: int = _opt(1024, "held-out problems, at most")
    seed: int = _opt(0, "decides which problems are drawn")

    def __post_init__(self) -> None:
        _within(self, 1, 32, "digits", why="a number has a digit, and more than 32 is no small task")
        _within(self, 0.0, 1.0, "partial", why="it is a share")
        _at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")
        _within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")


@dataclass(frozen=True, kw_only=True)
class ReverseConfig:
    """Task `reverse`."""

    length: int = _opt(6, "letters in a problem: the difficulty")
    partial: float = _opt(0.0, "share of the reward paid for letters at the right position; 0 = all or nothing")
    n_train: int = _opt(16384, "training problems, at most")
    n_held_out: int = _opt(1024, "held-out problems, at most")
    seed: int = _opt(0, "decides which problems are drawn")

    def __post_init__(self) -> None:
        _within(self, 2, 64, "length", why="one letter is its own reverse, and more than 64 is no small task")
        _within(self, 0.0, 1.0, "partial", why="it is a share")
        _at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")
        _within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Task `corpus`."""

    path: str | None = _opt(None, "UTF-8 text file to read; none = the built-in English text")
    held_out: float = _opt(0.05, "share of the passages kept out of training")
    passage_chars: int = _opt(2000, "longest passage in characters; cut at paragraphs, lines or words")

    def __post_init__(self) -> None:
        _within(self, 0.0, 0.5, "held_out", why="it is a share, and most of the text is for training")
        _at_least(self, 1, "passage_chars", why="a passage has a character")


# --- trainers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """Trainer `sft`: supervised fine-tuning on demonstrations."""

    steps: int = _opt(500, "optimizer steps, at most")
    batch_size: int = _opt(128, "demonstrations in an optimizer step")
    lr: float = _opt(5e-3, "peak learning rate of AdamW")
    beta1: float = _opt(0.9, "AdamW: decay of the mean of gradients")
    beta2: float = _opt(0.99, "AdamW: decay of the mean of squared gradients")
    weight_decay: float = _opt(0.0, "AdamW: decoupled weight decay, on matrices only")
    warmup_steps: int = _opt(20, "steps over which the learning rate grows to its peak")
    min_lr_ratio: float = _opt(0.1, "final learning rate as a share of the peak, reached linearly; 1 = no decay")
    grad_clip: float | None = _opt(1.0, "longest gradient norm; none = no clipping")
    grad_accum_steps: int = _opt(1, "micro-batches in an optimizer step; changes memory, not gradients")
    stop_at: float | None = _opt(None, "end when sampled accuracy on training prompts reaches this; none = never")
    stop_every: int = _opt(5, "steps between two looks at that accuracy")
    stop_prompts: int = _opt(512, "training prompts in one look")

    def __post_init__(self) -> None:
        _at_least(self, 1, "steps", "batch_size", "grad_accum_steps", "stop_every", "stop_prompts", why="it is a count")
        _at_least(self, 0, "warmup_steps", "weight_decay", why="it cannot be negative")
        _positive(self, "lr", "grad_clip", why="0 would change nothing, and infinity everything")
        _within(self, 0.0, 1.0, "min_lr_ratio", "stop_at", why="it is a share")
        _check_betas(self)
        if self.grad_accum_steps > self.batch_size:
            _refuse("grad_accum_steps", self.grad_accum_steps, f"at most batch_size ({self.batch_size})",
                    "every micro-batch needs a row")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GRPOConfig:
    """Trainer `grpo`: group relative policy optimization on a task's own checker."""

    steps: int = _opt(200, "rollout batches; each gives `minibatches` x `epochs_per_batch` optimizer updates")
    prompts_per_step: int = _opt(64, "prompts in a rollout batch")
    group_size: int = _opt(8, "completions sampled for each prompt; their mean reward is the baseline")
    lr: float = _opt(5e-4, "peak learning rate of AdamW")
    beta1: float = _opt(0.9, "AdamW: decay of the mean of gradients")
    beta2: float = _opt(0.99, "AdamW: decay of the mean of squared gradients")
    weight_decay: float = _opt(0.0, "AdamW: decoupled weight decay, on matrices only")
    warmup_steps: int = _opt(5, "steps over which the learning rate grows to its peak")
    min_lr_ratio: float = _opt(0.1, "final learning rate as a share of the peak, reached linearly; 1 = no decay")
    clip_low: float = _opt(0.2, "a ratio below 1 - clip_low earns no further gradient")
    clip_high: float = _opt(0.28, "a ratio above 1 + clip_high earns no further gradient")
    minibatches: int = _opt(2, "optimizer updates that a rollout batch is split into")
    epochs_per_batch: int = _opt(1, "passes over a rollout batch")
    loss_type: Literal["dapo", "grpo"] = _opt(
        "dapo", "normaliser: dapo = mean over all tokens, grpo = mean over sequences of their means"
    )
    scale_rewards: Literal["group", "batch", "none"] = _opt(
        "group", "divide advantages by the standard deviation of: group, batch or none"
    )
    drop_zero_variance: bool = _opt(True, "leave out groups whose rewards are all equal: they carry no gradient")
    kl_coef: float = _opt(0.0, "weight in the loss of the divergence from the starting model")
    kl_estimator: Literal["k1", "k2", "k3"] = _opt(
        "k3", "its form in the loss: k1, k2 or k3 (k1 has no gradient on-policy)"
    )
    track_kl: int = _opt(16, "rollouts a step on which that divergence is measured, whatever its weight; 0 = none")
    grad_clip: float | None = _opt(1.0, "longest gradient norm; none = no clipping")
    grad_accum_steps: int = _opt(1, "micro-batches in an optimizer update; changes memory, not gradients")
    max_new_tokens: int | None = _opt(None, "longest completion; none = longest training answer and its end mark")
    mask_truncated: bool = _opt(False, "learn nothing from completions that were cut off")
    disable_dropout: bool = _opt(True, "no dropout in updates, so that the first ratio is 1")

    def __post_init__(self) -> None:
        _at_least(self, 1, "steps", "prompts_per_step", "minibatches", "epochs_per_batch", "grad_accum_steps",
                  "max_new_tokens", why="it is a count")  # fmt: skip
        _at_least(self, 0, "warmup_steps", "weight_decay", "kl_coef", "track_kl", why="it cannot be negative")
        _positive(self, "lr", "grad_clip", "clip_high", why="0 would change nothing, and infinity everything")
        _within(self, 0.0, 1.0, "min_lr_ratio", "clip_low", why="it is a share")
        _check_betas(self)
        if self.group_size < 2:
            _refuse("group_size", self.group_size, "at least 2",
                    "the baseline is the mean of the group, so a group of one has no advantage; "
                    "raise group_size and lower prompts_per_step to keep the cost")  # fmt: skip
        if self.minibatches > self.prompts_per_step:
            _refuse("minibatches", self.minibatches, f"at most prompts_per_step ({self.prompts_per_step})",
                    "every minibatch needs a group")  # fmt: skip
        for name, allowed in (
            ("loss_type", ("dapo", "grpo")),
            ("scale_rewards", ("group", "batch", "none")),
            ("kl_estimator", ("k1", "k2", "k3")),
        ):
            if getattr(self, name) not in allowed:
                _refuse(name, getattr(self, name), f"one of {', '.join(allowed)}", "nothing else is built")


def _check_betas(config: SFTConfig | GRPOConfig) -> None:
    for name in ("beta1", "beta2"):
        if not 0.0 <= getattr(config, name) < 1.0:
            _refuse(name, getattr(config, name), "at least 0 and below 1", "it is a decay rate")
