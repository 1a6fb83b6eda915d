"""SDPO against GRPO from one warm start, at half the rollouts; and which of SDPO's parts matter.

    python benchmarks/sdpo_card.py --out benchmarks/results
    python benchmarks/sdpo_card.py --what parts --seeds 1

`budgets`: tasks `sort` (60 % of the demonstrations show the other order) and `add` (two digits, written with zeros in
front). For each seed one warm start by `hinted-sft`, half of whose prompts show a solution; then each trainer with its
own settings (`SETTINGS`: the best that was found for it on seed 1), once for each budget, the learning rate falling to
its end there. The control is fine-tuning on own successes: `expert-iteration`. The must: with half of GRPO's rollouts
SDPO is at least GRPO's equal, by the mean over seeds, at each budget of both tasks.

`parts`: on `sort`, 50 steps of 256 rollouts, the teachers, granularities and divergences of SDPO beside its defaults,
and SDPO through TinyLoRA.

Accuracy is that of sampling on 1,024 held-out problems, the same for all and in no training set; its standard error is
.005 near .97. Seconds are CPU seconds of the one thread that works, without evaluations: on a quiet machine they equal
wall time. Prints Markdown tables; `--out` also gets the numbers as JSON and curves as SVG. Runs that are in that JSON
already are not made again, so what was stopped goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pygal
import torch
from align_card import Bench, Run, drive, spread, write
from pygal.style import Style

from papers_scratch.config.frames import TinyLoRAConfig
from papers_scratch.tinylora import TinyLoRA

TRAINERS = SDPO, GRPO, CONTROL = "sdpo", "grpo", "expert-iteration"
COLOURS = "#d62728", "#1f77b4", "#2ca02c"  # of the trainers: the mean and the seeds
TASKS: Mapping[str, Mapping[str, Any]] = {"sort": {}, "add": {"zero_padded": True}}
WARM_START: Mapping[str, Mapping[str, Any]] = {
    "sort": {"steps": 500},
    "add": {"steps": 2000, "lr": 2e-3, "stop_at": 0.4},
}
"""Of `hinted-sft`. On `sort` imitation settles at the mixture of orders; on `add` it would learn the task itself."""
BUDGETS: Mapping[str, Sequence[int]] = {"sort": (12_800, 25_600), "add": (12_800, 25_600)}
"""Rollouts of SDPO and the control; GRPO has twice as many."""
SETTINGS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    (SDPO, "sort"): {"epochs_per_batch": 4},
    (SDPO, "add"): {"epochs_per_batch": 8, "lr": 3e-4},
    (GRPO, "sort"): {"epochs_per_batch": 2},
    (GRPO, "add"): {"epochs_per_batch": 4},
    (CONTROL, "sort"): {"prompts_per_step": 320, "epochs": 4},
    (CONTROL, "add"): {"prompts_per_step": 320, "epochs": 4},
}
PART, PART_SETTINGS = "part", {"steps": 50, "prompts_per_step": 32, "minibatches": 4}
DEFAULTS = "defaults: frozen teacher, whole vocabulary, reverse KL"
PARTS: Mapping[str, Mapping[str, Any]] = {
    DEFAULTS: {},
    "teacher ema": {"teacher": "ema"},
    "teacher ema, hints rehearsed": {"teacher": "ema", "rehearsal": 1.0},
    "teacher trust_region": {"teacher": "trust_region"},
    "teacher live": {"teacher": "live"},
    "topk 2 with tail": {"distillation": "topk", "top_k": 2},
    "topk 2 without tail": {"distillation": "topk", "top_k": 2, "add_tail": False},
    "sampled token": {"distillation": "sampled"},
    "alpha 0 (forward KL)": {"alpha": 0.0},
    "alpha .5 (Jensen-Shannon)": {"alpha": 0.5},
    "4 passes over each batch": {"epochs_per_batch": 4},
}
THROUGH_TINYLORA = "through TinyLoRA (u 8, r 8), lr .02"


Key = tuple[str, int, str, str]
Known = Mapping[Key, Run]


def key(run: Run) -> Key:
    return run.task, run.seed, run.trainer, run.budget


def bench(task: str, seed: int) -> Bench:
    return Bench(task, seed, "hinted-sft", task_options=TASKS[task], warm_options=WARM_START[task])


def budgets(bench: Bench, known: Known) -> Iterator[Run]:
    """Each trainer at each of its budgets, from the same weights."""
    for name in TRAINERS:
        settings = SETTINGS[name, bench.task_name]
        config = bench.build(name, **settings).config
        for half in BUDGETS[bench.task_name]:
            budget = 2 * half if name == GRPO else half
            run = Run(bench.task_name, bench.seed, name, f"{budget:,}")
            if key(run) not in known:
                bench.model.load_state_dict(bench.start)
                steps = budget // (config.prompts_per_step * config.group_size)
                yield drive(bench.build(name, steps=steps, **settings), run, most_rollouts=None, points=1)


def parts(bench: Bench, known: Known) -> Iterator[Run]:
    """SDPO with one thing changed, and through an adapter."""
    if bench.task_name != "sort":
        return
    for label, options in PARTS.items():
        run = Run(bench.task_name, bench.seed, label, PART)
        if key(run) not in known:
            bench.model.load_state_dict(bench.start)
            yield drive(bench.build(SDPO, **{**PART_SETTINGS, **options}), run, most_rollouts=None, points=5)
    run = Run(bench.task_name, bench.seed, THROUGH_TINYLORA, PART)
    if key(run) not in known:
        bench.model.load_state_dict(bench.start)
        whole, bench.model = bench.model, copy.deepcopy(bench.model)
        adapter = TinyLoRA(TinyLoRAConfig(u=8, r=8))
        adapter.wrap(bench.model)
        yield drive(bench.build(SDPO, adapter=adapter, lr=0.02, **PART_SETTINGS), run, most_rollouts=None, points=5)
        bench.model = whole


MEASURED: Mapping[str, Callable[[Bench, Known], Iterator[Run]]] = {"budgets": budgets, "parts": parts}


def measured(what: Sequence[str], seeds: Sequence[int], tasks: Sequence[str], known: Known) -> Iterator[Run]:
    """All runs that are not known, each behind the warm start that it needs, which is made once."""
    benches: dict[tuple[str, int], Bench] = {}
    for name in what:
        for seed in seeds:
            for task in tasks if name == "budgets" else [task for task in tasks if task == "sort"]:
                if (task, seed) not in benches:
                    benches[task, seed] = bench(task, seed)
                    yield benches[task, seed].warm_start
                yield from MEASURED[name](benches[task, seed], known)


# --- tables


def rows(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body))


def by_seed(runs: Sequence[Run]) -> str:
    return "/".join(f"{run.sampled:.3f}" for run in sorted(runs, key=lambda run: run.seed))


def seconds(runs: Sequence[Run]) -> str:
    return f"{statistics.mean(run.seconds for run in runs):.1f}"


def budget_table(runs: Sequence[Run]) -> str:
    lines = [["task", "trainer", "rollouts", "sampled: mean", "by seed", "greedy: mean", "CPU s"]]
    for group in dict.fromkeys((run.task, run.trainer, run.budget) for run in runs if run.budget != PART):
        of = [run for run in runs if (run.task, run.trainer, run.budget) == group]
        means = [f"{statistics.mean(values):.3f}" for values in zip(*((r.sampled, r.greedy) for r in of), strict=True)]
        lines.append([*group, means[0], by_seed(of), means[1], seconds(of)])
    return rows(lines)


def verdicts(runs: Sequence[Run]) -> list[tuple[bool, str]]:
    """Whether SDPO with half of GRPO's rollouts is at least its equal, at each budget for which there are runs."""
    found = []
    for task, rollouts in BUDGETS.items():
        for half, whole in ((half, 2 * half) for half in rollouts):
            ours = [r.sampled for r in runs if (r.task, r.trainer, r.budget) == (task, SDPO, f"{half:,}")]
            theirs = [r.sampled for r in runs if (r.task, r.trainer, r.budget) == (task, GRPO, f"{whole:,}")]
            if ours and theirs:
                held = statistics.mean(ours) >= statistics.mean(theirs)
                words = "at least equal" if held else "below"
                found.append(
                    (held, f"{task}: SDPO with {half:,} {spread(ours)} {words}: GRPO with {whole:,} {spread(theirs)}")
                )
    return found


def part_table(runs: Sequence[Run]) -> str:
    """Beside the defaults: above or below where all seeds of one are beyond all of the other, else not separated."""
    runs = [run for run in runs if run.budget == PART]
    lines = [["changed", "sampled: mean", "by seed", "best on the way: mean", "beside the defaults", "CPU s"]]
    defaults = [run.sampled for run in runs if run.trainer == DEFAULTS]
    for label in dict.fromkeys(run.trainer for run in runs):
        of = [run for run in runs if run.trainer == label]
        values = [run.sampled for run in of]
        apart = "above" if min(values) > max(defaults) else "below" if max(values) < min(defaults) else "not separated"
        best = statistics.mean(max(point[3] for point in run.curve) for run in of)
        lines.append(
            [label, f"{statistics.mean(values):.3f}", by_seed(of), f"{best:.3f}",
             "" if label == DEFAULTS else apart, seconds(of)]
        )  # fmt: skip
    return rows(lines)


def read(path: Path) -> list[Run]:
    return [Run(**run) for run in json.loads(path.read_text("utf-8"))["runs"]]


# --- curves


def chart(runs: Sequence[Run], task: str, over: str) -> pygal.XY:
    """Sampled accuracy at the end of each budget, the mean over seeds and the seeds as dots; `over` is the x axis."""
    words = {"rollouts": "rollouts", "seconds": "CPU seconds of training"}[over]
    chart = pygal.XY(
        title=f"Sampled accuracy on held-out problems of task {task}: one run a budget, from one warm start",
        x_title=words, width=900, height=500, dots_size=3, js=(), disable_xml_declaration=True, truncate_legend=-1,
        style=Style(colors=[colour for colour in COLOURS for _ in range(2)]), legend_at_bottom=True,
    )  # fmt: skip
    for name in TRAINERS:
        of = [run for run in runs if (run.task, run.trainer) == (task, name)]
        groups = [[run for run in of if run.budget == budget] for budget in dict.fromkeys(run.budget for run in of)]
        mean = statistics.mean
        chart.add(name, [(mean(getattr(r, over) for r in g), mean(r.sampled for r in g)) for g in groups])
        chart.add(f"{name}, seeds", [(getattr(r, over), r.sampled) for r in of], stroke=False, dots_size=2)
    return chart


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=list(MEASURED), default=list(MEASURED))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--out", type=Path, help="directory for the numbers as JSON and the curves as SVG")
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = args.out / "sdpo_card.json" if args.out else None
    known = {key(run): run for run in read(path)} if path and path.exists() else {}
    for run in measured(args.what, args.seeds, args.tasks, known):
        known[key(run)] = run
        print(
            f"{run.task} seed {run.seed} {run.trainer} {run.budget}: sampled {run.sampled:.3f} greedy {run.greedy:.3f} "
            f"after {run.rollouts:,} rollouts, {run.seconds:.1f} s",
            flush=True,
        )
        if path:
            write(path, list(known.values()))
    runs = list(known.values())
    found = verdicts(runs)
    print(f"\n{budget_table(runs)}\n\n{part_table(runs)}\n\n" + "\n".join(text for _, text in found))
    if args.out:
        for task in dict.fromkeys(run.task for run in runs):
            for over in ("rollouts", "seconds"):
                chart(runs, task, over).render_to_file(str(args.out / f"sdpo_card_{task}_{over}.svg"))
    return 0 if all(held for held, _ in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
