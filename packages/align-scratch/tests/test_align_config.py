"""Options: every one is documented, has a default that works, and refuses what makes no sense by its name."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from typing import Any

import pytest

import align_scratch.config
from align_scratch.config.grpo import GRPOConfig
from align_scratch.config.sft import SFTConfig
from align_scratch.config.tasks import CorpusConfig, SortConfig

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.iter_modules(align_scratch.config.__path__, "align_scratch.config.")
]
CONFIGS = [
    value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__
]


@pytest.mark.parametrize("cls", CONFIGS)
def test_options_are_frozen_and_documented(cls: Any) -> None:
    options = cls()
    for field in dataclasses.fields(cls):
        text = field.metadata["help"]
        assert text
        assert "\n" not in text
        assert len(text) < 100
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, field.name, getattr(options, field.name))
    with pytest.raises(TypeError):
        cls(1)


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (SortConfig, {"order": "sideways"}, "order: got 'sideways', must be ascending or descending"),
        (SortConfig, {"mixed": 1.1}, "mixed: got 1.1, must be between 0.0 and 1.0"),
        (SortConfig, {"mixed": float("nan")}, "mixed: got nan"),
        (CorpusConfig, {"held_out": 0.9}, "held_out: got 0.9, must be between 0.0 and 0.5"),
        (CorpusConfig, {"passage_chars": 0}, "passage_chars: got 0, must be at least 1"),
        (SFTConfig, {"steps": 0}, "steps: got 0, must be at least 1"),
        (SFTConfig, {"lr": 0.0}, "lr: got 0.0, must be positive and finite"),
        (SFTConfig, {"lr": float("inf")}, "lr: got inf"),
        (SFTConfig, {"grad_clip": 0.0}, "grad_clip: got 0.0, must be positive"),
        (SFTConfig, {"beta2": 1.0}, "beta2: got 1.0, must be at least 0 and below 1"),
        (SFTConfig, {"stop_at": 1.5}, "stop_at: got 1.5, must be between 0.0 and 1.0"),
        (SFTConfig, {"batch_size": 2, "grad_accum_steps": 3}, r"grad_accum_steps: got 3, must be at most batch"),
        (SFTConfig, {"warmup_steps": -1}, "warmup_steps: got -1, must be at least 0"),
        (GRPOConfig, {"group_size": 1}, "group_size: got 1, must be at least 2: .*raise group_size"),
        (GRPOConfig, {"minibatches": 65}, r"minibatches: got 65, must be at most prompts_per_step \(64\)"),
        (GRPOConfig, {"loss_type": "ppo"}, "loss_type: got 'ppo', must be one of dapo, grpo, dr_grpo"),
        (GRPOConfig, {"scale_rewards": "max"}, "scale_rewards: got 'max', must be one of group, batch, none"),
        (GRPOConfig, {"kl_estimator": "k9"}, "kl_estimator: got 'k9', must be one of k1, k2, k3"),
        (GRPOConfig, {"clip_low": 1.2}, "clip_low: got 1.2, must be between 0.0 and 1.0"),
        (GRPOConfig, {"clip_high": -0.1}, "clip_high: got -0.1, must be positive"),
        (GRPOConfig, {"kl_coef": -1.0}, "kl_coef: got -1.0, must be at least 0"),
        (GRPOConfig, {"max_new_tokens": 0}, "max_new_tokens: got 0, must be at least 1"),
        (GRPOConfig, {"track_kl": -1}, "track_kl: got -1, must be at least 0"),
    ],
)
def test_nonsense_is_refused_by_name(cls: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**wrong)
