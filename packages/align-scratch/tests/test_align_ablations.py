"""The ready ablation file: every cell can be planned, and is what its comment says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from align_scratch.ablations import GRPO
from align_scratch.config.grpo import GRPOConfig

pytest.importorskip("scratch_cli", reason="ablations are run by the host")

from scratch_cli.ablation import grid, jobs
from scratch_cli.registry import discover


def test_it_is_a_file_of_this_package() -> None:
    offer = discover(only=["align-scratch"]).find_offer("ablation", "grpo-ablations")
    assert offer.load() == GRPO
    read = grid.read(GRPO)
    assert f"{len(read.cells)} cells" in offer.summary
    assert len(read.config.seeds) >= 3


def test_every_trainer_option_is_one() -> None:
    tables = tomllib.loads(GRPO.read_text("utf-8"))
    base = {key: value for key, value in tables["base"]["trainer"].items() if key != "name"}
    for cell in grid.read(GRPO).cells:
        options = {k.removeprefix("trainer."): v for k, v in cell.options.items() if k.startswith("trainer.")}
        assert GRPOConfig(**{**base, **options}) != GRPOConfig(**base) or not options


def test_every_cell_can_be_planned_from_shared_warm_starts(tmp_path: Path) -> None:
    pytest.importorskip("gpt_scratch", reason="the file trains its model")
    pytest.importorskip("tokenizers_scratch", reason="the file uses its tokenizer")
    read = grid.read(GRPO)
    schedule = jobs.schedule(read, discover(), tmp_path, seeds=(1, 2))
    assert not schedule.same
    assert len(schedule.cells) == 2 * len(read.cells)
    assert len(schedule.warm) == 2 * 3  # the default start and two weaker ones, for each seed
    assert not list(tmp_path.iterdir())
