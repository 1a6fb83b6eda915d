"""The options of REINFORCE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import one_of, option
from align_scratch.config.policy_gradient import PolicyGradientConfig


@dataclass(frozen=True, kw_only=True)
class REINFORCEConfig(PolicyGradientConfig):
    """Trainer `reinforce`: the policy gradient itself, one update for each batch of completions."""

    steps: int = option(200, "rollout batches, each of which gives one optimizer update")
    baseline: Literal["none", "batch", "group"] = option(
        "batch", "what a reward is compared with: nothing, the batch's mean or its group's"
    )
    scale_rewards: Literal["batch", "none"] = option("none", "divide advantages by the batch's standard deviation")
    length_norm: Literal["sum", "tokens", "mean"] = option(
        "sum", "token terms: summed in a completion, or averaged over all tokens or completions"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "baseline", "none", "batch", "group")
        one_of(self, "scale_rewards", "batch", "none")
        one_of(self, "length_norm", "sum", "tokens", "mean")
        if self.baseline == "group":
            self.refuse_group_of_one()
