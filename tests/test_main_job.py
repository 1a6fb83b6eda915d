"""The promise at the top of the README, kept: the default command learns what imitation cannot teach.

The whole default run, with each tokenizer. Figures over seeds, and the control: `benchmarks/sft_control.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def scratch(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scratch_cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module", params=["bpe", "byte", "char"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any], Path, str]:
    folder = tmp_path_factory.mktemp(request.param)
    done = scratch(
        "run", "--tokenizer", request.param, "--model", "gpt", "--trainer", "grpo", "--json", folder=folder
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return request.param, json.loads(done.stdout), folder, done.stderr


def test_reinforcement_selects_what_demonstrations_leave_open(run: tuple[str, dict[str, Any], Path, str]) -> None:
    _, result, _, _ = run
    assert result["task"] == "sort"
    assert 0.3 <= result["before"]["sampled"] <= 0.55, (
        "the warm start stops in the band where RL has something to learn"
    )
    assert result["after"]["greedy"] >= 0.97
    assert result["after"]["sampled"] >= 0.95
    assert result["seconds"] > 0


def test_everything_that_the_run_directory_promises_is_there(run: tuple[str, dict[str, Any], Path, str]) -> None:
    tokenizer, result, folder, _ = run
    directory = folder / result["run"]
    assert directory.name.endswith(f"-{tokenizer}-gpt-grpo")
    for name in ("run.toml", "tokenizer", "model", "metrics.jsonl", "rollouts.jsonl", "checkpoints", "report.html"):
        assert (directory / name).exists(), name
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    trained = [row for row in rows if row["stage"] == "train" and "reward" in row]
    for name in (
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "kl",
        "entropy",
        "loss",
        "lr",
        "grad_norm",
        "num_tokens",
    ):
        assert name in trained[-1], name
    # Sampling and scoring are one distribution: on the first pass over fresh rollouts the ratio is 1. Once the model is
    # sure of itself, fp32 has fewer digits left for the log-probability of what it almost never draws.
    gaps = [row["sampling/sampling_logp_difference/max"] or 0 for row in trained]
    assert gaps[0] < 1e-5
    assert sorted(gaps)[len(gaps) // 2] < 1e-5
    assert max(gaps) < 1e-4
    with (directory / "rollouts.jsonl").open(encoding="utf-8") as lines:
        rollout = json.loads(next(line for line in lines if '"train"' in line))
    assert {"prompt", "completion", "reward", "advantage"} <= set(rollout)


def test_it_can_be_used_afterwards(run: tuple[str, dict[str, Any], Path, str]) -> None:
    _, result, folder, _ = run
    answer = scratch("generate", result["run"], "3 1 4 1 5 9 2 6 =", "--sampler", "greedy", folder=folder)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == list("96543211")
    judged = scratch("eval", result["run"], "--json", folder=folder)
    assert judged.returncode == 0, judged.stderr
    values = json.loads(judged.stdout)
    values = values.get("values", values.get("eval", values))
    assert values["greedy"] == pytest.approx(result["after"]["greedy"])


def test_it_tells_a_person_what_happened(run: tuple[str, dict[str, Any], Path, str]) -> None:
    _, result, _, said = run
    assert "Held-out accuracy" in said
    assert "demonstrations" in said
    assert "reward 1.00" in said
    assert "scratch generate " in said
    assert result["run"] in said
