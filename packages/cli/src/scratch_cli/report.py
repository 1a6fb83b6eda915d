"""`report.html`: one file that opens anywhere, without network and without scripts.

Everything a model wrote goes through autoescaping, and the page forbids scripts and foreign content by its own policy,
so a hostile completion stays text. Curves are SVG inside the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from scratch_cli import durable, jsonl, summary
from scratch_cli.progress import duration
from scratch_cli.rollouts import is_number, reward_parts

if TYPE_CHECKING:
    from scratch_cli.plan import Plan
    from scratch_cli.rundir import RunDirectory

CURVES: Sequence[tuple[str, Sequence[str]]] = (
    ("Reward", ("reward",)),
    ("Accuracy on held-out data", ("eval/greedy", "eval/sampled", "eval/accuracy")),
    ("Loss", ("loss",)),
    ("Loss on held-out data", ("eval/loss",)),
    ("KL from the starting model", ("kl",)),
    ("Entropy", ("entropy",)),
    ("Groups whose rewards are all equal", ("frac_reward_zero_std",)),
    ("Completion length", ("completions/mean_length",)),
    ("Completions cut off", ("completions/clipped_ratio",)),
    ("Ratios that are clipped", ("clip_ratio/region_mean",)),
    ("Largest gap between sampled and scored log-probability", ("sampling/sampling_logp_difference/max",)),
    ("Share of right completions while training", ("accuracy",)),
    ("Implicit rewards", ("rewards/chosen", "rewards/rejected")),
    ("Pairs told apart", ("rewards/accuracies", "eval/rewards/accuracies")),
    ("Loss of the value head", ("loss/value_avg",)),
    ("Gradient norm", ("grad_norm",)),
)
PARTS = "Parts of the reward"
"""Caption of the curves `rewards/<name>/mean`, whatever the names."""
MAX_POINTS = 400
MAX_ROLLOUTS = 20


def write(directory: RunDirectory, plan: Plan, result: Mapping[str, Any]) -> None:
    """Write the report of a run from its record. Raises OSError if it cannot be written."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=False, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        resources.files("scratch_cli").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    page = template.render(
        title=directory.path.name,
        achieved=summary.achieved(result),
        card=_card(directory, plan, result),
        curves=[(caption, _svg(lines)) for caption, lines in _curves(list(jsonl.read(directory.metrics)))],
        alarms=[alarm["text"] for alarm in result["alarms"]],
        samples=[_cells(sample) for sample in result["samples"]],
        rollouts=[_cells(rollout) for rollout in jsonl.tail(directory.rollouts, MAX_ROLLOUTS)],
        toml=directory.toml.read_text(encoding="utf-8"),
    )
    durable.write_file(directory.report, page.encode("utf-8", "backslashreplace"))


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the table of samples shows; what a trainer does not say is None."""
    reward, gap = row.get("reward"), row.get("logp_difference")
    parts, advantage, length = row.get("rewards"), row.get("advantage"), row.get("length")
    return {
        "prompt": row.get("prompt", ""),
        "completion": row.get("completion", ""),
        "reward": f"{reward:.2f}" if is_number(reward) else "",
        "answer": row.get("answer", ""),
        "verdict": "right" if row.get("correct") else "wrong" if "correct" in row else "",
        "parts": reward_parts(parts) if isinstance(parts, Mapping) else "",
        "advantage": f"{advantage:+.2f}" if is_number(advantage) else "",
        "length": f"{length}{' cut off' if row.get('truncated') else ''}" if is_number(length) else "",
        "gap": f"{gap:.1e}" if is_number(gap) else "",
    }


def _card(directory: RunDirectory, plan: Plan, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(section.replace("_", " "), c.spelled) for section, c in plan.chosen().items() if c is not None]
    if result["parameters"] is not None:
        rows.append(("parameters", f"{result['parameters']:,}"))
    rows += [("seed", str(plan.run.seed)), ("took", duration(result["seconds"])), ("directory", str(directory.path))]
    versions = directory.tables().get("versions", {})
    return [*rows, ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))]


def _curves(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, list[tuple[float, float]]]]]:
    """Caption and named series of points (step, value); steps of the warm start count from below zero."""
    warm = max((row.get("step", 0) for row in rows if row.get("stage") == "warm_start"), default=0)
    found = []
    parts = sorted({key for row in rows for key in row if key.startswith("rewards/") and key.endswith("/mean")})
    for caption, keys in (CURVES[0], (PARTS, parts), *CURVES[1:]):
        series: dict[str, list[tuple[float, float]]] = {}
        for key in keys:
            for stage, name, shift in (("warm_start", "warm start", -warm), ("train", _name(key), 0)):
                points = [
                    (row["step"] + shift, row[key])
                    for row in rows
                    if row.get("stage") == stage and is_number(row.get(key)) and is_number(row.get("step"))
                ]
                if len(points) > 1:
                    series[name if stage == "train" else f"{name}, {key}"] = _thinned(points)
        if any(not name.startswith("warm start") for name in series) or (caption == "Loss" and series):
            found.append((caption, series))
    return found


def _name(key: str) -> str:
    return key.removeprefix("eval/").removeprefix("rewards/").removesuffix("/mean")


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    stride = math.ceil(len(points) / MAX_POINTS)
    return points if stride == 1 else [*points[:-1:stride], points[-1]]


def _svg(series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """A chart as markup that is safe to stand in the page: no script, no link, no comment."""
    from scratch_cli import charts

    chart = charts.pygal().XY(
        js=(), width=640, height=300, show_dots=False, show_legend=len(series) > 1, legend_at_bottom=True,
        x_title="step", title=None, no_data_text="",
    )  # fmt: skip
    for name, points in series.items():
        chart.add(name, list(points))
    return charts.inert(chart, page=True)
