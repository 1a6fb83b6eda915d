"""What does PPO gain in truth from a trained reward model, and how far may it go? Gold and proxy against KL.

    python benchmarks/reward_over_optimisation.py --seeds 1 2 3 --out benchmarks/results

For each seed, by the commands that anybody would run: a warm start by SFT on the answers of task `preferences`, a
reward model trained on its pairs from those weights, and PPO against that model from the same weights for three weights
of the divergence from them. The proxy is what the reward model says (mean 0, deviation 1 on reference answers), the
gold what the task's checker says, which nothing is trained on. Prints, for each coefficient, the mean over seeds at the
end and at the point of the run with the most gold: where gold falls while the proxy does not, the reward model is
over-optimised (Gao et al. 2022, arXiv:2210.10760). `--out` also gets the curves as JSON and SVG.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pygal

from align_scratch.reward_probes import best_against_kl, training_curve

LEAST_ACCURACY = 0.97  # of the reward model on held-out pairs
KL_COEFS = (0.001, 0.05, 0.3)  # at 0 PPO asks no reference, and so knows no divergence of whole completions
SMOOTH = 5  # steps that a point of a curve is the mean of


def scratch(*args: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "scratch_cli", "run", "-q", *args]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return found


def smooth(curve: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    groups = [curve[start : start + SMOOTH] for start in range(0, len(curve) - SMOOTH + 1, SMOOTH)]
    return [{key: statistics.mean(point[key] for point in group) for key in group[0]} for group in groups]


def one_seed(folder: Path, seed: int, steps: int) -> tuple[float, dict[float, list[dict[str, float]]]]:
    """The reward model's held-out accuracy, and a curve for each coefficient."""
    base, reward = folder / f"sft-{seed}", folder / f"reward-{seed}"
    pairs = ("--task", "preferences", "--set", "task.flaw=any", "--seed", str(seed))
    scratch("--trainer", "sft", *pairs, "--set", "trainer.stop_at=0.4", "--out", str(base))
    start = ("--from", str(base), "--set", "warm_start.name=none")
    scratch("--trainer", "reward", *pairs, *start, "--out", str(reward))
    curves = {}
    for coefficient in KL_COEFS:
        run = folder / f"ppo-{seed}-{coefficient}"
        scratch(
            "--trainer", "ppo", *pairs, *start, "--steps", str(steps), "--out", str(run),
            "--set", f"trainer.reward_model={reward}", "--set", f"trainer.kl_coef={coefficient}",
        )  # fmt: skip
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        curves[coefficient] = smooth(training_curve(rows))
    accuracy = result(reward)["after"]["accuracy"]
    return accuracy, curves


def chart(curves: Mapping[tuple[int, float], Sequence[Mapping[str, float]]]) -> pygal.XY:
    drawn = pygal.XY(
        title="Gold reward against KL from the start, PPO on a trained reward model", width=900, height=500,
        dots_size=1, x_title="KL, nats a completion", y_title="gold", js=(), disable_xml_declaration=True,
    )  # fmt: skip
    for coefficient in KL_COEFS:
        points: list[Any] = []
        for (_, of), curve in curves.items():
            if of == coefficient:
                points += [(point["kl"], point["gold"]) for point in curve] + [None]
        drawn.add(f"kl_coef {coefficient}", points, allow_interruptions=True)
    return drawn


def write(out: Path, accuracies: Sequence[float], curves: Mapping[tuple[int, float], Sequence[Any]]) -> None:
    """What is known so far: a run that is cut off keeps its finished seeds."""
    out.mkdir(parents=True, exist_ok=True)
    named = {f"seed {seed}, kl_coef {coefficient}": curve for (seed, coefficient), curve in curves.items()}
    text = json.dumps({"accuracies": accuracies, "curves": named}, indent=1) + "\n"
    (out / "reward_over_optimisation.json").write_text(text, encoding="utf-8")
    chart(curves).render_to_file(str(out / "reward_over_optimisation.svg"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=120, help="rollout batches of PPO")
    parser.add_argument("--out", type=Path, help="directory for reward_over_optimisation.json and .svg")
    args = parser.parse_args()
    curves: dict[tuple[int, float], list[dict[str, float]]] = {}
    accuracies = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            accuracy, found = one_seed(Path(folder), seed, args.steps)
            accuracies.append(accuracy)
            print(f"seed {seed}: reward model right on {accuracy:.3f} of held-out pairs", flush=True)
            curves |= {(seed, coefficient): curve for coefficient, curve in found.items()}
            if args.out:
                write(args.out, accuracies, curves)
    print("\n| kl_coef | most gold (at KL, proxy) | gold at the end (KL, proxy) |\n|---|---|---|")
    for coefficient in KL_COEFS:
        mine = [curve for (_, of), curve in curves.items() if of == coefficient]
        cells = []
        for points in ([best_against_kl(curve) for curve in mine], [curve[-1] for curve in mine]):
            gold, kl, proxy = (statistics.mean(point[key] for point in points) for key in ("gold", "kl", "proxy"))
            spread = f"{min(p['gold'] for p in points):.2f} to {max(p['gold'] for p in points):.2f}"
            cells.append(f"{gold:.3f}, {spread} ({kl:.1f}, {proxy:.2f})")
        print(f"| {coefficient} | {cells[0]} | {cells[1]} |")
    low = [accuracy for accuracy in accuracies if accuracy < LEAST_ACCURACY]
    print(f"\nreward models below {LEAST_ACCURACY} on held-out pairs: {len(low)}")
    return 1 if low else 0


if __name__ == "__main__":
    raise SystemExit(main())
