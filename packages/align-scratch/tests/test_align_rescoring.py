"""A run that is paid by a reward model goes on with that one, and with no other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from align_scratch.best_of_n import BestOfN
from align_scratch.config.best_of_n import BestOfNConfig
from align_scratch.config.expert_iteration import ExpertIterationConfig
from align_scratch.config.grpo import GRPOConfig
from align_scratch.config.ppo import PPOConfig
from align_scratch.expert_iteration import ExpertIteration
from align_scratch.grpo import GRPO
from align_scratch.ppo import PPO
from align_scratch.reward_model import RewardModel

Parts = Callable[..., dict[str, Any]]
TRAINERS: dict[str, tuple[Any, Any]] = {
    "grpo": (GRPO, GRPOConfig),
    "ppo": (PPO, PPOConfig),
    "best-of-n": (BestOfN, BestOfNConfig),
    "expert-iteration": (ExpertIteration, partial(ExpertIterationConfig, min_reward=0.0)),
}
SMALL: dict[str, Any] = {"steps": 2, "prompts_per_step": 4, "group_size": 4, "warmup_steps": 0}


def save_reward_model(run: Path, tokenizer: Any, *, seed: int) -> str:
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 8, "max_length": 64, "dropout": 0.0}
    model = RewardModel.on_encoder({"vocab_size": tokenizer.vocab_size, **shape}, tokenizer, seed=seed)
    model.save(run / "trainer")
    return str(run)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_state_that_another_reward_model_paid_for_is_refused(
    parts: Parts, tokenizer: Any, tmp_path: Path, name: str
) -> None:
    build, make = TRAINERS[name]
    config = make(**SMALL, reward_model=save_reward_model(tmp_path, tokenizer, seed=1))
    trainer = build(config, **parts())
    next(iter(trainer.train()))
    state = trainer.state_dict()
    build(config, **parts()).load_state_dict(state)
    save_reward_model(tmp_path, tokenizer, seed=2)
    other = build(config, **parts())
    with pytest.raises(ValueError, match="holds another reward model than the one this run was paid by; put that one"):
        other.load_state_dict(state)
    assert other.step == 0
    del state["scorer"]  # states from before it was recorded
    other.load_state_dict(state)
    assert other.step == 1


def test_without_a_reward_model_there_is_nothing_to_compare(parts: Parts) -> None:
    config = GRPOConfig(**SMALL)
    state = GRPO(config, **parts()).state_dict()
    assert state["scorer"] is None
    GRPO(config, **parts()).load_state_dict(state)
