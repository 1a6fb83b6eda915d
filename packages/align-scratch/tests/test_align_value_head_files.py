"""PPO's value function in files: what a finished run keeps of it, and runs that begin with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from align_scratch.config.ppo import PPOConfig
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.ppo import PPO

Parts = Callable[..., dict[str, Any]]
SMALL: dict[str, Any] = {"steps": 2, "prompts_per_step": 16, "warmup_steps": 0, "lr": 1e-2}


def late(text: str) -> float:
    return float(text[:1] > "m")


@pytest.fixture
def trained(parts: Parts, toy_task: Any, tmp_path: Path) -> Callable[..., tuple[PPO, Path]]:
    """A PPO trainer that has learned, and the directory of its run, as far as the value function is in it."""

    def train(**options: Any) -> tuple[PPO, Path]:
        trainer = PPO(PPOConfig(**SMALL | options), **parts(toy_task(late)))
        list(trainer.train())
        trainer.save(tmp_path / "trainer")
        return trainer, tmp_path

    return train


@pytest.mark.parametrize("trunk", ["shared", "own"])
def test_what_is_saved_is_what_is_read(parts: Parts, toy_task: Any, trained: Any, trunk: str) -> None:
    trainer, run = trained(value_trunk=trunk)
    assert {path.name for path in (run / "trainer").iterdir()} == {"value_head.json", "value_head.safetensors"}
    assert bool(trainer.values.head.weight.abs().max() > 0)
    loaded = PPO(PPOConfig(**SMALL, value_trunk=trunk), **parts(toy_task(late)))
    loaded.model.load_state_dict(trainer.model.state_dict())
    loaded.load(run / "trainer")
    rows = trainer.source.sample(0).sequences
    torch.testing.assert_close(loaded._look_back(rows)[1], trainer._look_back(rows)[1], rtol=0, atol=0)


def test_a_run_may_begin_with_the_value_function_of_another(parts: Parts, toy_task: Any, trained: Any) -> None:
    """The first values are the saved ones, not 0; a resumed run has those of its checkpoint."""
    trainer, run = trained()
    config = PPOConfig(**SMALL, value_head=str(run), value_trunk="detached")
    begun = PPO(config, **parts(toy_task(late)))
    assert torch.equal(begun.values.head.weight, trainer.values.head.weight)
    next(iter(begun.train()))
    assert any(abs(record["value"]) > 1e-4 for record in begun.last_rollouts())
    assert not torch.equal(begun.values.head.weight, trainer.values.head.weight)
    resumed = PPO(config, **parts(toy_task(late)))
    resumed.load_state_dict(begun.state_dict())
    assert torch.equal(resumed.values.head.weight, begun.values.head.weight)


def test_what_does_not_fit_is_named(parts: Parts, toy_task: Any, trained: Any, tmp_path: Path) -> None:
    _, run = trained()

    def begin(**options: Any) -> PPO:
        return PPO(PPOConfig(**SMALL | {"value_head": str(run)} | options), **parts(toy_task(late)))

    with pytest.raises(DoesNotFit, match=r"value_head: .*nowhere.trainer holds none; finished runs of trainer ppo do"):
        begin(value_head=str(tmp_path / "nowhere"))
    with pytest.raises(DoesNotFit, match="is of value_trunk=shared; set that here too"):
        begin(value_trunk="own")
    with pytest.raises(DoesNotFit, match="reads 24 features; here are 16"):
        PPO(PPOConfig(**SMALL, value_head=str(run)), **parts(toy_task(late), n_embd=16))
    weights, about = run / "trainer" / "value_head.safetensors", run / "trainer" / "value_head.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"value_head\.safetensors: not readable: its content is not what was saved"):
        begin()
    about.write_text(json.dumps({"format": 9}))
    with pytest.raises(DataError, match=r"value_head\.json: describes no value head of format 1"):
        begin()
