"""Bad input through the real command with the real parts: one clear line, the right exit code, and nothing lost.

Every test says what the line must contain: what is wrong, where, and what to do. The parts are tiny. What only the
operating system can do (signals, permissions, a full disk) happens to a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from scratch_cli.checkpoint import listing
from scratch_cli.main import main
from scratch_cli.rundir import RunDirectory

TINY = [
    "run", "--tokenizer", "byte", "--model", "gpt", "--trainer", "grpo", "--task", "sort",
    "--set", "task.length=4", "--set", "task.n_train=64", "--set", "task.n_held_out=16",
    "--set", "model.n_layer=1", "--set", "model.n_head=2", "--set", "model.n_embd=16",
    "--set", "trainer.prompts_per_step=4", "--set", "trainer.group_size=4", "--set", "run.eval_every=0",
    "--set", "warm_start.name=none",
]  # fmt: skip
TEXT = [
    "run", "--tokenizer", "byte", "--model", "gpt", "--trainer", "pretrain", "--steps", "2",
    "--set", "model.n_layer=1", "--set", "model.n_head=2", "--set", "model.n_embd=16", "--set", "trainer.context=8",
]  # fmt: skip
DEADLINE = 120.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run. Tests that injure it take a copy."""
    directory = tmp_path_factory.mktemp("finished") / "good"
    assert main([*TINY, "--steps", "3", "--set", "run.save_every=1", "--out", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, of the same shape: only the weights and the tokenizer differ."""
    directory = tmp_path_factory.mktemp("other") / "other"
    assert main([*TINY, "--tokenizer", "char", "--steps", "1", "--seed", "2", "--out", str(directory)]) == 0
    return directory


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test works in a folder of its own and with one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRATCH_HOME", raising=False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """Run a command that must end with this code and one line on stderr, which is returned."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    return the_line(err)


def the_line(err: str) -> str:
    """The error, which is the last line and the only one of its kind."""
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert errors[0] == err.rstrip().splitlines()[-1]
    return errors[0]


def nothing_was_written(*but: str) -> bool:
    """No file, and no run directory either: `runs` may be there, empty."""
    found = {path.relative_to(Path.cwd()).as_posix() for path in Path.cwd().rglob("*")}
    return found <= {*but, "runs"}


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def copied(run: Path) -> Path:
    return Path(shutil.copytree(run, Path.cwd() / run.name))


# --- what is typed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--tokenizer", "bep"], ["tokenizer 'bep'", "did you mean 'bpe'?", "byte, char"]),
        (["--model", "gptt"], ["model 'gptt'", "did you mean 'gpt'?", "bigram"]),
        (["--trainer", "gropo"], ["trainer 'gropo'", "did you mean 'grpo'?", "sft"]),
        (["--task", "sorted"], ["task 'sorted'", "did you mean 'sort'?", "add"]),
        (["--adapter", "lore"], ["adapter 'lore'", "did you mean 'lora'?"]),
        (["--tokeniser", "bpe"], ["--tokeniser", "--tokenizer", "scratch run --help"]),
        (["--set", "model.n_layers=2"], ["model.n_layers", "did you mean 'n_layer'?", "n_head"]),
        (["--set", "trainer.larning_rate=1"], ["trainer.larning_rate", "there is no such option", "lr"]),
        (["--set", "modle.n_layer=2"], ["section 'modle'", "did you mean 'model'?", "warm_start"]),
        (["--set", "n_layer=2"], ["'n_layer=2'", "kind.field=value", "model.n_layer=2"]),
    ],
)  # fmt: skip
def test_misspelt(capsys: pytest.CaptureFixture[str], arguments: list[str], texts: list[str]) -> None:
    line = refused(capsys, 2, "run", *arguments)
    for text in texts:
        assert text in line
    assert nothing_was_written()


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        ("model.n_layer=two", ["model.n_layer", "'two'", "must be a whole number"]),
        ("model.n_layer=2.5", ["model.n_layer", "2.5", "must be a whole number"]),
        ("model.bias=1", ["model.bias", "1", "must be true or false"]),
        ("trainer.lr=nan", ["trainer.lr", "'nan'", "must be a number"]),
        ("trainer.lr=[1]", ["trainer.lr", "[1]", "must be a number"]),
        ("trainer.group_size=true", ["trainer.group_size", "true", "must be a whole number"]),
        ("model.n_embd=63", ["model.n_embd", "63", "must be a multiple of n_head"]),
        ("run.seed=-1", ["run.seed", "-1", "must be in 0"]),
        ("trainer.steps=0", ["trainer.steps", "0", "must be"]),
        ("run.device=gpu", ["run.device", "'gpu'", "'cpu' or 'cuda'"]),
    ],
)
def test_wrong_type_or_value(capsys: pytest.CaptureFixture[str], setting: str, texts: list[str]) -> None:
    line = refused(capsys, 2, "run", "--set", setting)
    for text in texts:
        assert text in line
    assert nothing_was_written()


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"[model\nn_layer = 2\n", ["is not valid TOML", "line 1"]),
        (b"[model]\nn_layer = \n", ["is not valid TOML", "line 2"]),
        (b"\x80\x04\x95\x00 a pickle, say", ["line 1", "is not UTF-8", "must be a TOML file"]),
        (b"PK\x03\x04 an archive", ["is not valid TOML", "line 1"]),
        (b"n_layer = 2\n", ["'n_layer'", "outside of any section", "[model]"]),
        (b"[modell]\nn_layer = 2\n", ["section 'modell'", "did you mean 'model'?"]),
        (b"[model]\nn_layr = 2\n", ["model.n_layr", "did you mean 'n_layer'?"]),
        (b"[model]\nn_layer = '2'\n", ["model.n_layer", "the text '2'", "must be a whole number"]),
        (b"x = " + b"[" * 5000 + b"]" * 5000, ["nested too deeply"]),
        (b"#" * 2_000_000, ["is larger than 1 MiB"]),
    ],
)
def test_a_toml_file_that_is_none(capsys: pytest.CaptureFixture[str], content: bytes, texts: list[str]) -> None:
    Path("plan.toml").write_bytes(content)
    line = refused(capsys, 2, "run", "plan.toml")
    for text in texts:
        assert text in line
    assert "plan.toml" in line or "model.n_lay" in line
    assert nothing_was_written("plan.toml")


def test_a_toml_file_that_is_missing_or_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.toml: cannot be read: No such file" in refused(capsys, 2, "run", "none.toml")
    Path("folder").mkdir()
    assert "folder: is a directory, must be a TOML file" in refused(capsys, 2, "run", "folder")
    assert nothing_was_written("folder")


def test_parts_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, 2, "run", "--model", "skipgram")
    for text in ("trainer 'grpo'", "model 'skipgram'", "'causal-lm'", "models that fit grpo: bigram, gpt", "word2vec"):
        assert text in line
    assert nothing_was_written()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    for command in (["run"], ["generate", finished, "1 2 ="], ["eval", finished]):
        line = refused(capsys, 2, *command, "--device", "cuda")
        for text in ("run.device", "'cuda'", f"torch {torch.__version__}", "--device cpu"):
            assert text in line
    assert nothing_was_written()


# --- data and prompts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", ["byte 0", "empty"]),
        (b" \n\t\n", ["white space only"]),
        (b"text\x00and more\n" * 100, ["byte 4", "binary", "UTF-8 text file is needed"]),
        (b"caf\xe9 au lait\n" * 100, ["byte 3", "0xe9 is not UTF-8", "convert"]),
        ("text\n".encode("utf-16") * 100, ["byte 0", "UTF-16", "convert the file to UTF-8"]),
    ],
    ids=["empty", "blank", "binary", "latin-1", "utf-16"],
)
def test_data_that_is_no_text(capsys: pytest.CaptureFixture[str], content: bytes, texts: list[str]) -> None:
    Path("data.txt").write_bytes(content)
    line = refused(capsys, 3, *TEXT, "--data", "data.txt")
    for text in ["data.txt", *texts]:
        assert text in line
    assert nothing_was_written("data.txt")


def test_data_that_is_missing_or_a_directory_or_for_no_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.txt: cannot be read: No such file" in refused(capsys, 3, *TEXT, "--data", "none.txt")
    assert "is a directory, not a text file" in refused(capsys, 3, *TEXT, "--data", ".")
    Path("data.txt").write_text("words and more words\n" * 50)
    line = refused(capsys, 2, *TINY, "--data", "data.txt")
    assert "task 'sort'" in line
    assert "tasks that read data: choice, corpus, file, gsm8k" in line
    assert nothing_was_written("data.txt")


def test_data_that_is_too_short_leaves_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.txt").write_text("hi")
    line = refused(capsys, 3, *TEXT, "--data", "data.txt")
    for text in ("2 tokens", "one window needs 9", "use more text or a smaller context"):
        assert text in line
    assert nothing_was_written("data.txt")


def test_data_that_changed_since_the_run_began(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.txt").write_text("words and more words\n" * 50)
    assert main([*TEXT, "--data", "data.txt", "--out", "run"]) == 0
    (Path("run") / "result.json").unlink()  # as if it had been interrupted just before the end
    before = contents(Path("run/checkpoints"))
    Path("data.txt").write_text("other words\n" * 50)
    line = refused(capsys, 3, "run", "--resume", "run")
    for text in ("data.txt", "has changed", "its hash was", "restore the file"):
        assert text in line
    Path("data.txt").rename("elsewhere.txt")
    line = refused(capsys, 3, "run", "--resume", "run")
    assert "now there is no such file here" in line
    assert contents(Path("run/checkpoints")) == before


def test_a_prompt_longer_than_the_context(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    line = refused(capsys, 3, "generate", finished, "1 " * 100)
    for text in ("200 tokens", "128 at most", "shorten it"):
        assert text in line
    # One that leaves too little room says so, and gives what fits.
    assert main(["generate", str(finished), "1 " * 60, "--max-new-tokens", "50"]) == 0
    assert "8 are left to generate" in capsys.readouterr().err


def test_a_task_longer_than_the_context_leaves_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, 2, *TINY, "--set", "model.block_size=8", "--out", "run")
    for text in ("model: reads 8 tokens at most", "task's longest prompt", "enlarge the model's context"):
        assert text in line
    assert nothing_was_written()


# --- runs and checkpoints -------------------------------------------------------------------------------------------


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


# --- processes of their own -----------------------------------------------------------------------------------------


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
