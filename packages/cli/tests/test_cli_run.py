"""The command `run`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import outcome, rows, scratch, start, wait_for

from scratch_cli import checkpoint

CLIMB = ("--trainer", "climb")


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRATCH_HOME", raising=False)


def fails(capsys: pytest.CaptureFixture[str], code: int, *args: object) -> str:
    """Run a command that must fail with this code and one line, which is returned."""
    capsys.readouterr()
    assert scratch(*args) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0] == err.splitlines()[-1]
    assert "Traceback" not in err
    return lines[0]


# --- what a run leaves ----------------------------------------------------------------------------------------------


def test_a_run_leaves_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch("run", "--trainer", "climb-warm") == 0
    out, err = capsys.readouterr()
    (run,) = Path("runs").iterdir()
    assert re.fullmatch(r"\d{8}T\d{6}Z-letters-table-climb-warm", run.name)
    assert sorted(p.name for p in run.iterdir()) == [
        "checkpoints", "metrics.jsonl", "model", "report.html",
        "result.json", "rollouts.jsonl", "run.toml", "tokenizer",
    ]  # fmt: skip
    assert "climb-warm  20/20" in err
    for text in (
        "after the warm start (9 steps of climb", "after 20 steps of climb-warm", "greedy", "sampled",
        "A toy teaches nothing", "reward 0.50", str(run),
    ):  # fmt: skip
        assert text in out
    assert out.count("<script>alert(1)</script>") == 3
    metrics = rows(run / "metrics.jsonl")
    assert [m["step"] for m in metrics if m["stage"] == "warm_start"] == list(range(1, 10))
    assert [m["step"] for m in metrics if m["stage"] == "train" and "loss" in m] == list(range(1, 21))
    assert [m["step"] for m in metrics if "eval/greedy" in m] == [0, 20]
    assert len(rows(run / "rollouts.jsonl")) == 29


def test_the_next_commands_work_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch("run", "--out", "it's a run", "--trainer", "count", "--steps", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [shlex.split(line) for line in lines[lines.index("Next:") + 1 :]]
    assert len(commands) == 3
    assert [command[:2] for command in commands] == [["scratch", "generate"], ["scratch", "run"], ["scratch", "run"]]
    for command in commands:
        assert scratch(*command[1:]) == 0, command


def test_json_is_one_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch("run", "--json", "--trainer", "climb-warm", "--out", "a") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "after the warm start" in err
    assert "scratch run a/run.toml --seed 2" in err
    result = json.loads(out)
    assert result["run"] == "a"
    assert result["task"] == "toy"
    assert set(result["before"]) == set(result["after"]) == {"greedy", "sampled"}
    assert result["seconds"] >= sum(stage["seconds"] for stage in result["stages"])
    assert [(s["stage"], s["trainer"], s["steps"]) for s in result["stages"]] == [
        ("warm_start", "climb", 9), ("train", "climb-warm", 20),
    ]  # fmt: skip
    assert result == json.loads(Path("a/result.json").read_text())
    assert scratch("run", "--json", "--trainer", "count", "--steps", 3, "--out", "b") == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["before"]) == set(result["after"]) == {"loss"}


def test_quiet_says_only_where_the_run_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch("run", "-q", *CLIMB, "--out", "a") == 0
    assert capsys.readouterr() == ("a\n", "")


def test_dry_run_prints_the_plan_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch("run", "--dry-run", *CLIMB, "--steps", 7) == 0
    out = capsys.readouterr().out
    assert list(Path().iterdir()) == []
    Path("plan.toml").write_text(out)
    assert scratch("run", "plan.toml", "--out", "a", "--json") == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["steps"] == 7


def test_evaluation_and_saving_follow_their_options() -> None:
    assert scratch("run", *CLIMB, "--out", "a", "--set", "run.eval_every=7", "--set", "run.save_every=3",
                   "--set", "run.keep=4", "--set", "run.log_every=10") == 0  # fmt: skip
    metrics = rows(Path("a/metrics.jsonl"))
    assert [m["step"] for m in metrics if "eval/greedy" in m] == [0, 7, 14, 20]
    assert [m["step"] for m in metrics if "loss" in m] == [1, 10, 20]
    assert [step for _, step, _ in checkpoint.listing(Path("a/checkpoints"))] == [20, 18, 15, 12]


def test_eval_gives_what_the_run_gave(capsys: pytest.CaptureFixture[str]) -> None:
    for name, *args in (["a", "climb"], ["b", "climb-warm", "--adapter", "shift"], ["c", "count"]):
        assert scratch("run", "--json", "--out", name, "--trainer", *args) == 0
        after = json.loads(capsys.readouterr().out)["after"]
        assert scratch("eval", name, "--json") == 0
        assert json.loads(capsys.readouterr().out)["values"] == after
    assert scratch("eval", "a") == 0
    assert capsys.readouterr().out.startswith("held-out data, finished: greedy")


def test_runs_go_below_scratch_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH_HOME", "home with ä space")
    assert scratch("run", *CLIMB) == 0
    assert scratch("run", *CLIMB) == 0  # in the same second, too
    assert len(list(Path("home with ä space/runs").iterdir())) == 2


# --- --from ---------------------------------------------------------------------------------------------------------


def test_from_starts_where_the_other_run_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch("run", "--json", "--trainer", "climb-warm", "--out", "a") == 0
    first = json.loads(capsys.readouterr().out)
    assert scratch("run", "--json", "--from", "a", "--trainer", "climb-warm", "--out", "b") == 0
    second = json.loads(capsys.readouterr().out)
    assert second["before"] == first["after"]
    assert [stage["stage"] for stage in second["stages"]] == ["train"]  # no warm start
    assert scratch("run", "b/run.toml", "--out", "c") == 0
    assert outcome(Path("b")) == outcome(Path("c"))


def test_from_folds_an_adapter_into_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--json", "--trainer", "count", "--steps", 5)
    assert scratch("run", *args, "--adapter", "delta", "--out", "a") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["after"] != first["before"]
    assert scratch("run", *args, "--from", "a", "--out", "b") == 0
    second = json.loads(capsys.readouterr().out)
    assert second["before"]["loss"] == pytest.approx(first["after"]["loss"], rel=1e-6)
    assert scratch("generate", "a", "ab") == 0
    # An adapter that does not really merge is noticed.
    assert scratch("run", *args, "--adapter", "delta", "--set", "adapter.merges=false", "--out", "c") == 0
    assert "cannot be folded into the model" in fails(capsys, 2, "run", *args, "--from", "c")


def test_from_refuses_what_it_must(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch("run", *CLIMB, "--out", "a") == 0
    Path("empty").mkdir()
    assert "is not the directory of a run" in fails(capsys, 2, "run", "--from", "empty", *CLIMB)
    assert "is no directory" in fails(capsys, 2, "run", "--from", "nowhere", *CLIMB)
    assert "leave the name out" in fails(capsys, 2, "run", "--from", "a", *CLIMB, "--model", "pairs")
    assert "model: width cannot be changed" in fails(capsys, 2, "run", "--from", "a", *CLIMB, "--set", "model.width=9")
    for part, file in (("tokenizer", "letters.json"), ("model", "table.json")):
        path = Path("a") / part / file
        good = path.read_bytes()
        path.write_bytes(good + b" ")
        line = fails(capsys, 5, "run", "--from", "a", *CLIMB)
        assert re.search(
            rf"a/{part}: is not the {part} of this run: its files have the hash \w{{16}}, .*records \w{{16}}", line
        )
        path.write_bytes(good)
    Path("a/result.json").unlink()
    assert "scratch run --resume a" in fails(capsys, 2, "run", "--from", "a", *CLIMB)
    assert sorted(path.name for path in Path().iterdir()) == ["a", "empty"]  # nothing was begun


# --- refusals -------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("binary").write_bytes(b"\xff\xfe\x00")
    Path("no.toml").write_text("this is\nno toml")
    for code, text, args in (
        (2, "did you mean 'climb'", ["--trainer", "clim"]),
        (2, "did you mean 'steps'", [*CLIMB, "--set", "trainer.step=1"]),
        (2, "trainer.steps: got the text 'many'", [*CLIMB, "--set", "trainer.steps=many"]),
        (2, "did you mean 'trainer'", [*CLIMB, "--set", "trainr.steps=1"]),
        (2, "no.toml", ["no.toml"]),
        (2, "missing.toml", ["missing.toml"]),
        (3, "binary", [*CLIMB, "--data", "binary"]),
        (3, "missing", [*CLIMB, "--data", "missing"]),
        (3, "binary", [*CLIMB, "--data", "binary", "--dry-run"]),
        (4, "the module 'scratch_fakes.lost' is missing", [*CLIMB, "--adapter", "lost"]),
        (2, "run.start_from", [*CLIMB, "--set", "run.start_from=x"]),
    ):
        assert text in fails(capsys, code, "run", *args)
    assert sorted(path.name for path in Path().iterdir()) == ["binary", "no.toml"]


def test_a_run_that_is_refused_while_it_is_built_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("one word").write_text("word")  # which is held out, so that nothing is left to train on
    for out in ("new", "empty"):
        args = (*CLIMB, "--data", "one word", "--out", out)
        assert "there is no letter in the text" in fails(capsys, 3, "run", *args)
    assert fails(capsys, 3, "run", *CLIMB, "--data", "one word")
    assert [path.name for path in sorted(Path().rglob("*"))] == ["one word", "runs"]


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], name: str) -> None:
    torch = pytest.importorskip("torch", reason="devices are torch's")
    if getattr(torch, name).is_available():
        pytest.skip(f"there is a {name} device here")
    line = fails(capsys, 2, "run", *CLIMB, "--device", name)
    assert f"run.device: got '{name}'" in line
    assert "--device cpu" in line
    assert list(Path().iterdir()) == []


def test_the_cpu_is_used_without_asking_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="devices are torch's")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked for CUDA"))
    assert scratch("run", "--trainer", "count", "--steps", 1, "--device", "cpu") == 0


@pytest.mark.parametrize(
    ("threads", "parameters", "expected"), [(0, 10, 1), (0, 3_000_000, os.cpu_count()), (3, 10, 3), (5, 3_000_000, 5)]
)
def test_threads_follow_the_size_of_the_model(
    monkeypatch: pytest.MonkeyPatch, threads: int, parameters: int, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch = pytest.importorskip("torch", reason="threads are torch's")
    from scratch_cli.build import set_threads

    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.empty(parameters, device="meta"))
    set_threads(threads, model)
    assert chosen == [expected]
    monkeypatch.setenv("OMP_NUM_THREADS", "7,2")  # counts where nobody has said and the model is large
    set_threads(threads, model)
    assert chosen[1] == (7 if threads == 0 and expected > 1 else expected)


def test_a_directory_with_something_in_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("full").mkdir()
    Path("full/file").touch()
    assert "is not empty" in fails(capsys, 2, "run", *CLIMB, "--out", "full")
    assert "is a file" in fails(capsys, 2, "run", *CLIMB, "--out", "full/file")
    assert "cannot make the run's directory" in fails(capsys, 2, "run", *CLIMB, "--out", "full/file/below")
    Path("empty").mkdir()
    assert scratch("run", *CLIMB, "--out", "empty") == 0


def test_a_loss_that_is_not_finite_ends_the_run_with_the_checkpoint_kept(capsys: pytest.CaptureFixture[str]) -> None:
    args = (*CLIMB, "--out", "a", "--set", "trainer.nan_at=8", "--set", "run.save_every=5")
    line = fails(capsys, 1, "run", *args)
    assert "the loss of climb is nan at step 8" in line
    assert "step-000005" in line
    assert checkpoint.listing(Path("a/checkpoints"))[0][1] == 5
    last, alarm = rows(Path("a/metrics.jsonl"))[-2:]
    assert alarm["alarm"] == "not finite"
    assert last["loss"] is None
    assert last["not_finite"] == ["loss"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_the_run_can_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    assert scratch("run", *CLIMB, "--out", "straight", "--set", "run.save_every=5") == 0
    real, calls = checkpoint.sync_file, []

    def full(path: Path) -> None:
        calls.append(path)
        if len(calls) > 7:  # in the midst of the third checkpoint, after steps 0 and 5
            raise OSError(code, os.strerror(code), str(path))
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "sync_file", full)
        line = fails(capsys, 1, "run", *CLIMB, "--out", "a", "--set", "run.save_every=5")
    assert os.strerror(code) in line
    assert "the checkpoint step-000005 is intact" in line
    assert "scratch run --resume a" in line
    assert not list(Path("a").rglob(".tmp*"))
    assert scratch("run", "--resume", "a") == 0
    assert outcome(Path("a")) == outcome(Path("straight"))


def test_a_limit_on_file_sizes_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="limits of processes are a POSIX matter")
    code = (
        "import resource, sys; from scratch_cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    from scratch_fakes.command import environment

    done = subprocess.run(
        [sys.executable, "-c", code, "run", *CLIMB, "--out", "a", "--steps", "200"],
        env={**os.environ, **environment()}, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert scratch("run", "--resume", "a") == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions stop")
def test_a_directory_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("closed").mkdir(mode=0o555)
    assert "Permission denied" in fails(capsys, 2, "run", *CLIMB, "--out", "closed/run")
    assert "Permission denied" in fails(capsys, 1, "run", *CLIMB, "--out", "closed")


# --- surroundings ---------------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    process = start("run", *CLIMB, "--out", "a", "--set", "trainer.wait_at=3", cwd=tmp_path)
    wait_for(Path("waiting").exists, process)
    process.stdout.close()
    process.stderr.close()
    Path("waiting").unlink()
    assert process.wait(60) in (0, 1, 141)
    assert json.loads(Path("a/result.json").read_text())["stages"][0]["steps"] == 20


def test_no_home_is_needed(tmp_path: Path) -> None:
    env = {"HOME": "", "USERPROFILE": "", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    process = start("run", *CLIMB, "--out", "a", cwd=tmp_path, env=env)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_warm_start_that_does_not_fit_says_that_it_is_the_warm_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own trainer may have an option of the name that the message tells to set."""
    from scratch_fakes import parts

    class DoesNotFit(ValueError):
        exit_code = 2

    made = parts.Climb.__init__

    def init(self: parts.Climb, config: object, **wired: object) -> None:
        if config.steps == 12:  # type: ignore[attr-defined]
            raise DoesNotFit("model: too short; set too_long=skip")
        made(self, config, **wired)  # type: ignore[arg-type]

    monkeypatch.setattr(parts.Climb, "__init__", init)
    line = fails(capsys, 2, "run", "--trainer", "climb-warm", "--quiet")
    assert line == ("error: warm_start: model: too short; set too_long=skip (its options: --set warm_start.NAME=VALUE)")
