"""Trainers `tinylora` and `lora`: GRPO with other defaults. What the host makes of their names is tested beside it."""

from __future__ import annotations

import dataclasses

import pytest

from align_scratch.config.grpo import GRPOConfig
from papers_scratch.config.recipes import LoRATrainerConfig, TinyLoRATrainerConfig


@pytest.mark.parametrize(("cls", "changed"), [(TinyLoRATrainerConfig, 0.05), (LoRATrainerConfig, 5e-3)])
def test_options_are_grpos_with_other_defaults(cls: type[GRPOConfig], changed: float) -> None:
    own, theirs = dataclasses.asdict(cls()), dataclasses.asdict(GRPOConfig())
    assert own.keys() == theirs.keys()
    assert {key for key in own if own[key] != theirs[key]} == {"steps", "lr"}
    assert own["lr"] == changed
    with pytest.raises(ValueError, match="group_size"):
        cls(group_size=1)
