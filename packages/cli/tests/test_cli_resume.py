"""Interrupted runs: signals, kills, and resuming to the bit, through the real command."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import outcome, rows, scratch, start, wait_for

from scratch_cli import checkpoint

CADENCE = ("--set", "run.save_every=5", "--set", "run.eval_every=4")


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(name: str, *args: object) -> int:
    return scratch("run", "--out", name, *CADENCE, *args)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


# --- equality -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 4, 5, 7, 13, 19, 20])
def test_a_run_that_was_interrupted_ends_like_one_that_was_not(at: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("straight", "--trainer", "climb") == 0
    assert run("broken", "--trainer", "climb", "--set", f"trainer.signal_at={at}") == 130
    message = last_line(capsys.readouterr().err)
    assert message.startswith(f"error: stopped after step {at} of 20")
    assert message.endswith("continue with: scratch run --resume broken")
    assert checkpoint.listing(Path("broken/checkpoints"))[0][1] == at
    assert not Path("broken/result.json").exists()
    assert scratch("run", "--resume", "broken") == 0
    assert outcome(Path("broken")) == outcome(Path("straight"))
    assert json.loads(Path("broken/result.json").read_text())["stages"][0]["steps"] == 20


@pytest.mark.parametrize(("stage", "at"), [("warm_start", 1), ("warm_start", 6), ("warm_start", 9), ("trainer", 3)])
def test_both_stages_resume(stage: str, at: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("straight", "--trainer", "climb-warm", "--adapter", "shift") == 0
    args = ("--trainer", "climb-warm", "--adapter", "shift", "--set", f"{stage}.signal_at={at}")
    assert run("broken", *args) == 130
    assert ("warm start" in last_line(capsys.readouterr().err)) == (stage == "warm_start")
    assert scratch("run", "--resume", "broken") == 0
    assert outcome(Path("broken")) == outcome(Path("straight"))
    stages = json.loads(Path("broken/result.json").read_text())["stages"]
    assert [entry["steps"] for entry in stages] == [9, 20]


def test_torch_parts_resume_to_the_bit() -> None:
    assert run("straight", "--trainer", "count", "--steps", 12, "--set", "run.save_every=3") == 0
    assert run("broken", "--trainer", "count", "--steps", 12) == 0
    # Whatever was done after a checkpoint is done again: here, everything after step 5.
    for _, step, path in checkpoint.listing(Path("broken/checkpoints")):
        if step != 10:
            assert step == 12
            (path / "manifest.json").unlink()
    Path("broken/result.json").unlink()
    assert scratch("run", "--resume", "broken") == 0
    a, b = outcome(Path("straight")), outcome(Path("broken"))
    assert a["files"] == b["files"]
    assert [r for r in a["metrics"] if "loss" in r] == [r for r in b["metrics"] if "loss" in r]


def test_a_run_from_another_resumes_without_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("first", "--trainer", "climb") == 0
    for name, adapter in (("plain", "none"), ("adapted", "shift")):
        args = ("--from", "first", "--trainer", "climb", "--adapter", adapter)
        assert run(f"{name}-straight", *args) == 0
        assert run(f"{name}-broken", *args, "--set", "trainer.signal_at=7") == 130
    Path("first").rename("gone")
    for name in ("plain", "adapted"):
        assert scratch("run", "--resume", f"{name}-broken") == 0
        assert outcome(Path(f"{name}-broken")) == outcome(Path(f"{name}-straight"))
        assert not Path(f"{name}-broken/start").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_run_toml_repeats_the_run_and_another_seed_does_not() -> None:
    assert run("one", "--trainer", "climb-warm") == 0
    assert scratch("run", "one/run.toml", "--out", "two") == 0
    assert scratch("run", "one/run.toml", "--out", "three", "--seed", 2) == 0
    assert outcome(Path("one")) == outcome(Path("two"))
    assert outcome(Path("one"))["metrics"] != outcome(Path("three"))["metrics"]


# --- damage ---------------------------------------------------------------------------------------------------------


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("straight", "--trainer", "climb") == 0
    assert run("broken", "--trainer", "climb", "--set", "trainer.signal_at=13") == 130
    tensors = Path("broken/checkpoints/step-000013/tensors.safetensors")
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    assert scratch("run", "--resume", "broken") == 130  # it is before step 13 again, where the signal comes
    assert scratch("run", "--resume", "broken") == 0
    err = capsys.readouterr().err
    assert "damaged checkpoint: step-000013/tensors.safetensors: content changed" in err
    assert "going back to step-000010" in err
    assert outcome(Path("broken")) == outcome(Path("straight"))


def test_without_an_intact_checkpoint_the_exit_code_is_5(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("broken", "--trainer", "climb", "--set", "trainer.signal_at=13") == 130
    for manifest in Path("broken/checkpoints").glob("*/manifest.json"):
        manifest.unlink()
    before = sorted(Path("broken").rglob("*"))
    capsys.readouterr()
    assert scratch("run", "--resume", "broken") == 5
    err = capsys.readouterr().err
    assert "no intact checkpoint" in last_line(err)
    assert "step-000010/manifest.json: missing" in err
    assert sorted(Path("broken").rglob("*")) == before


def test_a_checkpoint_of_something_else_is_refused_with_both_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("broken", "--trainer", "climb", "--set", "trainer.signal_at=7") == 130
    toml = Path("broken/run.toml")
    good = toml.read_text()
    toml.write_text(good.replace("width = 4", "width = 5"))
    assert scratch("run", "--resume", "broken") == 5
    assert "is a checkpoint of another config: it was written with the hash" in capsys.readouterr().err
    toml.write_text(good.replace("eval_every = 4", "eval_every = 5"))  # how often one looks may change
    letters = Path("broken/tokenizer/letters.json")
    tokenizer = letters.read_text()
    letters.write_text('"xyz"')
    assert scratch("run", "--resume", "broken") == 5
    err = capsys.readouterr().err
    assert "is not the tokenizer of this run: its files have the hash" in err
    assert "records" in err
    letters.write_text(tokenizer)
    assert scratch("run", "--resume", "broken") == 0


def test_data_that_changed_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    data = Path("words.txt")
    data.write_text("abc cab bca abab")
    assert run("broken", "--trainer", "climb", "--data", "words.txt", "--set", "trainer.signal_at=7") == 130
    data.write_text("abc cab bca baba")
    assert scratch("run", "--resume", "broken") == 3
    assert "the data has changed since this run began" in capsys.readouterr().err
    data.write_text("abc cab bca abab")
    assert scratch("run", "--resume", "broken") == 0


def test_resuming_what_is_finished_or_with_other_options_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("done", "--trainer", "climb") == 0
    assert scratch("run", "--resume", "done") == 2
    assert "scratch run --from done" in capsys.readouterr().err
    assert scratch("run", "--resume", "done", "--steps", 50) == 2
    assert "leave out --steps" in capsys.readouterr().err
    assert scratch("run", "--resume", "done", "--seed", 0) == 2
    assert "leave out --seed" in capsys.readouterr().err
    assert scratch("run", "--resume", "nowhere") == 2
    assert "is no directory" in capsys.readouterr().err


def test_a_run_killed_before_its_first_checkpoint_starts_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("straight", "--trainer", "climb") == 0
    assert run("broken", "--trainer", "climb", "--set", "trainer.signal_at=19") == 130
    Path("broken/run.toml").write_text(Path("broken/run.toml").read_text().replace("signal_at = 19", "signal_at = 99"))
    for path in Path("broken/checkpoints").iterdir():
        path.rename(path.with_name(".tmp-1-" + path.name))  # what a kill during the first save leaves
    assert scratch("run", "--resume", "broken") == 0
    assert "has no checkpoint yet; starting from the beginning" in capsys.readouterr().err
    assert outcome(Path("broken")) == outcome(Path("straight"))
    assert not list(Path("broken/checkpoints").glob(".tmp*"))


def test_a_signal_before_the_first_step_is_obeyed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run("run", "--trainer", "climb", "--set", "tokenizer.sigterm=true") == 143
    assert last_line(capsys.readouterr().err) == "error: stopped; continue with: scratch run --resume run"
    assert not list(Path("run").rglob(".tmp*"))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert scratch("run", "--resume", "run") == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("scratch_cli.commands.run._announce", "stopped"),
        ("scratch_cli.build.Workshop.record", "error: stopped; begin again: nothing was written yet"),
    ],
)
def test_a_signal_before_anything_is_written_leaves_nothing(
    place: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(place, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert run("run", "--trainer", "climb") == 143
    assert last_line(capsys.readouterr().err) == line
    assert list(Path().iterdir()) == []


# --- signals to a process -------------------------------------------------------------------------------------------


def stopped_in_step(at: int, *signals: int) -> Any:
    """Start a run, send it signals while it is in the middle of a step, let the step end, and wait for the process."""
    process = start(
        "run", "--out", "run", *CADENCE, "--trainer", "climb", "--set", f"trainer.wait_at={at}", cwd=Path.cwd()
    )
    wait_for(Path("waiting").exists, process)
    for number in signals:
        process.send_signal(number)
    return process


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals between processes")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_finish_the_step_write_a_checkpoint_and_can_be_resumed(number: int, code: int) -> None:
    process = stopped_in_step(8, number)
    Path("waiting").unlink()
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopping after this step" in err
    assert last_line(err).startswith("error: stopped after step 8 of 20")
    assert "Traceback" not in err
    assert not Path("run/lock").exists()
    assert checkpoint.listing(Path("run/checkpoints"))[0][1] == 8
    assert scratch("run", "--resume", "run") == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals between processes")
def test_a_second_ctrl_c_ends_at_once_with_the_old_checkpoint_intact() -> None:
    process = stopped_in_step(8, signal.SIGINT)
    seen = ""
    while "stopping after this step" not in seen:
        seen += process.stderr.readline()
    process.send_signal(signal.SIGINT)  # `waiting` is still there: the step never ends
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped at once" in err
    assert "Traceback" not in err
    assert checkpoint.listing(Path("run/checkpoints"))[0][1] == 5
    Path("waiting").unlink()
    text = Path("run/run.toml").read_text()
    assert "wait_at = 8" in text
    resumed = start("run", "--resume", "run", cwd=Path.cwd())
    wait_for(Path("waiting").exists, resumed)
    Path("waiting").unlink()
    _, err = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, err


def test_two_processes_do_not_share_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    process = stopped_in_step(8)
    assert scratch("run", "--resume", "run") == 2
    assert f"in use by process {process.pid}" in last_line(capsys.readouterr().err)
    assert run("run", "--trainer", "climb") == 2
    assert f"in use by process {process.pid}" in last_line(capsys.readouterr().err)
    Path("waiting").unlink()
    assert process.wait(60) == 0
    process.communicate()
    assert run("run", "--trainer", "climb") == 2
    assert "holds a run already" in last_line(capsys.readouterr().err)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_twenty_kills_at_random_moments_never_lose_a_run() -> None:
    """Each of 20 processes is killed near a save; each next one goes on; the end is as if nothing had happened."""
    rng = random.Random(1)
    options = ("--trainer", "climb-warm", "--set", "run.eval_every=50", "--set", "model.width=40", "--steps", 2000,
               "--set", "warm_start.steps=300", "--set", "warm_start.stop_at=100")  # fmt: skip
    args: tuple[object, ...] = ("run", "--out", "killed", "--set", "run.save_every=1", *options)
    checkpoints = Path("killed/checkpoints")
    for _ in range(20):
        before = newest(checkpoints)
        process = start(*args, cwd=Path.cwd())
        wait_for(lambda before=before: newest(checkpoints) > before, process)
        time.sleep(rng.uniform(0, 0.05))  # not to wait for something: this is the random moment
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert newest(checkpoints) > before
        args = ("run", "--resume", "killed")
    before = newest(checkpoints)
    process = start(*args, cwd=Path.cwd())
    wait_for(lambda: newest(checkpoints) > max(before, (1, 0)), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "damaged" not in err
    assert not list(Path("killed").rglob(".tmp*"))
    assert scratch("eval", "killed") == 0
    # The logs are those of a run that was never killed, as far as they go.
    assert scratch("run", "--out", "straight", "--set", "run.save_every=0", *options) == 0
    for log in ("metrics.jsonl", "rollouts.jsonl"):
        killed = rows(Path("killed") / log)
        assert len(killed) > 100
        assert killed == rows(Path("straight") / log)[: len(killed)]


def newest(checkpoints: Path) -> tuple[int, int]:
    found = checkpoint.listing(checkpoints)
    return (checkpoint.PREFIXES.index(found[0][0]), found[0][1]) if found else (0, -1)
