"""The options that `grpo`, `rloo` and `reinforce` share beyond those of every policy trainer."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import at_least, option, refuse, within
from align_scratch.config.policy import PolicyConfig


@dataclass(frozen=True, kw_only=True)
class PolicyGradientConfig(PolicyConfig):
    """What is learned from, and how near the reference model the policy is held."""

    mask_truncated: bool = option(False, "learn nothing from completions that were cut off")
    kl_coef: float = option(0.0, "weight of the divergence from the reference model")
    sync_ref_model: bool = option(False, "let the reference follow the policy")
    ref_model_sync_steps: int = option(512, "sync_ref_model: steps between two syncs")
    ref_model_mixup_alpha: float = option(0.6, "sync_ref_model: the policy's share in the new reference; 1 = a copy")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "kl_coef", why="it cannot be negative")
        at_least(self, 1, "ref_model_sync_steps", why="it is a count")
        within(self, 0.0, 1.0, "ref_model_mixup_alpha", why="it is a share")
        if self.sync_ref_model and self.kl_coef == 0:
            refuse("sync_ref_model", True, "false while kl_coef is 0",
                   "no loss looks at the reference, so there is nothing to synchronise")  # fmt: skip

    @property
    def needs_reference(self) -> bool:
        return self.kl_coef > 0 or super().needs_reference
