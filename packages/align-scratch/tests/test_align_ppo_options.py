"""No dead options: each of PPO, expert iteration and best of n changes what a short run says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from align_scratch.best_of_n import BestOfN
from align_scratch.config.best_of_n import BestOfNConfig
from align_scratch.config.expert_iteration import ExpertIterationConfig
from align_scratch.config.ppo import PPOConfig
from align_scratch.expert_iteration import ExpertIteration
from align_scratch.ppo import PPO
from align_scratch.reward_model import RewardModel

Parts = Callable[..., dict[str, Any]]
RUN = "<a run of trainer reward>"
SMALL = {"steps": 3, "prompts_per_step": 12, "warmup_steps": 0, "lr": 2e-2}
GROUPS = SMALL | {"group_size": 6, "mask_truncated": False}
SHARED = {
    "lr": 1e-2,
    "beta1": 0.5,
    "beta2": 0.5,
    "weight_decay": 1.0,
    "warmup_steps": 2,
    "min_lr_ratio": 1.0,
    "grad_clip": 1e-3,
    "prompts_per_step": 8,
    "group_size": 2,
    "max_new_tokens": 2,
    "track_kl": 0,
}
CASES: dict[Any, tuple[type, dict[str, Any], dict[str, Any]]] = {
    PPO: (
        PPOConfig,
        SMALL | {"minibatches": 2, "epochs_per_batch": 3, "lr": 5e-2},  # far enough for every clip to bite
        SHARED
        | {
            "epochs_per_batch": 1,
            "minibatches": 3,
            "clip": 0.01,
            "dual_clip": 1.21,
            "clip_value": None,
            "vf_coef": 10.0,
            "ent_coef": 1.0,
            "gamma": 0.5,
            "lam": 0.1,
            "whiten_advantages": False,
            "whiten_rewards": True,
            "bootstrap_truncated": True,
            "kl_coef": 1.0,
            "kl_estimator": "k3",
            "kl_target": 1e-3,
            "missing_eos_penalty": 1.0,
            "reward_model": RUN,
            "normalize_scores": True,
            "clip_scores": 0.1,
            "value_trunk": "own",
            "value_lr_ratio": 1.0,
            "adam_eps": 1.0,
        },
    ),
    ExpertIteration: (
        ExpertIterationConfig,
        GROUPS,
        SHARED
        | {
            "epochs": 2,
            "batch_size": 2,
            "min_reward": 0.0,
            "max_per_prompt": 1,
            "from_base": True,
            "mask_truncated": True,
        },
    ),
    BestOfN: (
        BestOfNConfig,
        GROUPS,
        SHARED
        | {
            "epochs": 2,
            "batch_size": 2,
            "drop_zero_variance": False,
            "mask_truncated": True,
            "reward_model": RUN,
            "curve_prompts": 0,
        },
    ),
}
ELSEWHERE = {"steps", "grad_accum_steps", "disable_dropout", "kl_horizon", "too_long", "value_head", "reward_model"}
"""Seen to work by other tests: a split must change nothing, the toy model has no dropout, a horizon needs a target, and
some want long prompts, a finished run of PPO, or in expert iteration a least reward beside them."""


def run(trainer: Any, config: Any, parts: Parts, toy_task: Any) -> list[dict[str, Any]]:
    built = trainer(config, **parts(toy_task(lambda text: float(text[:1] > "m") - 0.1 * (text[-1:] > "m"))))
    found = [dict(metrics) for metrics in built.train()] + [dict(built.evaluate())]
    return [{name: value for name, value in metrics.items() if not name.startswith("time/")} for metrics in found]


@pytest.mark.parametrize("trainer", CASES)
def test_every_option_changes_something(
    parts: Parts, toy_task: Any, tmp_path: Path, tokenizer: Any, trainer: Any
) -> None:
    cls, small, changes = CASES[trainer]
    assert {field.name for field in dataclasses.fields(cls)} - ELSEWHERE == changes.keys() - ELSEWHERE
    shape = {"vocab_size": tokenizer.vocab_size, "n_layer": 1, "n_head": 2, "n_embd": 8, "max_length": 64}
    RewardModel.on_encoder(shape | {"dropout": 0.0}, tokenizer).save(tmp_path / "trainer")
    plain = run(trainer, cls(**small), parts, toy_task)
    assert plain == run(trainer, cls(**small), parts, toy_task)
    for name, value in changes.items():
        value = str(tmp_path) if value == RUN else value
        assert run(trainer, cls(**small | {name: value}), parts, toy_task) != plain, name


def test_a_horizon_changes_the_weight(parts: Parts, toy_task: Any) -> None:
    runs = [run(PPO, PPOConfig(**SMALL, kl_target=1e-3, kl_horizon=horizon), parts, toy_task) for horizon in (1e2, 1e4)]
    assert runs[0] != runs[1]
