"""The command `rollouts`: reads logs of any size and state, chooses what it says, never imports torch."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import environment, scratch

from scratch_cli import rollouts


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, whose log of rollouts a test writes anew."""
    monkeypatch.chdir(tmp_path)
    assert scratch("run", "--trainer", "climb", "--steps", 2, "--out", "a", "-q") == 0
    return Path("a")


def row(step: int, prompt: str, completion: str, reward: float | None, **more: Any) -> dict[str, Any]:
    return {
        "stage": "train", "step": step, "group": 0, "prompt": prompt, "completion": completion, "answer": "ok",
        "reward": reward, "rewards": {"exact": reward, "format": 0.5}, "correct": reward == 1.0,
        "explanation": "" if reward == 1.0 else "not ok", "advantage": 0.25, "length": 7, "truncated": False,
        "logp_difference": 2e-7, **more,
    }  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


ROWS = [
    row(1, "p", "one", 0.0), row(1, "p", "two", 1.0), row(1, "q", "three", 0.5), row(1, "r", "same", 0.5),
    row(2, "p", "four", 1.0), row(2, "p", "five", 1.0), row(2, "q", "six", 0.25), row(2, "r", "name", 0.5),
    row(3, "s", "eight", 0.75, truncated=True), row(3, "s", "nine", None), row(3, "s", "eight", 0.75, truncated=True),
]  # fmt: skip


def shown(capsys: pytest.CaptureFixture[str], *args: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert scratch("rollouts", *args, "--json") == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_it_chooses_what_it_says(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(run / "rollouts.jsonl", ROWS)
    completions = {
        (): ["eight", "nine"],
        ("--step", 1): ["one", "two", "three", "same"],
        ("--step", 1, "-n", 2): ["one", "two"],
        ("--best", "-n", 2): ["five", "four"],
        ("--worst", "-n", 2): ["one", "six"],
        ("--worst", "-n", 99): ["one", "six", "name", "same", "three", "eight", "five", "four", "two"],
        ("--best", "--step", 1, "-n", 1): ["two"],
    }
    for args, expected in completions.items():
        assert [r["completion"] for r in shown(capsys, run, *args)] == expected, args
    assert [r["times"] for r in shown(capsys, run)] == [2, 1]


def test_changed_compares_mean_rewards_of_the_first_and_the_last_step(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(run / "rollouts.jsonl", [*ROWS, row(4, "t", "ten", 0.5), row(5, "t", "ten", 0.5)])
    changes = shown(capsys, run, "--changed")
    assert [(c["prompt"], c["reward_first"], c["reward_last"], c["reward_change"]) for c in changes] == [
        ("p", 0.5, 1.0, 0.5), ("q", 0.5, 0.25, -0.25), ("r", 0.5, 0.5, 0.0), ("t", 0.5, 0.5, 0.0),
    ]  # fmt: skip
    assert [(c["first"]["completion"], c["last"]["completion"]) for c in changes[:3]] == [
        ("one", "four"), ("three", "six"), ("same", "name"),
    ]  # fmt: skip
    # Of equal moves, those whose texts differ more; and never more than asked for.
    assert [c["prompt"] for c in shown(capsys, run, "--changed", "-n", 3)] == ["p", "q", "r"]
    assert scratch("rollouts", run, "--changed", "-n", 1) == 0
    out = capsys.readouterr().out
    assert "mean reward 0.500 -> 1.000" in out
    assert "  step 1      one" in out
    assert "  step 2      four" in out


def test_a_person_can_read_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(run / "rollouts.jsonl", [row(3, "a\nb", "x\x1b[31my" + "z" * 700, 0.0, truncated=True, failed=True)])
    assert scratch("rollouts", run) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:3] == [
        "step 3  group 0  reward 0 (exact 0, format 0.5)  wrong  advantage +0.250  7 tokens, cut off  "
        "log-prob gap 2.0e-07  the step failed",
        "  prompt      a",
        "              b",
    ]
    assert "x\\x1b[31my" in out
    assert "\x1b" not in out
    assert "107 more characters; -v shows all" in out
    assert "  expected    ok\n  why         not ok\n" in out
    assert scratch("rollouts", run, "-v") == 0
    assert "z" * 700 in capsys.readouterr().out


def test_broken_and_rotated_logs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = run / "rollouts.jsonl"
    write(run / "rollouts.jsonl.1", ROWS[4:8])
    with gzip.open(run / "rollouts.jsonl.2.gz", "wt") as stream:
        stream.write("".join(json.dumps(r) + "\n" for r in ROWS[:4]))
    write(run / "rollouts.jsonl.bak", [row(9, "p", "a copy", 1.0)])
    log.write_text(json.dumps(ROWS[8]) + "\nno json\n[1]\n" + json.dumps({"stage": "train"}) + '\n{"step": 9, "rew')
    assert [p.name for p in rollouts.logs(log)] == ["rollouts.jsonl.2.gz", "rollouts.jsonl.1", "rollouts.jsonl"]
    assert [r.get("completion") for r in rollouts.read(log)] == [*(r["completion"] for r in ROWS[:9]), None]
    assert [r["completion"] for r in shown(capsys, run, "--step", 1)] == ["one", "two", "three", "same"]
    assert scratch("rollouts", run, "-n", 99) == 0  # rows of which little is known are shown, too
    for args in ((), ("--best",), ("--worst",), ("--changed",)):
        assert scratch("rollouts", run, *args) == 0


def test_the_warm_start_is_apart(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(run / "rollouts.jsonl", [row(5, "w", "warm", 0.0, stage="warm_start"), *ROWS])
    assert [r["completion"] for r in shown(capsys, run, "--warm-start")] == ["warm"]
    assert "warm" not in [r["completion"] for r in shown(capsys, run, "--worst", "-n", 99)]


def test_what_cannot_be_shown_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = run / "rollouts.jsonl"
    write(log, ROWS)
    Path("other").mkdir()
    for code, text, args in (
        (3, "holds nothing of step 77; there are rollouts of steps 1 to 3", ["a", "--step", 77]),
        (3, "holds no rollouts", ["a", "--warm-start"]),
        (2, "--best and --worst: each chooses on its own", ["a", "--best", "--worst"]),
        (2, "--changed compares steps", ["a", "--changed", "--step", 1]),
        (2, "is not the directory of a run", ["other"]),
        (2, "is no directory", ["nowhere"]),
        (2, "-n", ["a", "-n", 0]),
    ):
        capsys.readouterr()
        assert scratch("rollouts", *args) == code
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert text in err
    for rows, text in (([], "holds no rollouts"), ([row(1, "p", "x", 1.0)], "no prompt was sampled in two steps")):
        write(log, rows)
        assert scratch("rollouts", "a", "--changed") == 3
        assert text in capsys.readouterr().err


@pytest.mark.parametrize("choice", ["last", "best", "worst"])
def test_large_logs_are_read_as_a_stream(run: Path, choice: str) -> None:
    """A log of 30 MB costs a few MB of memory, however large it is."""
    log = run / "rollouts.jsonl"
    with log.open("w") as stream:
        for step in range(1, 31):
            stream.write((json.dumps(row(step, "p" * 900, f"c{step}", step / 100)) + "\n") * 900)
    assert log.stat().st_size > 30e6
    tracemalloc.start()
    try:
        rows = rollouts.read(log)
        found = (
            rollouts.of_step(rows, None, 5) if choice == "last" else rollouts.by_reward(rows, 5, best=choice == "best")
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[0]["step"] == (1 if choice == "worst" else 30)
    assert found[0]["times"] == 900
    assert peak < 8e6


def test_in_a_process_of_its_own(run: Path) -> None:
    """Data on standard output alone, without torch, and quiet when the reader leaves."""
    write(run / "rollouts.jsonl", ROWS)
    code = (
        "import sys; from scratch_cli.main import main; code = main(['rollouts', 'a', '--best']); "
        "heavy = {'torch', 'transformers', 'numba'} & set(sys.modules); sys.exit(f'{heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment()}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "five" in done.stdout
    write(run / "rollouts.jsonl", [row(1, str(n), "x" * 500, 1.0) for n in range(2000)])
    command = [sys.executable, "-m", "scratch_cli", "rollouts", "a", "-n", "2000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment()}
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
