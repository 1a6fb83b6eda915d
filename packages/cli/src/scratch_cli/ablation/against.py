"""The metric against a number of the runs, on a logarithmic axis: what the numbers trained buy, say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scratch_cli.ablation.execute import Outcome
from scratch_cli.ablation.grid import Ablation
from scratch_cli.ablation.jobs import Schedule
from scratch_cli.ablation.results import Row
from scratch_cli.charts import inert, pygal


@dataclass(frozen=True, kw_only=True)
class Point:
    """One cell."""

    series: str
    x: float
    values: Sequence[float]
    """The metric, one a seed."""


def against(
    ablation: Ablation, schedule: Schedule, outcomes: Mapping[str, Outcome], found: Sequence[Row]
) -> str | None:
    """The chart that `ablation.x` asks for, as SVG; None if it asks for none, or no run has that number."""
    name, points = ablation.config.x, []
    for row in found:
        jobs = [schedule.cells[row.label, seed] for seed in row.values]
        results = [outcomes[str(job.path)].result or {} for job in jobs]
        xs = [result[name] for result in results if isinstance(result.get(name), (int, float))]
        if xs and min(xs) > 0:
            trainer = jobs[0].plan.trainer.spelled
            points.append(Point(series=trainer, x=statistics.fmean(xs), values=list(row.values.values())))
    return inert(drawn(points, x=name, y=ablation.config.metric)) if points else None


def drawn(points: Sequence[Point], *, x: str, y: str) -> Any:
    """A line a series through the means, and at each a bar from the lowest to the highest seed.

    Series of one point have no line. The axis of `x` has a mark at each power of ten.
    """
    chart = pygal().XY(
        js=(), width=900, height=520, dots_size=3, legend_at_bottom=True, allow_interruptions=True,
        x_title=x.replace("_", " "), y_title=f"{y}: mean over seeds, lowest to highest",
        disable_xml_declaration=True,
    )  # fmt: skip
    low = math.floor(math.log10(min(point.x for point in points)))
    high = math.ceil(math.log10(max(point.x for point in points)))
    # pygal's logarithmic axis is that of y, so the logarithms are drawn and labelled with what they are of.
    chart.xrange = (low, max(high, low + 1))
    chart.x_labels = [{"value": power, "label": f"{10**power:,}"} for power in range(low, max(high, low + 1) + 1)]
    chart.x_value_formatter = lambda value: f"{10**value:,.6g}"
    for series in dict.fromkeys(point.series for point in points):
        line: list[Any] = []
        bars: list[Any] = []
        for point in sorted((p for p in points if p.series == series), key=lambda p: p.x):
            at = math.log10(point.x)
            line.append((at, statistics.fmean(point.values)))
            bars += [None, (at, min(point.values)), (at, max(point.values))]
        chart.add(series, [*line, *bars])
    return chart
