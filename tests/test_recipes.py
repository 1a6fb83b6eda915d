"""Trainers `tinylora` and `lora`: GRPO with an adapter that the host takes by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scratch_cli.errors import UsageError
from scratch_cli.plan import make_plan
from scratch_cli.registry import discover

SMALL = {
    "model": {"n_layer": 1, "n_head": 2, "n_embd": 16},
    "task": {"length": 3, "n_train": 64, "n_held_out": 16},
    "warm_start": {"steps": 3, "batch_size": 8},
    "trainer": {"prompts_per_step": 4, "group_size": 2},
}


@pytest.mark.parametrize(("name", "lr"), [("tinylora", 0.05), ("lora", 5e-3)])
def test_what_the_name_alone_stands_for(name: str, lr: float) -> None:
    plan = make_plan(discover(), names={"trainer": name})
    assert plan.adapter is not None
    assert plan.adapter.part.name == name
    assert plan.task is not None
    assert plan.task.part.name == "sort"
    assert plan.warm_start is not None
    assert plan.warm_start.part.name == "sft"
    assert plan.warm_start.config.stop_at is None  # to its end: few numbers can only choose what is there
    assert plan.warm_start.config.min_lr_ratio == 0
    assert plan.warm_start.config.steps > 500
    assert plan.trainer.config.lr == lr
    assert plan.trainer.config.kl_coef == 0
    assert plan.trainer.config.loss_type == "dapo"


def test_another_adapter_may_stand_in_but_not_none() -> None:
    plan = make_plan(discover(), names={"trainer": "tinylora", "adapter": "lora-xs"})
    assert plan.adapter is not None
    assert plan.adapter.part.name == "lora-xs"
    with pytest.raises(UsageError, match="adapter"):
        make_plan(discover(), names={"trainer": "tinylora", "adapter": "none"})


@pytest.mark.parametrize(("trainer", "adapter"), [("tinylora", None), ("tinylora", "lora-xs"), ("lora", None)])
def test_runs_from_the_command_line(tmp_path: Path, trainer: str, adapter: str | None) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "scratch_cli", "run", "--trainer", trainer, "--steps", "2", "--out", str(out)]
    command += ["--adapter", adapter] if adapter else []
    for section, options in SMALL.items():
        for key, value in options.items():
            command += ["--set", f"{section}.{key}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert result["parts"]["adapter"] == (adapter or trainer)
    assert [stage["trainer"] for stage in result["stages"]] == ["sft", trainer]
    assert [stage["steps"] for stage in result["stages"]] == [3, 2]
