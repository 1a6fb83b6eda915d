"""The options of every part of this package. Torch-free, so that they can be listed without importing it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

SCHEDULES = ("cosine", "linear", "constant")


def _require(condition: bool, name: str, value: Any, must_be: str) -> None:
    if not condition:
        raise ValueError(f"{name}: got {value!r}, must be {must_be}")


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Shape of a GPT-2 style decoder. The vocabulary size comes from the tokenizer, not from here."""

    n_layer: int = field(default=2, metadata={"help": "number of blocks"})
    n_head: int = field(default=4, metadata={"help": "attention heads in each block"})
    n_embd: int = field(default=64, metadata={"help": "width of the residual stream, a multiple of n_head"})
    block_size: int = field(
        default=128, metadata={"help": "longest sequence in tokens, prompt and completion together"}
    )
    dropout: float = field(default=0.0, metadata={"help": "dropout of embeddings, attention and residual branches"})
    bias: bool = field(default=True, metadata={"help": "biases in the linear layers and layer norms"})
    tie_weights: bool = field(default=True, metadata={"help": "one matrix for the token embedding and the output head"})

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd", "block_size"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(
            self.n_embd % self.n_head == 0,
            "n_embd",
            self.n_embd,
            f"a multiple of n_head ({self.n_head}): every head gets an equal share of the width",
        )
        _require(0.0 <= self.dropout < 1.0, "dropout", self.dropout, "in [0, 1): the share of activations set to zero")


@dataclass(frozen=True, kw_only=True)
class BigramConfig:
    """A table of next-token logits."""

    init_std: float = field(
        default=0.02, metadata={"help": "standard deviation of the first logits; 0 starts exactly uniform"}
    )

    def __post_init__(self) -> None:
        _require(0.0 <= self.init_std < math.inf, "init_std", self.init_std, "at least 0: it is a standard deviation")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Next-token prediction on a stream of text."""

    steps: int = field(default=2000, metadata={"help": "optimizer steps of the whole run"})
    batch_size: int = field(default=8, metadata={"help": "windows in each step, over all its micro-batches"})
    grad_accum_steps: int = field(default=1, metadata={"help": "micro-batches a step is cut into, to save memory"})
    context: int = field(
        default=128, metadata={"help": "tokens in a window; the model's own limit where that is shorter"}
    )
    lr: float = field(default=5e-3, metadata={"help": "highest learning rate"})
    min_lr_ratio: float = field(default=0.1, metadata={"help": "learning rate at the end, as a share of lr"})
    warmup_ratio: float = field(default=0.05, metadata={"help": "share of the steps in which the rate rises to lr"})
    schedule: str = field(
        default="cosine", metadata={"help": "how the rate falls after the warm-up: cosine, linear or constant"}
    )
    weight_decay: float = field(default=0.1, metadata={"help": "decay of matrices; biases and norms never decay"})
    beta1: float = field(default=0.9, metadata={"help": "AdamW: memory of the mean gradient"})
    beta2: float = field(default=0.95, metadata={"help": "AdamW: memory of the mean squared gradient"})
    grad_clip: float = field(default=1.0, metadata={"help": "largest norm of the whole gradient; 0 turns it off"})
    eval_tokens: int = field(default=32768, metadata={"help": "about how many held-out tokens an evaluation reads"})

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "grad_accum_steps", "context"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(
            self.grad_accum_steps <= self.batch_size,
            "grad_accum_steps",
            self.grad_accum_steps,
            f"at most batch_size ({self.batch_size}): a micro-batch needs at least one window",
        )
        _require(0.0 < self.lr < math.inf, "lr", self.lr, "above 0: with a rate of 0 nothing is learned")
        _require(0.0 <= self.min_lr_ratio <= 1.0, "min_lr_ratio", self.min_lr_ratio, "in [0, 1]: a share of lr")
        _require(
            0.0 <= self.warmup_ratio < 1.0,
            "warmup_ratio",
            self.warmup_ratio,
            "in [0, 1): a warm-up as long as the run would never reach lr",
        )
        _require(self.schedule in SCHEDULES, "schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        _require(0.0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "at least 0")
        for name in ("beta1", "beta2"):
            _require(0.0 <= getattr(self, name) < 1.0, name, getattr(self, name), "in [0, 1): a share that is kept")
        _require(0.0 <= self.grad_clip < math.inf, "grad_clip", self.grad_clip, "at least 0; 0 turns clipping off")
        _require(self.eval_tokens >= 2, "eval_tokens", self.eval_tokens, "at least 2: one to read, one to predict")
