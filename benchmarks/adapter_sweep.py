"""How many numbers have to be trained? Accuracy against trainable parameters, by reinforcement and by imitation.

    python benchmarks/adapter_sweep.py --out benchmarks/results
    python benchmarks/adapter_sweep.py --seeds 1 --only lora-xs

The cells are those of `scratch ablate adapter-sweep`, whose file says what they are and where their settings come from.
Here they run in one process, one after another, from one base a seed that stays in memory, and each is also given as a
share of what GRPO gains by training all weights: (cell - base) / (all weights by GRPO - base), seed by seed.

Held-out problems are the same for all and in no training set. Seconds are CPU seconds of the one thread that works,
without evaluations. Prints a Markdown table of means over seeds (lowest to highest). `--out` gets the numbers as JSON
and the chart as SVG; cells that the JSON has already are not run again, so remove it after a change of their settings.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from align_card import Bench, Run, drive, spread, write

from papers_scratch.ablations import ADAPTERS
from scratch_cli.ablation import grid, jobs
from scratch_cli.ablation.against import Point, drawn
from scratch_cli.charts import inert
from scratch_cli.plan import Plan
from scratch_cli.registry import discover

REFERENCE = "base"
LEAST, MOST_NUMBERS = 0.95, 200
"""Share of the gain that must be reached, and by how many numbers at most."""


@dataclass
class Cell(Run):
    """`budget` is the cell's label."""

    numbers: int = 0
    before: float = 0.0


def plans(seeds: Sequence[int]) -> dict[tuple[str, int], jobs.Job]:
    """(label, seed) -> what `scratch ablate` would run; nothing is written."""
    with tempfile.TemporaryDirectory() as nowhere:
        return dict(jobs.schedule(grid.read(ADAPTERS), discover(), Path(nowhere), seeds=seeds).cells)


def base(job: jobs.Job) -> Bench:
    assert job.needs is not None
    assert job.plan.task is not None
    warm = job.needs.plan.trainer
    return Bench(
        job.plan.task.part.name, job.plan.run.seed, warm.part.name,
        task_options=asdict(job.plan.task.config), warm_options=asdict(warm.config),
    )  # fmt: skip


def measured(bench: Bench, label: str, plan: Plan) -> Cell:
    """The cell's run from the base's weights, which it leaves as they are."""
    start, bench.model = bench.model, copy.deepcopy(bench.model)
    try:
        bench.model.load_state_dict(bench.start)
        adapter = None
        if plan.adapter is not None:
            adapter = plan.adapter.part.load()(plan.adapter.config)
            adapter.wrap(bench.model)
        numbers = sum(p.numel() for p in bench.model.parameters() if p.requires_grad)
        trainer = bench.build(plan.trainer.part.name, adapter=adapter, **asdict(plan.trainer.config))
        cell = Cell(bench.task_name, bench.seed, plan.trainer.part.name, label, numbers=numbers)
        drive(trainer, cell, most_rollouts=None, points=1)
        cell.before = cell.curve[0][-1]
        return cell
    finally:
        bench.model = start


def run(seeds: Sequence[int], only: str, known: Sequence[Cell]) -> Iterator[Cell]:
    """Cells of all seeds, reinforcement first: what is known already is given again."""
    done = {(cell.budget, cell.seed): cell for cell in known}
    benches: dict[int, Bench] = {}
    chosen = {key: job for key, job in plans(seeds).items() if only in key[0] or key[0] == REFERENCE}
    # A stable sort: forms in the order of the file, and of each all seeds before the next.
    labels = list(dict.fromkeys(label for label, _ in chosen))
    for (label, seed), job in sorted(chosen.items(), key=lambda item: labels.index(item[0][0])):
        if (label, seed) not in done:
            if seed not in benches:
                benches[seed] = base(job)
            done[label, seed] = measured(benches[seed], label, job.plan)
        yield done[label, seed]


def shares(cells: Sequence[Cell], label: str) -> dict[int, float]:
    """Seed -> the cell's gain as a share of the gain of all weights by GRPO."""
    full = {cell.seed: cell for cell in cells if cell.budget == REFERENCE}
    return {
        cell.seed: (cell.sampled - cell.before) / (full[cell.seed].sampled - full[cell.seed].before)
        for cell in cells
        if cell.budget == label and cell.seed in full
    }


def table(cells: Sequence[Cell]) -> str:
    lines = [
        "| cell | numbers trained | sampled | greedy | share of the full gain | CPU s |",
        "|---|---:|---|---|---|---:|",
    ]
    for label in dict.fromkeys(cell.budget for cell in cells):
        of = [cell for cell in cells if cell.budget == label]
        share = list(shares(cells, label).values())
        named = "grpo, all weights" if label == REFERENCE else label.rsplit(" (", 1)[0]
        lines.append(
            f"| {named} | {of[0].numbers:,} | {spread([cell.sampled for cell in of])} | "
            f"{spread([cell.greedy for cell in of])} | {spread(share) if share else ''} | "
            f"{statistics.mean(cell.seconds for cell in of):.0f} |"
        )
    return "\n".join(lines)


def best(cells: Sequence[Cell]) -> tuple[str, float]:
    """The GRPO cell of at most MOST_NUMBERS numbers whose lowest seed has the largest share, and that share."""
    labels = {cell.budget for cell in cells if cell.trainer == "grpo" and cell.numbers <= MOST_NUMBERS}
    return max(((label, min(shares(cells, label).values())) for label in labels), key=lambda pair: pair[1])


def series(cell: Cell) -> str:
    if cell.trainer in ("grpo", "ppo"):
        return f"reinforcement: {cell.trainer.upper()}"
    return "imitation of the wanted order" if cell.trainer == "hinted-sft" else "control: imitation of both orders"


def points(cells: Sequence[Cell]) -> list[Point]:
    found = {}
    for cell in cells:
        of = [other.sampled for other in cells if other.budget == cell.budget]
        found[cell.budget] = Point(series=series(cell), x=cell.numbers, values=of)
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", default="", help="cells whose label has this in it, and all weights by GRPO")
    parser.add_argument("--out", type=Path, help="directory for the numbers as JSON and the chart")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # notices of adapters: the labels say what they are
    kept = args.out / "adapter_sweep.json" if args.out else None
    known = [Cell(**row) for row in json.loads(kept.read_text("utf-8"))["runs"]] if kept and kept.exists() else []
    cells: list[Cell] = []
    for cell in run(args.seeds, args.only, known):
        cells.append(cell)
        print(
            f"{cell.budget}, seed {cell.seed}: {cell.numbers} numbers, "
            f"sampled {cell.before:.3f} to {cell.sampled:.3f}, greedy {cell.greedy:.3f}, {cell.seconds:.1f} s",
            flush=True,
        )
        if kept:
            fresh = {(c.budget, c.seed) for c in cells}
            write(kept, [*cells, *(c for c in known if (c.budget, c.seed) not in fresh)])
    print(f"\nheld-out accuracy: mean over seeds (lowest to highest)\n\n{table(cells)}\n")
    label, least = best(cells)
    print(f"at most {MOST_NUMBERS} numbers by GRPO: {label}, {least:.3f} of the full gain on the lowest seed")
    if args.out:
        chart = drawn(points(cells), x="numbers trained", y="sampled accuracy on held-out problems")
        (args.out / "adapter_sweep.svg").write_text(inert(chart) + "\n", "utf-8")
    return 1 if least < LEAST else 0


if __name__ == "__main__":
    raise SystemExit(main())
