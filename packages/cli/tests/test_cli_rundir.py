"""Run directories: locks, logs and hashes."""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from scratch_cli import durable, jsonl
from scratch_cli.errors import CheckpointError, UsageError
from scratch_cli.lock import Lock
from scratch_cli.rundir import RunDirectory, open_run, quoted

# --- lock -----------------------------------------------------------------------------------------------------------


def test_a_lock_is_refused_while_held_and_names_its_holder(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from scratch_cli.lock import Lock\n"
        "with Lock(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match=rf"in use by process {holder.pid} on {socket.gethostname()}"), Lock(path):
        pass
    holder.kill()  # what it leaves behind is stale
    holder.communicate()
    assert path.exists()
    with Lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    if os.name != "nt":
        assert not path.exists()


def test_a_lock_of_another_host_is_left_to_the_user(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text('{"pid": 1, "host": "elsewhere"}')
    with pytest.raises(UsageError, match=r"process 1 on elsewhere.*delete .*lock"), Lock(path):
        pass


@pytest.mark.parametrize("text", ["", "rubbish", "[]", '{"pid": "x"}', "\x00" * 10])
def test_unreadable_lock_files_are_taken_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock"
    path.write_text(text)
    if "pid" in text:
        path.write_text(json.dumps({"pid": "x", "host": socket.gethostname()}))
    with Lock(path):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows always has locks of its own")
def test_without_locks_of_the_system_the_process_id_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratch_cli.lock._system_lock", lambda descriptor: False)
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": os.getppid(), "host": socket.gethostname()}))
    with pytest.raises(UsageError, match="in use"), Lock(path):
        pass
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(json.dumps({"pid": gone.pid, "host": socket.gethostname()}))
    with Lock(path):
        pass


# --- JSON lines -----------------------------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_become_null_and_are_named(tmp_path: Path) -> None:
    log = jsonl.JsonLines(tmp_path / "log")
    log.append({"step": 1, "loss": math.nan, "inner": {"a": [1.0, -math.inf]}, "fine": 2.0})
    log.append({"a": np.float32(0.5), "b": torch.tensor([1.0, math.inf]), "c": Path("x"), "d": np.int64(3)})
    log.close()
    text = (tmp_path / "log").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    first, second = jsonl.read(tmp_path / "log")
    assert first == {
        "step": 1, "loss": None, "inner": {"a": [1.0, None]}, "fine": 2.0, "not_finite": ["loss", "inner.a.1"],
    }  # fmt: skip
    assert second == {"a": 0.5, "b": [1.0, None], "c": "x", "d": 3, "not_finite": ["b.1"]}


def test_logs_are_cut_to_a_size_or_to_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    rows = [{"step": step, "text": "x" * 70_000 if step == 2 else ""} for step in range(4)]
    sizes = [0]
    for row in rows:
        sizes.append(sizes[-1] + len(jsonl.line(row)))
    whole = b"".join(map(jsonl.line, rows))
    for keep, size in enumerate(sizes):
        path.write_bytes(whole)
        assert jsonl.cut(path, size) == 0
        assert list(jsonl.read(path)) == rows[:keep]
    path.write_bytes(whole[:-3])  # a kill in the middle of the last line
    assert list(jsonl.read(path)) == rows[:3]
    assert jsonl.cut(path, sizes[4]) == sizes[4] - sizes[3]
    assert path.read_bytes() == whole[: sizes[3]]
    path.write_bytes(b"no line at all")
    assert jsonl.cut(path, 14) == 14
    assert path.read_bytes() == b""
    assert jsonl.cut(tmp_path / "none", 5) == 5
    assert list(jsonl.read(tmp_path / "none")) == []


def test_the_tail_of_a_log_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(jsonl.line({"step": step}) for step in range(1000)))
    assert [row["step"] for row in jsonl.tail(path, 3)] == [997, 998, 999]
    assert [row["step"] for row in jsonl.tail(path, 99, window=40)] == [998, 999]
    assert len(jsonl.tail(path, 5000)) == 1000
    assert jsonl.tail(tmp_path / "none", 3) == []


def test_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"a": 1}\nrubbish\n[1]\n\xff\xfe\n{"b": 2}\n{"c"')
    assert list(jsonl.read(tmp_path / "log")) == [{"a": 1}, {"b": 2}]


# --- files and directories ------------------------------------------------------------------------------------------


def test_the_hash_of_a_directory_sees_names_and_contents(tmp_path: Path) -> None:
    def make(name: str, **files: str) -> str:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return durable.directory_hash(tmp_path / name)

    assert make("a", x="1", y="2") == make("b", y="2", x="1")
    assert len({make("a"), make("c", x="2", y="1"), make("d", x="12", y=""), make("e", **{"s/x": "1", "y": "2"})}) == 4
    if os.name != "nt":
        (tmp_path / "a" / "link").symlink_to("/etc/passwd")
        with pytest.raises(CheckpointError, match="link: is a link"):
            make("a")


def test_a_directory_is_replaced_at_once_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    first = durable.write_directory(target, lambda d: (d / "w").write_text("1"))
    assert first == durable.directory_hash(target)

    def fails(directory: Path) -> None:
        (directory / "w").write_text("2")
        raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        durable.write_directory(target, fails)
    assert durable.directory_hash(target) == first
    assert durable.write_directory(target, lambda d: (d / "w").write_text("3")) != first
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("text", [None, "", "no toml", "[run]\n", "\x00\xff", "[trainer]\nname='x'\n"])
def test_what_is_no_run_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "run.toml").write_text(text, "latin-1")
    with pytest.raises(UsageError, match="is not the directory of a run"):
        open_run(tmp_path)
    with pytest.raises(UsageError, match="is no directory"):
        open_run(tmp_path / "none")


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.finish({"after": {"loss": math.nan}})
    assert run.finished
    assert run.read_result() == {"after": {"loss": None}, "not_finite": ["after.loss"]}
    run.result.write_text("{")
    with pytest.raises(CheckpointError, match=r"result\.json"):
        run.read_result()


@pytest.mark.skipif(os.name == "nt", reason="POSIX quoting")
def test_paths_are_quoted_to_paste() -> None:
    assert quoted("runs/a") == "runs/a"
    assert quoted("it's here; rm") == "'it'\"'\"'s here; rm'"


def test_what_safetensors_says_of_a_full_disk_is_an_oserror(tmp_path: Path) -> None:
    def save(directory: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space left") as caught:
        durable.write_directory(tmp_path / "model", save)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []

    def refuse(directory: Path) -> None:
        raise SafetensorError("shared tensors")

    with pytest.raises(SafetensorError):
        durable.write_directory(tmp_path / "model", refuse)
