"""What `ablate` concludes from results: intervals, paired differences, verdicts, and when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scratch_cli.ablation import grid, results
from scratch_cli.ablation.execute import Outcome
from scratch_cli.ablation.results import BETTER, FAILED, FEW, NO_BASE, NO_SPREAD, NOT_SEPARATED, WORSE, Estimate
from scratch_cli.errors import UsageError


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "grid.toml") -> Path:
    Path(name).write_text(text, "utf-8")
    return Path(name)


def test_intervals_are_students() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    values = [0.91, 0.85, 0.97, 0.93]
    found = results.estimate(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert results.estimate([0.5]) == Estimate(mean=0.5, interval=None, seeds=1)


def test_equal_values_have_no_interval() -> None:
    """A standard deviation of 0 is no certainty: such runs do not show how far seeds differ."""
    assert results.estimate([0.5, 0.5, 0.5]) == Estimate(mean=0.5, interval=None, seeds=3)
    assert results.estimate([0.6 - 0.5, 0.8 - 0.7, 0.9 - 0.8]).interval is None  # equal but for rounding


def test_verdicts() -> None:
    for interval, better, expected in (
        ((0.1, 0.2), "higher", BETTER), ((0.1, 0.2), "lower", WORSE), ((-0.2, -0.1), "higher", WORSE),
        ((-0.2, -0.1), "lower", BETTER), ((-0.1, 0.2), "higher", NOT_SEPARATED), (None, "higher", NO_SPREAD),
    ):  # fmt: skip
        assert results.verdict(Estimate(mean=0.1, interval=interval, seeds=3), better) == expected
        for seeds in (1, 2):
            assert results.verdict(Estimate(mean=0.1, interval=interval, seeds=seeds), better) == FEW
    assert results.verdict(Estimate(mean=0.0, interval=None, seeds=3), "higher") == NOT_SEPARATED


def made(values: dict[str, list[float | None]], seeds: tuple[int, ...] = (1, 2, 3)) -> tuple[Any, ...]:
    """An ablation whose runs gave these values; None is a run that failed."""
    cells = "".join(f'[cells."{label}"]\n"trainer.lr" = {n + 0.5}\n' for n, label in enumerate(list(values)[1:]))
    ablation = grid.read(written(f"[ablation]\nseeds = {list(seeds)}\n{cells}"))
    schedule: Any = SimpleNamespace(cells={}, same={}, warm=())
    outcomes = {}
    for label, of_cell in values.items():
        for seed, value in zip(seeds, of_cell, strict=True):
            job: Any = SimpleNamespace(path=Path(label) / str(seed))
            schedule.cells[label, seed] = job
            result = {"after": {"sampled": value}, "stages": [{"seconds": 2.0}], "alarms": [{}]}
            error = "it broke" if value is None else ""
            outcomes[str(job.path)] = Outcome(job=job, result=None if value is None else result, error=error)
    return ablation, schedule, results.rows(ablation, schedule, outcomes, seeds)


def test_differences_are_paired_by_seed() -> None:
    """Seeds differ by .2 and cells by .02: only pairs tell them apart."""
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    ablation, schedule, rows = made(
        {"base": [0.5, 0.7, 0.9], "a": [0.521, 0.719, 0.92], "b": [0.6, 0.7, 0.8], "c": [0.4, 0.601, 0.799]}
    )
    assert [row.verdict for row in rows] == ["", BETTER, NOT_SEPARATED, WORSE]
    base, a = rows[0].estimate.interval, rows[1].estimate.interval
    assert base[0] < a[0] < base[1]  # the intervals of the cells themselves overlap widely
    assert rows[1].difference.mean == pytest.approx(0.02)
    text = results.markdown(ablation, schedule, rows, (1, 2, 3))
    assert "| a | 0.720 | 0.224 to 1.216 | 0.521 0.719 0.920 | +0.020 | +0.018 to +0.022 | better | 2.0 | 3 |" in text
    assert "2 of 3 differences are separated from 0; of 3 that are none, 0.2 would be by chance" in text
    assert (
        json.loads(json.dumps(results.as_mapping(ablation, schedule, rows, (1, 2, 3))))["cells"][1]["verdict"] == BETTER
    )


def test_differences_that_are_equal_claim_no_certainty() -> None:
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    ablation, schedule, rows = made({"base": [0.4, 0.5, 0.6], "a": [0.5, 0.6, 0.7], "b": [0.4, 0.5, 0.6]})
    assert [row.verdict for row in rows] == ["", NO_SPREAD, NOT_SEPARATED]
    text = results.markdown(ablation, schedule, rows, (1, 2, 3))
    assert "| a | 0.600 | 0.352 to 0.848 | 0.500 0.600 0.700 | +0.100 |  | no spread | 2.0 | 3 |" in text
    assert "0 of 2 differences are separated from 0" in text
    assert "the difference is the same with every seed, so no interval can be computed" in text
    assert "<svg" in results.bars(ablation, rows)

    ablation, schedule, rows = made({"base": [0.4, 0.5], "a": [0.5, 0.6], "b": [0.9, 0.8]}, seeds=(1, 2))
    assert [row.verdict for row in rows] == ["", FEW, FEW]
    assert "nothing here tells a difference from luck" in results.markdown(ablation, schedule, rows, (1, 2))


def test_what_failed_gets_no_verdict() -> None:
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    ablation, schedule, rows = made({"base": [0.5, None, 0.5], "a": [0.6, 0.6, None], "b": [None, None, None]})
    assert [row.verdict for row in rows] == [FAILED] * 3
    assert rows[2].estimate is None
    text = results.markdown(ablation, schedule, rows, (1, 2, 3))
    assert "| 1 of 3 failed |" in text
    assert "| 3 of 3 failed |" in text
    assert "a, seed 3 failed: it broke" in text
    assert "<svg" in results.bars(ablation, rows)


def test_without_a_base_there_is_nothing_to_compare_with() -> None:
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    _, _, rows = made({"base": [None, None], "a": [0.6, 0.7]}, seeds=(1, 2))
    assert [row.verdict for row in rows] == [FAILED, NO_BASE]
    assert rows[1].difference is None
    assert rows[1].estimate is not None


def test_one_seed_says_nothing() -> None:
    ablation, schedule, rows = made({"base": [0.5], "a|b": [0.9]}, seeds=(4,))
    assert rows[1].verdict == FEW
    text = results.markdown(ablation, schedule, rows, (4,))
    assert "nothing here tells a difference from luck" in text
    assert "| a\\|b | 0.900 |  | 0.900 | +0.400 |  | too few seeds |" in text


def test_a_metric_that_is_not_there_is_named() -> None:
    ablation = grid.read(written('[ablation]\nmetric = "samplde"\n[vary]\n"trainer.lr" = [1.0]\n'))
    job: Any = SimpleNamespace(path=Path("x"))
    schedule: Any = SimpleNamespace(cells={("base", 1): job, ("lr=1.0", 1): job}, same={})
    result = {"after": {"greedy": 1.0, "sampled": 1.0}, "stages": [{"seconds": 1.0}]}
    with pytest.raises(UsageError, match="have no 'samplde', did you mean 'sampled'"):
        results.rows(ablation, schedule, {"x": Outcome(job=job, result=result)}, (1,))
