"""Several demonstrations in one row: the host's own decoder learns from them what it learns from rows of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refusals import TINY

from scratch_cli.main import main


def losses(directory: Path, packing: str) -> list[float]:
    arguments = [argument for argument in TINY if argument != "warm_start.name=none"]
    shape = [*arguments[: arguments.index("trainer.prompts_per_step=4") - 1], "--trainer", "sft"]
    options = ["--set", "trainer.batch_size=12", "--set", f"trainer.packing={packing}", "--set", "run.eval_every=0"]
    assert main([*shape, *options, "--steps", "4", "--out", str(directory)]) == 0
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_shared_rows_give_the_losses_of_single_ones(tmp_path: Path) -> None:
    alone = losses(tmp_path / "alone", "none")
    assert len(alone) == 4
    assert losses(tmp_path / "shared", "shared_rows") == pytest.approx(alone, rel=1e-5)
