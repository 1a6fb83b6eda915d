"""The options of training a reward model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, positive, refuse
from align_scratch.config.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class RewardConfig(OptimizerConfig):
    """Trainer `reward`: a score that prefers what was chosen."""

    steps: int = option(300, "optimizer steps")
    lr: float = option(1e-3, "peak learning rate of AdamW")
    batch_size: int = option(64, "pairs in an optimizer step")
    loss_type: Literal["bt", "margin", "hinge"] = option(
        "bt", "bt = Bradley-Terry; margin = max(0, margin - difference); hinge = the same with 1"
    )
    margin: float = option(1.0, "loss margin: the difference beyond which a pair is learned; a pair's own comes first")
    center_rewards_coefficient: float = option(0.01, "weight of (chosen + rejected)^2, which keeps scores near 0")
    body: Literal["model", "encoder"] = option(
        "model", "what reads the text: the language model itself, or a small bidirectional encoder of its own"
    )
    encoder_layers: int = option(4, "body encoder: blocks")
    encoder_heads: int = option(4, "body encoder: attention heads in a block")
    encoder_embd: int = option(256, "body encoder: width")
    encoder_dropout: float = option(0.1, "body encoder: share dropped, where disable_dropout is false")
    encoder_length: int | None = option(None, "body encoder: longest row in tokens; none = what the model can read")
    disable_dropout: bool = option(True, "no dropout in updates, so that both sides of a pair are judged alike")
    normalise: bool = option(True, "save the model so that its scores have mean 0 and standard deviation 1")
    reference_pairs: int = option(512, "training pairs on whose completions that mean and deviation are measured")
    eval_pairs: int = option(1024, "held-out pairs that are judged, at most")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "batch_size", "reference_pairs", "eval_pairs", why="it is a count")
        at_least(self, 1, "encoder_layers", "encoder_heads", "encoder_embd", "encoder_length", why="it is a count")
        at_least(self, 0, "center_rewards_coefficient", why="it cannot be negative")
        positive(self, "margin", why="pairs that are no distance apart teach nothing")
        one_of(self, "loss_type", "bt", "margin", "hinge")
        one_of(self, "body", "model", "encoder")
        if not 0 <= self.encoder_dropout < 1:
            refuse("encoder_dropout", self.encoder_dropout, "at least 0 and below 1", "it is a share")
        if self.encoder_embd % self.encoder_heads:
            refuse("encoder_embd", self.encoder_embd, f"a multiple of encoder_heads ({self.encoder_heads})",
                   "every head gets an equal part of the width")  # fmt: skip
        if self.grad_accum_steps > self.batch_size:
            refuse("grad_accum_steps", self.grad_accum_steps, f"at most batch_size ({self.batch_size})",
                   "every micro-batch needs a pair")  # fmt: skip
