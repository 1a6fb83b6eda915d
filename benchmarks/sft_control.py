"""Does reinforcement do what more imitation cannot? GRPO against SFT, from one warm start, for the same seconds.

    python benchmarks/sft_control.py --seeds 1 2 3 --tokenizers bpe byte char --out results/

For each tokenizer and seed: the main job of `scratch run` (train a tokenizer, build a model, warm-start by SFT, then
GRPO), and beside it the control: the warm-started weights trained on by SFT, with SFT's own options, for as many
seconds as GRPO took. Every problem that is scored is held out. Prints a Markdown table; `--out` also gets the numbers
as JSON and the curves as SVG.

Seconds are CPU seconds of the one thread that works, without the evaluations for the curves: on a quiet machine they
equal wall time, and on a busy one neighbours change them least.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from sft_control_plot import Curve, Panel, draw

from align_scratch.config.grpo import GRPOConfig
from align_scratch.config.sft import SFTConfig
from align_scratch.config.tasks import SortConfig
from align_scratch.grpo import GRPO
from align_scratch.plugin import register_trainers
from align_scratch.sft import SFT
from align_scratch.tasks.sorting import Sort
from gpt_scratch.config import GPTConfig
from gpt_scratch.model import GPT
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig

TOKENIZERS = {
    "bpe": (BPETokenizer, BPEConfig),
    "byte": (ByteTokenizer, ByteConfig),
    "char": (CharTokenizer, CharConfig),
}
BAND = (0.35, 0.5)  # where the warm start should leave sampled accuracy
LEAST = {"greedy": 0.97, "sampled": 0.95}  # what GRPO must reach
TRIAL_STEPS = 40
MOST = {"greedy": 0.2}  # what the control must stay under


@dataclass
class Stage:
    """One stage of training, timed without its evaluations."""

    steps: int = 0
    seconds: float = 0.0
    end: dict[str, float] = field(default_factory=dict)
    """Held-out accuracies `greedy` and `sampled` after it."""
    curve: list[tuple[float, float, float]] = field(default_factory=list)
    """(seconds, greedy, sampled)."""


@dataclass
class Result:
    tokenizer: str
    seed: int
    warm_start: Stage
    grpo: Stage
    control: Stage
    rollouts_per_second: float
    generated_per_second: float


def warm_start_options() -> dict[str, Any]:
    """What the host would give to the warm start, from the registration."""
    found: dict[str, Any] = {}
    register_trainers(lambda name, target, **rest: found.update({name: rest}))
    return dict(found["grpo"]["warm_start"]["options"])


def drive(trainer: Any, every: int, watch: Callable[[Mapping[str, Any]], None] = lambda metrics: None) -> Stage:
    """Train to the end, with a point of the curve every `every` steps."""
    stage = Stage()

    def point() -> None:
        accuracies = trainer.evaluate()
        stage.end = {name: accuracies[name] for name in ("greedy", "sampled")}
        stage.curve.append((stage.seconds, stage.end["greedy"], stage.end["sampled"]))

    point()
    started = time.process_time()
    for metrics in trainer.train():
        stage.seconds += time.process_time() - started
        stage.steps = metrics["step"]
        watch(metrics)
        if every and stage.steps % every == 0:
            point()
        started = time.process_time()
    if stage.curve[-1][0] != stage.seconds:
        point()
    return stage


def run(name: str, seed: int, every: int) -> Result:
    task = Sort(SortConfig())
    tokenizer_cls, tokenizer_config = TOKENIZERS[name]
    tokenizer = tokenizer_cls.train(task.texts("train"), tokenizer_config())
    torch.manual_seed(seed)
    model = GPT(GPTConfig(), vocab_size=tokenizer.vocab_size)
    parts = {
        "tokenizer": tokenizer,
        "task": task,
        "sampler": Multinomial(MultinomialConfig()),
        "seed": seed,
    }
    warm = drive(SFT(SFTConfig(**warm_start_options()), model=model, **parts), 0)
    start = copy.deepcopy(model.state_dict())

    config = GRPOConfig()
    generating = 0.0

    def watch(metrics: Mapping[str, Any]) -> None:
        nonlocal generating
        generating += metrics["time/generation"]

    reinforced = drive(GRPO(config, model=model, **parts), every, watch)

    trial = drive(SFT(SFTConfig(steps=TRIAL_STEPS), model=model, **parts), 0)  # how long does a step of SFT take?
    steps = max(1, round(reinforced.seconds / (trial.seconds / TRIAL_STEPS)))
    model.load_state_dict(start)
    imitated = drive(SFT(SFTConfig(steps=steps), model=model, **parts), every)

    rollouts = config.steps * config.prompts_per_step * config.group_size
    return Result(
        tokenizer=name,
        seed=seed,
        warm_start=warm,
        grpo=reinforced,
        control=imitated,
        rollouts_per_second=rollouts / reinforced.seconds,
        generated_per_second=rollouts / generating,
    )


def rows(results: Sequence[Result]) -> list[list[str]]:
    def accuracies(stage: Stage) -> str:
        return f"{stage.end['greedy']:.3f} / {stage.end['sampled']:.3f}"

    return [
        [
            result.tokenizer,
            str(result.seed),
            accuracies(result.warm_start),
            accuracies(result.grpo),
            accuracies(result.control),
            f"{result.warm_start.seconds:.1f} + {result.grpo.seconds:.1f}",
            f"{result.control.seconds:.1f}",
            f"{result.rollouts_per_second:,.0f}",
        ]
        for result in results
    ]


def table(results: Sequence[Result]) -> str:
    head = [
        "tokenizer",
        "seed",
        "warm start",
        "after GRPO",
        "control: more SFT",
        "seconds: warm start + GRPO",
        "seconds: control",
        "rollouts/s",
    ]
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows(results)]]
    return "\n".join(lines)


def misses(results: Sequence[Result]) -> list[str]:
    """Where a figure is not what the main job promises."""
    found = []
    for result in results:
        where = f"{result.tokenizer} seed {result.seed}"
        before = result.warm_start.end["sampled"]
        if not BAND[0] <= before <= BAND[1]:
            found.append(f"{where}: the warm start ends at {before:.3f} sampled, outside {BAND[0]} to {BAND[1]}")
        for name, least in LEAST.items():
            if result.grpo.end[name] < least:
                found.append(f"{where}: GRPO reaches {result.grpo.end[name]:.3f} {name}, below {least}")
        for name, most in MOST.items():
            if result.control.end[name] > most:
                found.append(f"{where}: the control reaches {result.control.end[name]:.3f} {name}, above {most}")
    return found


def panels(results: Sequence[Result]) -> list[Panel]:
    """One panel a tokenizer: sampled and greedy accuracy over seconds, a line a seed."""
    found = []
    for name in dict.fromkeys(result.tokenizer for result in results):
        curves = []
        for result in results:
            if result.tokenizer != name:
                continue
            for kind, stage in (("GRPO", result.grpo), ("more SFT", result.control)):
                curves.append(Curve(f"{kind}, sampled", [(x, sampled) for x, _, sampled in stage.curve]))
                curves.append(Curve(f"{kind}, greedy", [(x, greedy) for x, greedy, _ in stage.curve]))
        found.append(Panel(f"tokenizer {name}", curves))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tokenizers", nargs="+", choices=sorted(TOKENIZERS), default=["bpe"])
    parser.add_argument("--every", type=int, default=10, help="steps between two points of a curve; 0 = ends only")
    parser.add_argument("--out", type=Path, help="directory for sft_control.json and sft_control.svg")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name in args.tokenizers:
        for seed in args.seeds:
            results.append(run(name, seed, args.every))
            print(" ".join(rows(results[-1:])[0]), flush=True)
    print("\nheld-out accuracy, greedy / sampled\n")
    print(table(results))
    found = misses(results)
    print("\n" + ("\n".join(found) if found else "every figure is where the main job promises it"))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        versions = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
        lines = ",\n".join(json.dumps(_rounded(asdict(result))) for result in results)
        (args.out / "sft_control.json").write_text(
            f'{{"versions": {json.dumps(versions)}, "results": [\n{lines}\n]}}\n', "utf-8"
        )
        title = "Held-out accuracy from one warm start: sort digits, 60 % of the demonstrations in the wrong order"
        (args.out / "sft_control.svg").write_text(draw(title, panels(results)), "utf-8")
    return 1 if found else 0


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    raise SystemExit(main())
