"""What the runs say: means over seeds with t intervals, and differences to the first cell, paired by seed.

Runs of one setting differ from seed to seed, often by as much as settings differ. So a difference counts only if its
interval leaves out 0; otherwise the verdict is "not separated", which is a result. Differences are paired: cell and
base share the seed, and the warm start unless they differ in that, which takes what the seed alone does out of them.

Two things are refused. Fewer than three seeds get no verdict: an interval from two rests on one number. And values that
are all equal get no interval: their standard deviation of 0 would claim certainty, where it only says that the metric
is too coarse, or saturated, to show how seeds differ.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scratch_cli import jsonl
from scratch_cli.ablation.execute import Outcome
from scratch_cli.ablation.grid import FEW_SEEDS, Ablation
from scratch_cli.ablation.jobs import Schedule
from scratch_cli.errors import PluginError, UsageError
from scratch_cli.registry import nearest

LEVEL = 0.95
ROUNDING = 1e-9
"""What equal values may differ by."""
BETTER, WORSE, NOT_SEPARATED, FAILED, NO_BASE = "better", "worse", "not separated", "failed", "base failed"
FEW, NO_SPREAD = "too few seeds", "no spread"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds. The interval is None where there are fewer than two, or where all their values are equal."""

    mean: float
    interval: tuple[float, float] | None
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell."""

    label: str
    values: Mapping[int, float]
    """Seed -> metric after the last step."""
    estimate: Estimate | None
    difference: Estimate | None
    """To the first cell, over seeds that both have."""
    verdict: str
    """Empty for the first cell; else what `verdict` says, FAILED, or NO_BASE if no seed has both."""
    errors: Mapping[int, str]
    """Seed -> why its run failed."""
    alarms: int
    """How many were raised in all of its runs."""
    seconds: float | None
    """Mean time of the training after the warm start."""


def require_scipy() -> None:
    """Raises PluginError, saying how to install it; asked before anything is run."""
    try:
        import scipy.stats  # noqa: F401
    except ImportError:
        raise PluginError("scratch ablate: needs scipy for its intervals: pip install 'scratch-cli[ablate]'") from None


def estimate(values: Sequence[float]) -> Estimate:
    """The mean, and Student's interval around it: mean +- t(n - 1) s / sqrt(n)."""
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    if spread <= ROUNDING * max(1.0, abs(mean)):
        return Estimate(mean=mean, interval=None, seeds=len(values))
    from scipy.stats import t

    half = float(t.ppf(0.5 + LEVEL / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return Estimate(mean=mean, interval=(mean - half, mean + half), seeds=len(values))


def verdict(difference: Estimate, better: str) -> str:
    """Whether cell and base are told apart: BETTER, WORSE or NOT_SEPARATED; FEW if there are too few seeds to say, and
    NO_SPREAD if all differ by the same, so that how far seeds differ is not known."""
    if difference.seeds < FEW_SEEDS:
        return FEW
    if difference.interval is None:
        return NO_SPREAD if abs(difference.mean) > ROUNDING else NOT_SEPARATED
    low, high = difference.interval
    if low <= 0 <= high:
        return NOT_SEPARATED
    return BETTER if (low > 0) == (better == "higher") else WORSE


def rows(ablation: Ablation, schedule: Schedule, outcomes: Mapping[str, Outcome], seeds: Sequence[int]) -> list[Row]:
    """A row for each cell that was run, the first one first. Raises UsageError if no run has the metric."""
    found: list[Row] = []
    base: Mapping[int, float] = {}
    for cell in ablation.cells:
        if cell.label in schedule.same:
            continue
        of_cell = {seed: outcomes[str(schedule.cells[cell.label, seed].path)] for seed in seeds}
        results = {seed: outcome.result for seed, outcome in of_cell.items() if outcome.result is not None}
        errors = {seed: outcome.error for seed, outcome in of_cell.items() if outcome.result is None}
        values: dict[int, float] = {}
        for seed, result in results.items():
            value = result["after"].get(ablation.config.metric)
            if isinstance(value, (int, float)) and math.isfinite(value):
                values[seed] = float(value)
            else:
                check_metric(ablation, result)
                errors[seed] = f"{ablation.config.metric} is {value}"
        first = not found
        base = values if first else base
        pairs = [value - base[seed] for seed, value in values.items() if seed in base]
        difference = estimate(pairs) if pairs and not first else None
        said = FAILED if errors else verdict(difference, ablation.config.better) if difference else NO_BASE
        times = [result["stages"][-1]["seconds"] for result in results.values()]
        found.append(
            Row(
                label=cell.label,
                values=values,
                estimate=estimate(list(values.values())) if values else None,
                difference=difference,
                verdict="" if first and not errors else said,
                errors=errors,
                alarms=sum(len(result.get("alarms", ())) for result in results.values()),
                seconds=statistics.fmean(times) if times else None,
            )
        )
    return found


def check_metric(ablation: Ablation, result: Mapping[str, Any]) -> None:
    """Raises UsageError if the evaluations of a cell's run do not have the metric; asked as soon as one has ended."""
    metric, after = ablation.config.metric, result["after"]
    if metric not in after:
        raise UsageError(
            f"ablation.metric: evaluations here have no {metric!r}{nearest(metric, after)}; they have "
            f"{', '.join(after)}. What is finished is not run again"
        )


# --- as files and text -----------------------------------------------------------------------------------------------


def as_mapping(ablation: Ablation, schedule: Schedule, found: Sequence[Row], seeds: Sequence[int]) -> dict[str, Any]:
    """What results.json holds."""
    return {
        "ablation": ablation.name,
        "about": ablation.config.about,
        "metric": ablation.config.metric,
        "better": ablation.config.better,
        "seeds": list(seeds),
        "level": LEVEL,
        "cells": [
            {
                **asdict(row),
                "options": dict(next(cell.options for cell in ablation.cells if cell.label == row.label)),
                "runs": {seed: str(schedule.cells[row.label, seed].path) for seed in seeds},
            }
            for row in found
        ],
        "equal_cells": dict(schedule.same),
    }


def markdown(ablation: Ablation, schedule: Schedule, found: Sequence[Row], seeds: Sequence[int]) -> str:
    """The table, and how to read it."""
    metric = ablation.config.metric
    head = ["cell", f"{metric}, mean", "95 % interval", "by seed", f"difference to {found[0].label}", "95 % interval",
            "verdict", "s", "alarms"]  # fmt: skip
    body = [_cells(row) for row in found]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * 2 + "---|" + "---:|" * 2 + "---|---:|---:|"]
    lines += ["| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |" for cells in body]
    return "\n".join([*lines, "", *_notes(schedule, found, seeds)])


def _cells(row: Row) -> list[str]:
    mean, interval = _shown(row.estimate)
    difference, apart = _shown(row.difference, "+")
    failed = len(row.errors)
    said = f"{failed} of {failed + len(row.values)} failed" if failed else row.verdict
    by_seed = " ".join(f"{value:.3f}" for value in row.values.values())
    seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
    return [row.label, mean, interval, by_seed, difference, apart, said, seconds, str(row.alarms or "")]


def _shown(found: Estimate | None, sign: str = "") -> tuple[str, str]:
    if found is None:
        return "", ""
    if found.interval is None:
        return f"{found.mean:{sign}.3f}", ""
    low, high = found.interval
    return f"{found.mean:{sign}.3f}", f"{low:{sign}.3f} to {high:{sign}.3f}"


def _notes(schedule: Schedule, found: Sequence[Row], seeds: Sequence[int]) -> list[str]:
    said = [row.verdict for row in found[1:]]
    apart = sum(word in (BETTER, WORSE) for word in said)
    notes = [
        f"{len(seeds)} seeds; a difference is taken between runs of one seed. {apart} of {len(said)} differences are "
        f"separated from 0; of {len(said)} that are none, {0.05 * len(said):.1f} would be by chance."
    ]
    if len(seeds) < FEW_SEEDS:
        notes.append(f"With fewer than {FEW_SEEDS} seeds nothing here tells a difference from luck.")
    if any(row.verdict == NO_SPREAD for row in found):
        notes.append(
            f"{NO_SPREAD!r}: the difference is the same with every seed, so no interval can be computed: it may well "
            "be real, but nothing here says how much of it is."
        )
    notes += [f"{label!r} is equal to {other!r} and was not run again." for label, other in schedule.same.items()]
    for row in found:
        notes += [f"{row.label}, seed {seed} failed: {error}" for seed, error in row.errors.items()]
    return notes


def bars(ablation: Ablation, found: Sequence[Row]) -> str:
    """Means with their intervals as SVG."""
    from scratch_cli import charts

    chart = charts.pygal().HorizontalBar(
        js=(), width=900, height=120 + 26 * len(found), show_legend=False, no_data_text="", print_values=False,
        x_title=f"{ablation.config.metric}, mean over seeds and 95 % interval",
    )  # fmt: skip
    shown = [row for row in reversed(found) if row.estimate is not None]  # it draws from below
    chart.x_labels = [row.label for row in shown]
    chart.add(ablation.config.metric, [_bar(row.estimate) for row in shown if row.estimate is not None])
    return charts.inert(chart)


def _bar(found: Estimate) -> Any:
    if found.interval is None:
        return found.mean
    return {"value": found.mean, "ci": {"low": found.interval[0], "high": found.interval[1]}}


def curves(ablation: Ablation, schedule: Schedule, found: Sequence[Row]) -> str | None:
    """The metric while training, a line a cell, means over its seeds; None if it was measured at the ends only."""
    from scratch_cli import charts

    chart = charts.pygal().XY(
        js=(), width=900, height=420 + 14 * len(found), show_dots=False, no_data_text="", legend_at_bottom=True,
        legend_at_bottom_columns=3, x_title="step", y_title=f"{ablation.config.metric}, mean over seeds",
    )  # fmt: skip
    longest = 0
    for row in found:
        points = _curve([schedule.cells[row.label, seed].path for seed in row.values], f"eval/{ablation.config.metric}")
        longest = max(longest, len(points))
        chart.add(row.label, points)
    return charts.inert(chart) if longest > 2 else None


def _curve(runs: Sequence[Path], key: str) -> list[tuple[int, float]]:
    """(step, mean) at every step that all runs have."""
    by_step: dict[int, list[float]] = {}
    for run in runs:
        for row in jsonl.read(run / "metrics.jsonl"):
            if row.get("stage") == "train" and isinstance(row.get(key), (int, float)):
                by_step.setdefault(int(row["step"]), []).append(row[key])
    return [(step, statistics.fmean(values)) for step, values in sorted(by_step.items()) if len(values) == len(runs)]
