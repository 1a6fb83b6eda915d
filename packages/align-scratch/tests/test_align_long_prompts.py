"""Prompts that leave no room for a completion: an error, or left out, counted and named, on both sides of the split."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from align_scratch.best_of_n import BestOfN
from align_scratch.config.best_of_n import BestOfNConfig
from align_scratch.config.expert_iteration import ExpertIterationConfig
from align_scratch.config.grpo import GRPOConfig
from align_scratch.config.policy import PolicyConfig
from align_scratch.config.ppo import PPOConfig
from align_scratch.config.reinforce import REINFORCEConfig
from align_scratch.config.rloo import RLOOConfig
from align_scratch.errors import DoesNotFit
from align_scratch.expert_iteration import ExpertIteration
from align_scratch.grpo import GRPO
from align_scratch.ppo import PPO
from align_scratch.reinforce import REINFORCE
from align_scratch.rloo import RLOO
from align_scratch.tasks.problems import Example, Score

SMALL = {"steps": 2, "prompts_per_step": 4, "group_size": 2, "max_new_tokens": 4}
TRAINERS = [
    (GRPO, GRPOConfig), (RLOO, RLOOConfig), (REINFORCE, REINFORCEConfig), (PPO, PPOConfig),
    (ExpertIteration, ExpertIterationConfig), (BestOfN, BestOfNConfig),
]  # fmt: skip


class Task:
    """Prompts of the lengths that are asked for, on both sides."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def examples(self, split: str, /) -> list[Example]:
        return [Example("a" * length, "b", "b") for length in self.lengths]

    def check(self, example: Example, completion: str, /) -> Score:
        return Score(float("b" in completion), "b" in completion)


@pytest.mark.parametrize(("cls", "config"), TRAINERS, ids=[cls.__name__ for cls, _ in TRAINERS])
def test_long_prompts_are_an_error_or_left_out(cls: Any, config: Any, parts: Any) -> None:
    built = parts(Task([5, 60, 61, 62, *range(6, 16)]))  # the toy reads 64 tokens
    with pytest.raises(DoesNotFit, match=r"longest prompt \(62\) .* in training example 4: .*too_long=skip"):
        cls(config(**SMALL), **built)
    with pytest.warns(UserWarning, match="left out") as caught:
        trainer = cls(config(too_long="skip", **SMALL), **built)
    told = [str(warning.message) for warning in caught if "left out" in str(warning.message)]
    assert told[0].startswith("task: left out 2 of 14 training prompts, which have more than 60 tokens")
    assert "the first is example 3, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'..., of 61 tokens" in told[0]
    assert told[1].startswith("task: left out 2 of 14 held-out prompts")
    assert len(trainer.source.prompts) == 12
    assert len(list(trainer.train())) == 2  # no step draws one that is not there
    assert trainer.evaluate()["problems"] == 12


def test_nothing_is_said_where_all_fit_and_an_error_where_none_does(parts: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GRPO(GRPOConfig(too_long="skip", **SMALL), **parts(Task([5, 6, 7, 8])))
    with pytest.raises(DoesNotFit, match=r"none of 3 training prompts leaves room .* only 60 tokens remain"):
        GRPO(GRPOConfig(too_long="skip", **SMALL), **parts(Task([61, 62, 63])))
    with pytest.raises(ValueError, match="too_long: got 'cut', must be one of error, skip"):
        PolicyConfig(too_long="cut")  # type: ignore[arg-type]
