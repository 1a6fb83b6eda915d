"""Options refuse what makes no sense, and say which and why."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from gpt_scratch.config import BigramConfig, GPTConfig, PretrainConfig


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (GPTConfig, {"n_layer": 0}, "n_layer: got 0, must be at least 1"),
        (GPTConfig, {"n_embd": 65}, r"n_embd: got 65, must be a multiple of n_head \(4\)"),
        (GPTConfig, {"n_head": 3}, "n_embd: got 64"),
        (GPTConfig, {"n_head": 0}, "n_head: got 0"),
        (GPTConfig, {"block_size": -1}, "block_size: got -1"),
        (GPTConfig, {"dropout": 1.0}, "dropout: got 1.0"),
        (GPTConfig, {"dropout": math.nan}, "dropout: got nan"),
        (BigramConfig, {"init_std": -0.1}, "init_std: got -0.1"),
        (PretrainConfig, {"steps": 0}, "steps: got 0"),
        (PretrainConfig, {"batch_size": 0}, "batch_size: got 0"),
        (PretrainConfig, {"batch_size": 2, "grad_accum_steps": 3}, r"grad_accum_steps: got 3, .*batch_size \(2\)"),
        (PretrainConfig, {"context": 0}, "context: got 0"),
        (PretrainConfig, {"lr": 0.0}, "lr: got 0.0"),
        (PretrainConfig, {"lr": math.nan}, "lr: got nan"),
        (PretrainConfig, {"lr": math.inf}, "lr: got inf"),
        (PretrainConfig, {"min_lr_ratio": 1.5}, "min_lr_ratio: got 1.5"),
        (PretrainConfig, {"warmup_ratio": 1.0}, "warmup_ratio: got 1.0"),
        (PretrainConfig, {"schedule": "cosin"}, "schedule: got 'cosin', must be one of cosine, linear, constant"),
        (PretrainConfig, {"weight_decay": -1.0}, "weight_decay"),
        (PretrainConfig, {"beta1": 1.0}, "beta1"),
        (PretrainConfig, {"beta2": -0.5}, "beta2"),
        (PretrainConfig, {"grad_clip": -1.0}, "grad_clip"),
        (PretrainConfig, {"eval_tokens": 1}, "eval_tokens"),
    ],
)
def test_bad_values_are_refused(cls: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**values)


@pytest.mark.parametrize("cls", [GPTConfig, BigramConfig, PretrainConfig])
def test_configs_are_frozen_keyword_only_and_explain_themselves(cls: Any) -> None:
    config = cls()
    for field in dataclasses.fields(config):
        assert field.kw_only
        assert len(field.metadata["help"]) > 10
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, getattr(config, field.name))
