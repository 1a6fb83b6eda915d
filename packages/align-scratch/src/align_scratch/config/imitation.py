"""The options that `expert-iteration` and `best-of-n` share beyond those of every policy trainer."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import at_least, option
from align_scratch.config.policy import PolicyConfig


@dataclass(frozen=True, kw_only=True)
class ImitationConfig(PolicyConfig):
    """How what was kept of the samples is imitated."""

    lr: float = option(1e-3, "peak learning rate of AdamW")
    epochs: int = option(1, "passes over what is kept of a batch")
    batch_size: int = option(64, "kept completions in an optimizer update, at most")
    mask_truncated: bool = option(True, "keep no completion that was cut off: it does not show how to end")
    disable_dropout: bool = option(False, "no dropout while imitating")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "epochs", "batch_size", why="it is a count")
