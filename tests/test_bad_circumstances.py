"""Runs that others have touched, damaged files, interruptions, full and read-only disks: one line, and nothing lost.

Through the real command with the real parts, which are tiny. What only the operating system can do (signals,
permissions, a full disk) happens to a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from refusals import TINY, contents, nothing_was_written, refused, the_line

from scratch_cli.checkpoint import listing
from scratch_cli.main import main
from scratch_cli.rundir import RunDirectory

pytestmark = pytest.mark.usefixtures("empty_folder")
DEADLINE = 120.0


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, of the same shape: only the weights and the tokenizer differ."""
    directory = tmp_path_factory.mktemp("other") / "other"
    assert main([*TINY, "--tokenizer", "char", "--steps", "1", "--seed", "2", "--out", str(directory)]) == 0
    return directory


def copied(run: Path) -> Path:
    return Path(shutil.copytree(run, Path.cwd() / run.name))


# --- runs and checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["run", "--from"], ["run", "--resume"], ["eval"], ["generate"]])
def test_a_directory_that_is_no_run(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    Path("folder").mkdir()
    line = refused(capsys, 2, *command, "folder")
    assert "folder: is not the directory of a run (run.toml is missing)" in line
    assert "none: is no directory" in refused(capsys, 2, *command, "none")
    Path("folder/run.toml").write_text("[project]\nname = 'x'\n")
    assert "is not the directory of a run (run.toml: no [trainer]" in refused(capsys, 2, *command, "folder")
    assert nothing_was_written("folder", "folder/run.toml")


@pytest.mark.parametrize("part", ["tokenizer", "model"])
def test_a_tokenizer_or_model_of_another_run(
    capsys: pytest.CaptureFixture[str], finished: Path, other: Path, part: str
) -> None:
    run = copied(finished)
    replace(run / part, other / part)
    before = contents(Path.cwd())
    for command in (["run", "--from", run], ["eval", run], ["generate", run, "1 2 ="]):
        line = refused(capsys, 5, *command)
        assert f"{run / part}: is not the {part} of this run" in line
        for owner in (run, other):
            assert RunDirectory(owner).hashes()[part][:16] in line
        assert "restore them, or make a new run" in line
    assert contents(Path.cwd()) == before


def test_a_checkpoint_of_another_configuration(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    run = unfinished(finished)
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("group_size = 4", "group_size = 8"))
    before = contents(run)
    line = refused(capsys, 5, "run", "--resume", run)
    own = RunDirectory(finished).hashes()["config"][:16]
    for part in ("step-000003", "is a checkpoint of another config", own, "this run has", "begin a new run"):
        assert part in line
    assert contents(run) == before


def test_a_checkpoint_of_another_tokenizer(capsys: pytest.CaptureFixture[str], finished: Path, other: Path) -> None:
    # The tokenizer and its hash are exchanged together: only the checkpoint knows better.
    run = unfinished(finished)
    own, theirs = (RunDirectory(directory).hashes()["tokenizer"] for directory in (finished, other))
    (run / "run.toml").write_text((run / "run.toml").read_text().replace(own, theirs))
    replace(run / "tokenizer", other / "tokenizer")
    before = contents(run)
    line = refused(capsys, 5, "run", "--resume", run)
    for part in ("step-000003", "is a checkpoint of another tokenizer", own[:16], theirs[:16], "begin a new run"):
        assert part in line
    assert contents(run) == before


def unfinished(run: Path) -> Path:
    """A copy that was interrupted just before its end."""
    copy = copied(run)
    (copy / "result.json").unlink()
    return copy


def replace(directory: Path, by: Path) -> None:
    shutil.rmtree(directory)
    shutil.copytree(by, directory)


def test_a_damaged_checkpoint_is_passed_over_and_with_none_left_the_code_is_5(
    capsys: pytest.CaptureFixture[str], finished: Path
) -> None:
    run = unfinished(finished)
    newest, previous = (path for _, _, path in listing(run / "checkpoints"))
    flip(newest / "tensors.safetensors")
    assert main(["run", "--resume", str(run), "--json"]) == 0
    assert f"damaged checkpoint: {newest.name}/tensors.safetensors" in capsys.readouterr().err
    (run / "result.json").unlink()
    for path in (newest, previous):
        flip(path / "tensors.safetensors")
    line = refused(capsys, 5, "run", "--resume", run)
    for text in ("no intact checkpoint", newest.name, previous.name, "tensors.safetensors", "SHA-256"):
        assert text in line


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_two_runs_into_one_directory(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    before = contents(finished)
    line = refused(capsys, 2, *TINY, "--out", finished)
    for text in (str(finished), "holds a run already", "--resume", "choose another directory"):
        assert text in line
    assert "is finished" in refused(capsys, 2, "run", "--resume", finished)
    assert contents(finished) == before
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("precious")
    assert "mine: is not empty" in refused(capsys, 2, *TINY, "--out", "mine")
    assert "is a file" in refused(capsys, 2, *TINY, "--out", "mine/thesis.txt")
    assert Path("mine/thesis.txt").read_text() == "precious"


# --- processes of their own ------------------------------------------------------------------------------------------


def start(*arguments: object, before: Sequence[str] = (), cwd: Path | None = None) -> subprocess.Popen[str]:
    """The command as a process of its own; `before` is the program that starts it, if any."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "scratch_cli", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def started(*arguments: object) -> subprocess.Popen[str]:
    """A run in ./run whose first steps are done."""
    process = start(*TINY, "--out", "run", "--set", "run.save_every=1", *arguments)
    deadline = time.monotonic() + DEADLINE
    while not any(step > 0 for _, step, _ in listing(Path("run/checkpoints"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals between processes")
def test_ctrl_c_once_and_two_processes_in_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    process = started("--steps", "100000")
    try:
        for command in (["run", "--resume", "run"], [*TINY, "--out", "run"]):
            line = refused(capsys, 2, *command)
            for text in ("run: is in use by process", str(process.pid), "wait for it to end"):
                assert text in line
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 130
    line = the_line(err)
    for text in ("stopped after step", "of 100000", "continue with: scratch run --resume run"):
        assert text in line
    assert listing(Path("run/checkpoints"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals between processes")
def test_ctrl_c_twice(capsys: pytest.CaptureFixture[str]) -> None:
    # Steps of many seconds, so that the second one arrives in the middle of one.
    process = start(
        *TINY, "--out", "run", "--steps", "9", "--set", "trainer.prompts_per_step=4096",
        "--set", "trainer.group_size=64", "--set", "task.n_train=4096", "--set", "task.length=6",
    )  # fmt: skip
    try:
        assert process.stderr is not None
        seen = ""
        while "0/9" not in seen:  # evaluated before the first step, which is what it is about to take
            seen += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        while "stopping after this step" not in seen:
            seen += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in seen + err
    assert err.strip() == "stopped at once; the newest checkpoint is intact"
    assert [path.name for _, _, path in listing(Path("run/checkpoints"))] == ["step-000000"]
    text = Path("run/run.toml").read_text()
    assert "steps = 9" in text
    capsys.readouterr()
    assert main(["generate", "run", "1 2 =", "--max-new-tokens", "2"]) == 0
    assert "using step-000000" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("resource") is None, reason="limits of processes are a POSIX matter")
def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint() -> None:
    # The first checkpoint has weights only, the next also both moments of the optimizer: that one meets the limit.
    code = (
        "import resource, sys; from scratch_cli.main import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (80000, 80000)); sys.exit(main(sys.argv[1:]))"
    )
    arguments = [*TINY, "--trainer", "sft", "--out", "run", "--steps", "4"]
    arguments = without(arguments, "trainer.prompts_per_step=4", "trainer.group_size=4")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--set", "run.save_every=2"],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    line = the_line(done.stderr)
    for text in (
        "File too large",
        "step-000000 is intact",
        "when that is repaired, continue with: scratch run --resume run",
    ):
        assert text in line
    assert not list(Path("run").rglob(".tmp*"))
    assert main(["run", "--resume", "run", "--json"]) == 0


def without(arguments: list[str], *values: str) -> list[str]:
    """The command line without some of its `--set`s."""
    for value in values:
        place = arguments.index(value)
        arguments = arguments[: place - 1] + arguments[place + 1 :]
    return arguments


@pytest.fixture
def unprivileged() -> list[str]:
    """What stands before a command so that permissions stop it, also if the tests run as root."""
    if os.name == "nt":
        pytest.skip("Windows has no read-only directories")
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root is stopped by no permission, and there is no setpriv to give that up")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def test_a_run_directory_that_is_read_only(unprivileged: list[str], finished: Path) -> None:
    folder = Path("folder").absolute()
    (folder / "closed").mkdir(parents=True)
    run = Path(shutil.copytree(finished, folder / "run"))
    (run / "result.json").unlink()
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = contents(folder)
    try:
        for arguments, code, texts in (
            ([*TINY, "--out", "closed"], 1, ["closed: cannot be written to", "Permission denied"]),
            ([*TINY, "--out", "closed/new"], 2, ["cannot make the run's directory", "closed/new", "--out DIR"]),
            (["run", "--resume", "run"], 1, ["run: cannot be written to", "Permission denied"]),
        ):
            process = start(*arguments, before=unprivileged, cwd=folder)
            out, err = process.communicate(timeout=DEADLINE)
            assert process.returncode == code, err
            assert out == ""
            line = the_line(err)
            for text in texts:
                assert text in line
        assert contents(folder) == before
        reader = start("generate", "run", "1 2 =", "--max-new-tokens", "2", before=unprivileged, cwd=folder)
        _, err = reader.communicate(timeout=DEADLINE)
        assert reader.returncode == 0, err  # reading needs no writing
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)
