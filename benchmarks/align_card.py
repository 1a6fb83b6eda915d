"""Which trainer learns most from the same warm start? GRPO, RLOO, PPO, expert iteration and DPO beside more SFT.

    python benchmarks/align_card.py --seeds 1 2 3 --tasks sort add --out benchmarks/results
    python benchmarks/align_card.py --tasks add --out benchmarks/results --merge
    python benchmarks/align_card.py --warm-start hinted-sft --trainers grpo sdpo expert-iteration --name sdpo_card

For each task and seed: one warm start by SFT, or as `--warm-start` says, from whose weights every trainer starts, each
with its own defaults (`SETTINGS` has the exceptions, `TASKS` those of the tasks). Two budgets: the same number of
rollouts, and the same seconds of training; the learning rate falls to its end in both. The control is more SFT from the
same weights for those seconds. DPO learns from the best and worst of its own samples.

Held-out problems are the same for all and in no training set. Seconds are CPU seconds of the one thread that works,
without evaluations: on a quiet machine they equal wall time. Prints a Markdown table of means over seeds with their
spread (lowest to highest); `--out` also gets the numbers as JSON and the curves as SVG.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import platform
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pygal
import torch

import align_scratch.plugin
import align_scratch.rollouts
import papers_scratch.plugin
from gpt_scratch.config import GPTConfig
from gpt_scratch.model import GPT
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig

TRAINERS = ("grpo", "rloo", "ppo", "expert-iteration", "dpo")
CONTROL = "sft"
STOP_AT = 0.4  # sampled accuracy at which a warm start ends
ROLLOUTS = 102_400
SECONDS = 30.0
POINTS = 6  # of a curve
TASKS: Mapping[str, Mapping[str, Any]] = {
    # Without zeros in front, a digit's position depends on how long the numbers are: GRPO ends at .77 instead of .99.
    "add": {"zero_padded": True},
}
SETTINGS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("dpo", "sort"): {"pairs": "sampled"},
    # A pair says which sum is better, not that it is right: sampled, DPO alone ends at .69 and with this term at .82.
    ("dpo", "add"): {"pairs": "sampled", "nll_coef": 1.0, "lr": 1e-3},
    # Sums that the warm start does not know have to be found first: in 30 s GRPO gets to .97 at 5e-4, and to .99 so.
    ("grpo", "add"): {"lr": 1e-3},
    ("rloo", "add"): {"lr": 1e-3},
    ("ppo", "add"): {"lr": 1e-3},
}
LEAST = {
    (task, trainer): least
    for task in ("sort", "add")
    for trainer, least in (("grpo", (0.97, 30.0)), ("ppo", (0.95, 60.0)))
}
"""Sampled accuracy that must be reached, and within how many seconds of training."""


@dataclass
class Run:
    task: str
    seed: int
    trainer: str
    budget: str
    steps: int = 0
    seconds: float = 0.0
    rollouts: int = 0
    greedy: float = 0.0
    sampled: float = 0.0
    curve: list[tuple[float, int, float, float]] = field(default_factory=list)
    """(seconds, rollouts, greedy, sampled)."""


def registered(hook: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    hook(lambda name, target, **rest: found.update({name: (target, rest)}))
    return found


def trainers() -> dict[str, tuple[str, dict[str, Any]]]:
    return registered(align_scratch.plugin.register_trainers) | registered(papers_scratch.plugin.register_trainers)


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """Counts completions as they are sampled, whoever asks for them."""
    total, original = [0], align_scratch.rollouts.generate

    def counting(*args: Any, **options: Any) -> Any:
        generation = original(*args, **options)
        total[0] += len(generation.lengths)
        return generation

    align_scratch.rollouts.generate = counting
    try:
        yield total
    finally:
        align_scratch.rollouts.generate = original


def drive(trainer: Any, run: Run, *, most_rollouts: int | None, points: int = POINTS) -> Run:
    """Train to the end of the trainer's steps, or until `most_rollouts` have been sampled."""
    every = max(1, trainer.config.steps // points)

    def look() -> None:
        accuracies = trainer.evaluate()
        run.greedy, run.sampled = accuracies["greedy"], accuracies["sampled"]
        run.curve.append((run.seconds, run.rollouts, run.greedy, run.sampled))

    look()
    with counted() as total:
        sampled_before = total[0]
        started = time.process_time()
        for metrics in trainer.train():
            run.seconds += time.process_time() - started
            run.rollouts += total[0] - sampled_before
            run.steps = int(metrics["step"])
            if run.steps % every == 0:
                look()
            if most_rollouts is not None and run.rollouts >= most_rollouts:
                break
            sampled_before, started = total[0], time.process_time()
    if run.curve[-1][0] != run.seconds:
        look()
    return run


class Bench:
    """A task and a seed: the warm start, and trainers from its weights."""

    def __init__(
        self,
        task: str,
        seed: int,
        warm_start: str,
        *,
        task_options: Mapping[str, Any] | None = None,
        warm_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.task_name, self.seed = task, seed
        self.trainers = trainers()
        target, rest = registered(align_scratch.plugin.register_tasks)[task]
        self.task = resolve_name(target)(resolve_name(rest["config"])(**(task_options or {})))
        self.tokenizer = BPETokenizer.train(self.task.texts("train"), BPEConfig())
        torch.manual_seed(seed)
        self.model = GPT(GPTConfig(), vocab_size=self.tokenizer.vocab_size)
        self.warm_start = drive(
            self.build(warm_start, **(warm_options or {"stop_at": STOP_AT})),
            Run(task, seed, "warm start", ""),
            most_rollouts=None,
            points=1,
        )
        self.start = copy.deepcopy(self.model.state_dict())

    def build(self, name: str, *, adapter: Any = None, **options: Any) -> Any:
        target, rest = self.trainers[name]
        config = resolve_name(rest["config"])(**{**SETTINGS.get((name, self.task_name), {}), **options})
        return resolve_name(target)(
            config,
            model=self.model,
            tokenizer=self.tokenizer,
            task=self.task,
            sampler=Multinomial(MultinomialConfig()),
            seed=self.seed,
            adapter=adapter,
        )

    def run(self, name: str, budget: str, steps: int) -> Run:
        self.model.load_state_dict(self.start)
        return drive(self.build(name, steps=steps), Run(self.task_name, self.seed, name, budget), most_rollouts=None)

    def steps_for_rollouts(self, name: str) -> tuple[int, float]:
        """Steps that sample ROLLOUTS completions, and the seconds of one step, from a short trial."""
        self.model.load_state_dict(self.start)
        trial = drive(
            self.build(name, steps=12), Run(self.task_name, self.seed, name, "trial"), most_rollouts=None, points=1
        )
        per_step = trial.rollouts / trial.steps
        return (max(1, round(ROLLOUTS / per_step)) if per_step else 0), trial.seconds / trial.steps

    def all(self, trainers: Sequence[str]) -> Iterator[Run]:
        yield self.warm_start
        for name in trainers:
            steps, seconds = self.steps_for_rollouts(name)
            if steps:
                run = self.run(name, "rollouts", steps)
                seconds = run.seconds / run.steps
                yield run
            yield self.run(name, "seconds", max(1, round(SECONDS / seconds)))


def table(runs: Sequence[Run]) -> str:
    head = ["task", "trainer", "budget", "sampled", "greedy", "rollouts", "seconds", "rollouts/s"]
    lines = [head, ["---"] * len(head)]
    keys = dict.fromkeys((run.task, run.trainer, run.budget) for run in runs)
    for key in keys:
        of = [run for run in runs if (run.task, run.trainer, run.budget) == key]
        mean = statistics.mean
        lines.append(
            [
                *key,
                spread([run.sampled for run in of]),
                spread([run.greedy for run in of]),
                f"{mean(run.rollouts for run in of):,.0f}",
                f"{mean(run.seconds for run in of):.1f}",
                f"{mean(run.rollouts / run.seconds for run in of):,.0f}",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def misses(runs: Sequence[Run]) -> list[str]:
    found = []
    for (task, trainer), (least, within) in LEAST.items():
        for seed in dict.fromkeys(run.seed for run in runs if run.task == task):
            points = [
                point
                for run in runs
                if (run.task, run.trainer, run.seed) == (task, trainer, seed)
                for point in run.curve
                if point[0] <= within
            ]
            best = max((sampled for *_, sampled in points), default=None)
            if best is not None and best < least:
                found.append(f"{task}, {trainer}, seed {seed}: {best:.3f} sampled within {within:.0f} s, below {least}")
    return found


def chart(runs: Sequence[Run], task: str) -> pygal.XY:
    """Sampled accuracy over seconds of training; one line a trainer and seed, one colour a trainer."""
    chart = pygal.XY(
        title=f"Sampled accuracy on held-out problems of task {task}, from one warm start",
        x_title="seconds of training", range=(0, 1), width=900, height=500, dots_size=1, js=(),
        disable_xml_declaration=True,
    )  # fmt: skip
    chosen = [run for run in runs if run.task == task and run.budget == "seconds"]
    for trainer in dict.fromkeys(run.trainer for run in chosen):
        points: list[Any] = []
        for run in chosen:
            if run.trainer == trainer:
                points += [(seconds, sampled) for seconds, _, _, sampled in run.curve] + [None]  # None: a gap
        chart.add(trainer, points, allow_interruptions=True)
    return chart


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", nargs="+", default=["sort", "add"])
    parser.add_argument("--trainers", nargs="+", choices=sorted(trainers()), default=[*TRAINERS, CONTROL])
    parser.add_argument("--warm-start", choices=["sft", "hinted-sft"], default="sft")
    parser.add_argument("--name", default="align_card", help="of the files in --out")
    parser.add_argument("--out", type=Path, help="directory for the numbers as JSON and a chart a task")
    parser.add_argument("--merge", action="store_true", help="keep what the file there has of other tasks")
    args = parser.parse_args()
    if args.merge and not args.out:
        parser.error("--merge needs --out, where the older numbers are")
    torch.set_num_threads(1)
    runs: list[Run] = []
    others = _others(args.out / f"{args.name}.json", args.tasks) if args.merge else []
    for task in args.tasks:
        for seed in args.seeds:
            for run in Bench(task, seed, args.warm_start, task_options=TASKS.get(task)).all(args.trainers):
                runs.append(run)
                print(
                    f"{run.task} seed {run.seed} {run.trainer} {run.budget}: sampled {run.sampled:.3f} "
                    f"greedy {run.greedy:.3f} after {run.steps} steps, {run.rollouts:,} rollouts, {run.seconds:.1f} s",
                    flush=True,
                )
                if args.out:
                    write(args.out / f"{args.name}.json", [*others, *runs])
    print("\nheld-out accuracy: mean over seeds (lowest to highest)\n")
    print(table(runs))
    found = misses(runs)
    print("\n" + ("\n".join(found) if found else "GRPO and PPO reach what they must, in the time they have"))
    if args.out:
        for task in args.tasks:
            chart(runs, task).render_to_file(str(args.out / f"{args.name}_{task}.svg"))
    return 1 if found else 0


def write(path: Path, runs: Sequence[Run]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    lines = ",\n".join(json.dumps(_rounded(asdict(run))) for run in runs)
    path.write_text(f'{{"versions": {json.dumps(versions)}, "runs": [\n{lines}\n]}}\n', "utf-8")


def _others(path: Path, tasks: Sequence[str]) -> list[Run]:
    """Runs in an older file on tasks that are not measured again."""
    return [Run(**run) for run in json.loads(path.read_text("utf-8"))["runs"] if run["task"] not in tasks]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    raise SystemExit(main())
