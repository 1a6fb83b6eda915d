"""A tiny run, and what is asked of every refusal: one line on stderr, the right exit code, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from scratch_cli.main import main

TINY = [
    "run", "--tokenizer", "byte", "--model", "gpt", "--trainer", "grpo", "--task", "sort",
    "--set", "task.length=4", "--set", "task.n_train=64", "--set", "task.n_held_out=16",
    "--set", "model.n_layer=1", "--set", "model.n_head=2", "--set", "model.n_embd=16",
    "--set", "trainer.prompts_per_step=4", "--set", "trainer.group_size=4", "--set", "run.eval_every=0",
    "--set", "warm_start.name=none",
]  # fmt: skip


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
