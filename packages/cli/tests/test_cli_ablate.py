"""The command `ablate`: what it plans, runs, resumes and concludes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import HERE, environment, outcome, registry, scratch, start, wait_for

from scratch_cli import checkpoint
from scratch_cli.ablation import grid, jobs
from scratch_cli.ablation.execute import Executor, share_of_cores
from scratch_cli.errors import ScratchError, UsageError

BASE = """
[ablation]
about = "does more help?"
seeds = [1, 2]
[base.trainer]
name = "climb-warm"
steps = 4
[base.warm_start]
steps = 3
stop_at = "none"
"""


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and the fake parts for the processes that are started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRATCH_HOME", raising=False)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


def written(text: str, name: str = "grid.toml") -> Path:
    Path(name).write_text(text, "utf-8")
    return Path(name)


def planned(text: str, seeds: tuple[int, ...] = (1,), **options: Any) -> jobs.Schedule:
    return jobs.schedule(grid.read(written(text)), registry(), Path("out"), seeds=seeds, **options)


# --- files -----------------------------------------------------------------------------------------------------------


def test_options_vary_one_at_a_time_or_together() -> None:
    read = grid.read(written(
        '[vary]\n"trainer.lr" = [0.1, 0.2]\ntrainer.steps = [5]\n'
        '[cells."a name"]\n"task.words" = 3\n"model.width" = 2\n'
    ))  # fmt: skip
    assert [(cell.label, dict(cell.options)) for cell in read.cells] == [
        ("base", {}),
        ("lr=0.1", {"trainer.lr": 0.1}),
        ("lr=0.2", {"trainer.lr": 0.2}),
        ("steps=5", {"trainer.steps": 5}),
        ("a name", {"task.words": 3, "model.width": 2}),
    ]
    assert read.config.seeds == (1, 2, 3)
    assert len({cell.slug for cell in read.cells}) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_.=-]+", cell.slug) for cell in read.cells)
    combined = grid.read(written('[grid]\n"trainer.lr" = [0.1, 0.2]\n"task.words" = [3, 4]\n'))
    assert [cell.label for cell in combined.cells] == [
        "lr=0.1, task.words=3", "lr=0.1, task.words=4", "lr=0.2, task.words=3", "lr=0.2, task.words=4",
    ]  # fmt: skip


def test_tables_of_a_cell_lie_over_the_base() -> None:
    read = grid.read(written(BASE + '[cells.x]\n"trainer.name" = "climb"\n"trainer.lr" = 0.5\n"run.log_every" = 2\n'))
    tables = read.tables(read.cells[1], seed=7)
    assert tables["trainer"] == {"name": "climb", "lr": 0.5}  # another part's options are left behind
    assert tables["run"] == {"log_every": 2, "seed": 7}
    assert read.tables(read.cells[0], seed=7)["trainer"] == {"name": "climb-warm", "steps": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has nothing to compare"),
        ("[vray]\nx = [1]", "there is no table 'vray', did you mean 'vary'?"),
        ('[vary]\n"trainer.lr" = 3', "vary.trainer.lr: got 3, must be a list of values"),
        ('[vary]\n"trainr.lr" = [3]', "'trainr.lr' must have the form section.option, did you mean 'trainer'?"),
        ('[vary]\n"lr" = [3]', "'lr' must have the form section.option"),
        ('[vary]\n"run.seed" = [3]', "seeds are listed in [ablation]"),
        ('[vary]\n"trainer.lr" = [1, 1]', "the cell 'lr=1' is there twice"),
        ("[cells]\nx = 3", "cells.x: must be a table of options"),
        ('[grid]\n"trainer.lr" = [1]\n[cells.x]\n"trainer.lr" = 2', "[grid] is every combination and stands alone"),
        ('[grid]\n"trainer.lr" = [1]', "has nothing to compare"),
        ("[grid]\n" + "".join(f'"trainer.x{i}" = [1, 2, 3]\n' for i in range(7)), "has 2187 cells; 1000 at most"),
        ('[ablation]\nseed = 1\n[vary]\n"trainer.lr" = [1]', "ablation.seed: there is no such option, did you"),
        ('[ablation]\nseeds = [1, 1]\n[vary]\n"trainer.lr" = [1]', "ablation.seeds: got [1, 1], must be one or more"),
        ('[base]\nx = 1\n[vary]\n"trainer.lr" = [1]', "base.x: must be a section"),
        ("x = ", "is not valid TOML"),
    ],
)  # fmt: skip
def test_files_that_make_no_sense(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        grid.read(path)
    assert scratch("ablate", path) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: grid.toml: ")


# --- plans -----------------------------------------------------------------------------------------------------------


def test_cells_with_the_same_warm_start_share_it() -> None:
    text = BASE + '[vary]\n"trainer.lr" = [0.2, 0.3]\n"warm_start.steps" = [9]\n'
    text += '[cells.alone]\n"trainer.name" = "climb"\n"warm_start.name" = "none"\n'
    schedule = planned(text, seeds=(1, 2))
    assert len(schedule.warm) == 4  # two seeds, two ways of starting
    assert len(schedule.cells) == 10
    for seed in (1, 2):
        starts = {label: schedule.cells[label, seed].needs for label in ("base", "lr=0.2", "lr=0.3")}
        assert starts["base"] is starts["lr=0.2"] is starts["lr=0.3"] is not None
    other = schedule.cells["warm_start.steps=9", 1].needs
    assert other not in (None, schedule.cells["base", 1].needs)
    assert schedule.cells["alone", 1].needs is None
    begun = schedule.cells["lr=0.2", 2].plan
    assert begun.warm_start is None
    assert begun.run.start_from == str(schedule.cells["lr=0.2", 2].needs.path.absolute())
    assert begun.run.seed == 2
    warm = schedule.cells["base", 1].needs.plan
    assert (warm.trainer.part.name, warm.trainer.config.steps, warm.warm_start) == ("climb", 3, None)


def test_cells_that_are_equal_are_run_once() -> None:
    schedule = planned(BASE + '[vary]\n"trainer.lr" = [0.1, 0.2]\n"run.log_every" = [5]\n')
    assert dict(schedule.same) == {"lr=0.1": "base", "run.log_every=5": "base"}
    assert [label for label, _ in schedule.cells] == ["base", "lr=0.2"]


def test_options_on_the_command_line_hold_for_all_cells() -> None:
    schedule = planned(BASE + '[vary]\n"trainer.lr" = [0.2]\n', sets=["task.words=5"], steps=2)
    for job in schedule.cells.values():
        assert job.plan.trainer.config.steps == 2
        assert job.plan.task is not None
        assert job.plan.task.config.words == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"trainer.lrr" = [1.0]', "cell 'lrr=1.0': trainer.lrr: there is no such option, did you mean 'lr'?"),
        ('"trainer.lr" = [0.2, "x"]', "cell 'lr=x': trainer.lr: got the text 'x', must be a number"),
        ('"model.name" = ["pears"]', "cell 'model.name=pears': there is no model 'pears', did you mean 'pairs'?"),
    ],
)
def test_a_cell_that_cannot_be_is_named_before_anything_runs(text: str, message: str) -> None:
    with pytest.raises(ScratchError, match=re.escape(message)) as caught:
        planned(f"{BASE}[vary]\n{text}\n")
    assert caught.value.exit_code == 2
    assert not Path("out").exists()


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_metric_that_is_not_there_stops_before_all_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    text = BASE.replace("climb-warm", "climb").replace('[base.warm_start]\nsteps = 3\nstop_at = "none"\n', "")
    text = text.replace("[ablation]", '[ablation]\nmetric = "samplde"')
    path = written(text + '[vary]\n"trainer.lr" = [0.2, 0.3, 0.4]\n')
    assert scratch("ablate", path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "have no 'samplde', did you mean 'sampled'" in err
    assert len(list(Path("ablations/grid").rglob("result.json"))) <= 2  # of 8
    assert not Path("ablations/grid/lock").exists()


def test_without_scipy_nothing_is_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    assert scratch("ablate", written(BASE + '[vary]\n"trainer.lr" = [0.2]\n')) == 4
    assert capsys.readouterr().err == (
        "error: scratch ablate: needs scipy for its intervals: pip install 'scratch-cli[ablate]'\n"
    )
    assert not Path("ablations").exists()


def test_an_ablation_from_start_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    path = written(BASE + '[vary]\n"trainer.lr" = [0.2]\n"trainer.nan_at" = [2]\n')
    assert scratch("ablate", path, "--dry-run") == 0
    assert capsys.readouterr().out.endswith("nan_at=2, seed 2\n8 runs, 2 seeds\n")
    assert not Path("ablations").exists()

    assert scratch("ablate", path, "--jobs", 2) == 1  # one cell fails, and the others do not
    out, err = capsys.readouterr()
    assert out.startswith("| cell | sampled, mean | 95 % interval |")
    assert "| nan_at=2 |  |  |  |  |  | 2 of 2 failed |" in out
    assert "warning: 2 seeds cannot tell a difference from luck" in err
    assert "grid: does more help? (8 runs); in ablations/grid" in err
    assert "nan_at=2, seed 1: failed: the loss of climb-warm is nan at step 2" in err
    folder = Path("ablations/grid")
    assert {"chart.svg", "results.json", "results.md", "runs", "warm"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "lock").exists()
    assert "<script" not in (folder / "chart.svg").read_text()
    found = json.loads((folder / "results.json").read_text())
    assert [cell["label"] for cell in found["cells"]] == ["base", "lr=0.2", "nan_at=2"]
    # Every cell is an ordinary run, and all of one seed began equally well.
    for seed in (1, 2):
        befores = []
        for cell in found["cells"][:2]:
            run = Path(cell["runs"][str(seed)])
            result = json.loads((run / "result.json").read_text())
            befores.append(result["before"])
            assert cell["values"][str(seed)] == result["after"]["sampled"]
        assert befores[0] == befores[1]
    again = Path(found["cells"][1]["runs"]["1"])
    assert scratch("run", again / "run.toml", "--out", "again", "-q") == 0
    assert outcome(Path("again")) == outcome(again)

    # The same command again runs nothing but what failed; with another seed only that.
    capsys.readouterr()
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("result.json")}
    assert scratch("ablate", written(BASE + '[vary]\n"trainer.lr" = [0.2]\n'), "--seeds", "1,2", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["cells"] == [{**cell} for cell in found["cells"][:2]]
    assert err.count("(finished before)") == 6
    assert before == {p: p.stat().st_mtime_ns for p in before}

    # A directory that holds other runs is refused before anything is run; so are runs from another warm start.
    for other in (["--steps", 3], ["--set", "warm_start.steps=5"]):
        assert scratch("ablate", written(BASE + '[vary]\n"trainer.lr" = [0.2]\n'), *other) == 2
        assert "is a run with other options" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals work otherwise there")
def test_a_signal_leaves_what_the_same_command_finishes() -> None:
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    text = BASE.replace("climb-warm", "climb").replace('[base.warm_start]\nsteps = 3\nstop_at = "none"\n', "")
    written(text + "[base.run]\nsave_every = 0\n" + '[vary]\n"trainer.lr" = [0.2]\n"trainer.wait_at" = [2]\n')
    process = start("ablate", "grid.toml", "--seeds", "5", cwd=Path.cwd())
    wait_for(lambda: Path("waiting").exists(), process)
    process.send_signal(signal.SIGINT)
    Path("waiting").unlink()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "error: stopped after 2 of 3 runs; the same command goes on from here" in err
    assert "Traceback" not in err
    [run] = Path("ablations/grid/runs").glob("wait_at=2-*/seed-5")
    assert checkpoint.listing(run / "checkpoints")[0][1] in (2, 3)
    assert not (run / "result.json").exists()
    assert not (run / "lock").exists()
    done = subprocess.run(
        [sys.executable, "-m", "scratch_cli", "ablate", "grid.toml", "--seeds", "5"],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(HERE)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("(finished before)") == 2
    assert "| wait_at=2 |" in done.stdout
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines() if "loss" in line]
    assert [step for step in steps if step] == sorted({step for step in steps if step})


def test_names_and_arguments(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A file may be offered by a package; what is neither is one line."""
    from scratch_cli.main import main
    from scratch_cli.registry import discover

    plugins.add(
        "shelf",
        '@hookimpl\ndef register_ablations(register):\n    register("ready", "shelf_files:READY", summary="s")\n',
    )
    plugins.module(
        "shelf_files", f"from pathlib import Path\nREADY = Path({str(written('[vary]', 'ready.toml').absolute())!r})\n"
    )
    offered = discover(plugins.entry_points())
    assert main(["ablate", "ready"], registry=offered) == 2
    assert "ready.toml: has nothing to compare" in capsys.readouterr().err
    Path("ready.toml").unlink()
    for code, text, args in (
        (2, "redy: there is no such file, and there is no ablation 'redy', did you mean 'ready'?", ["redy"]),
        (2, "missing.toml: cannot be read", ["missing.toml"]),
        (2, "got '1,1', must be different numbers", ["ready", "--seeds", "1,1"]),
        (2, "got '1;2', must be numbers with commas", ["ready", "--seeds", "1;2"]),
    ):
        assert main(["ablate", *args], registry=offered) == code
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert text in err


def test_what_is_finished_was_made_with_what_other_runs_held_then(capsys: pytest.CaptureFixture[str]) -> None:
    """A reward model that was trained anew in its place makes other rewards, though its path is the same."""
    pytest.importorskip("scipy.stats", reason="scipy computes the intervals")
    judge = ("run", "--trainer", "climb", "--set", "trainer.steps=2", "-q")
    assert scratch(*judge, "--out", "judge") == 0
    text = BASE.replace("climb-warm", "climb").replace('[base.warm_start]\nsteps = 3\nstop_at = "none"\n', "")
    path = written(text.replace("steps = 4", 'steps = 4\npaid_by = "judge"') + '[vary]\n"trainer.lr" = [0.2]\n')
    assert scratch("ablate", path, "--seeds", "1") == 0
    assert scratch("ablate", path, "--seeds", "1") == 0
    assert capsys.readouterr().err.count("(finished before)") == 2
    shutil.rmtree("judge")
    assert scratch(*judge, "--set", "trainer.lr=0.7", "--out", "judge") == 0
    assert scratch("ablate", path, "--seeds", "1") == 2
    assert "was made with another run than lies now where trainer.paid_by points to" in capsys.readouterr().err


def test_runs_at_a_time_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [share_of_cores(jobs) for jobs in (1, 2, 3, 8, 9)] == [8, 4, 2, 1, 1]
    given: list[str] = []

    def popen(_: Any, env: dict[str, str], **__: Any) -> Any:
        given.append(env["OMP_NUM_THREADS"])

        class Process:
            returncode = 1

            def communicate(self) -> tuple[bytes, bytes]:
                return b"", b"error: no"

        return Process()

    monkeypatch.setattr(subprocess, "Popen", popen)
    for told in (None, "5"):  # what the user has set stays
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if told is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", told)
        Executor(4, lambda outcome: None).run([planned(BASE + '[vary]\n"trainer.lr" = [0.2]\n').warm[0]])
    assert given == ["2", "5"]
