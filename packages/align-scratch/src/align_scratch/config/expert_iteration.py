"""The options of expert iteration."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import at_least, option, refuse
from align_scratch.config.imitation import ImitationConfig


@dataclass(frozen=True, kw_only=True)
class ExpertIterationConfig(ImitationConfig):
    """Trainer `expert-iteration`: sample, keep what is correct, imitate it, repeat."""

    steps: int = option(40, "iterations: one batch of samples, and the imitation of what was correct in it")
    prompts_per_step: int = option(512, "prompts in an iteration (also known as batch_per_ei)")
    group_size: int = option(4, "completions sampled for each prompt (also known as num_rollouts)")
    min_reward: float | None = option(None, "least reward of what is kept; none = it must be correct")
    max_per_prompt: int | None = option(None, "different correct completions kept for a prompt; none = all of them")
    from_base: bool = option(False, "each iteration imitates from the starting weights anew, as STaR; samples do not")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "max_per_prompt", why="it is a count")
        if self.reward_model is not None and self.min_reward is None:
            refuse("min_reward", None, "a number where there is a reward_model",
                   "its scores have a mean near 0 and a deviation near 1; what is correct it does not say")  # fmt: skip
