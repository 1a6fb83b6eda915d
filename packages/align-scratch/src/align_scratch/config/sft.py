"""The options of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import at_least, option, refuse, within
from align_scratch.config.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class SFTConfig(OptimizerConfig):
    """Trainer `sft`: supervised fine-tuning on demonstrations."""

    lr: float = option(5e-3, "peak learning rate of AdamW")
    batch_size: int = option(128, "demonstrations in an optimizer step")
    stop_at: float | None = option(None, "end when sampled accuracy on training prompts reaches this; none = never")
    stop_every: int = option(5, "steps between two looks at that accuracy")
    stop_prompts: int = option(512, "training prompts in one look")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "batch_size", "stop_every", "stop_prompts", why="it is a count")
        within(self, 0.0, 1.0, "stop_at", why="it is a share")
        if self.grad_accum_steps > self.batch_size:
            refuse("grad_accum_steps", self.grad_accum_steps, f"at most batch_size ({self.batch_size})",
                   "every micro-batch needs a row")  # fmt: skip
