"""The chart of an ablation's metric against a number of its runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import registry

from scratch_cli.ablation import grid, jobs, results
from scratch_cli.ablation.against import against
from scratch_cli.ablation.execute import Outcome
from scratch_cli.errors import UsageError

TEXT = """
[ablation]
x = "trainable_parameters"
[base.trainer]
name = "climb-warm"
[vary]
"trainer.lr" = [0.2, 0.3]
"""
NUMBERS = {"base": 20_000, "lr=0.2": 13, "lr=0.3": None}


def read(folder: Path, text: str) -> grid.Ablation:
    path = folder / "grid.toml"
    path.write_text(text, "utf-8")
    return grid.read(path)


def drawn(ablation: grid.Ablation) -> str | None:
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    plan = jobs.schedule(ablation, registry(), Path("out"), seeds=(1, 2))
    outcomes = {
        str(job.path): Outcome(
            job=job,
            result={
                "trainable_parameters": NUMBERS[label],
                "after": {"sampled": 0.5 + 0.1 * seed},
                "stages": [{"seconds": 1.0}],
            },
        )
        for (label, seed), job in plan.cells.items()
    }
    return against(ablation, plan, outcomes, results.rows(ablation, plan, outcomes, (1, 2)))


def test_a_line_a_trainer_over_a_logarithmic_axis(tmp_path: Path) -> None:
    chart = drawn(read(tmp_path, TEXT))
    assert chart is not None
    assert "<script" not in chart
    assert "trainable parameters" in chart
    assert "climb-warm" in chart
    for label in ("20,000", "13", "10", "100,000"):  # at the points what was measured; along the axis powers of ten
        assert f">{label}" in chart
    assert "0.65" in chart  # the mean of both seeds


def test_nothing_is_drawn_that_was_not_asked_for(tmp_path: Path) -> None:
    assert drawn(read(tmp_path, TEXT.replace('x = "trainable_parameters"', ""))) is None
    with pytest.raises(UsageError, match=r"ablation\.x"):
        read(tmp_path, TEXT.replace("trainable_parameters", "colour"))
