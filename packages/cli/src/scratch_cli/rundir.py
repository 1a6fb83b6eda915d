"""The directory of one run: what is where, how it is made, opened and recorded.

runs/20260718T143401Z-bpe-gpt-grpo/        the time is UTC
    run.toml          the resolved plan, [versions] and [hashes]; `scratch run run.toml` repeats the run
    tokenizer/ model/ adapter/ trainer/    as their parts save themselves; hashes of them stand in run.toml
    metrics.jsonl     one object a step; rollouts.jsonl  what was sampled
    checkpoints/      see `scratch_cli.checkpoint`
    result.json       what `--json` prints; it is there when, and only when, the run is finished
    report.html
    lock              while a process works in it
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratch_cli import checkpoint, durable, jsonl
from scratch_cli.config import read_toml
from scratch_cli.errors import CheckpointError, DataError, PluginError, RunFailed, UsageError
from scratch_cli.lock import Lock

if TYPE_CHECKING:
    from scratch_cli.plan import Plan

RUN_TOML, RESULT = "run.toml", "result.json"
HEADER = "# `scratch run run.toml` repeats this run; `scratch run --resume` with this directory continues it.\n\n"


@dataclass(frozen=True)
class RunDirectory:
    """Paths below one run's directory, and the records that are kept there."""

    path: Path

    @property
    def toml(self) -> Path:
        return self.path / RUN_TOML

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def trainer(self) -> Path:
        """What a trainer has learned besides the model, if it saves files."""
        return self.path / "trainer"

    @property
    def start(self) -> Path:
        """The model that an unfinished run with `--from` started from."""
        return self.path / "start"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def result(self) -> Path:
        return self.path / RESULT

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def finished(self) -> bool:
        return self.result.is_file()

    def clean(self) -> None:
        """Remove what a killed process left half-written. Only while holding the lock."""
        durable.clean(self.path)
        durable.clean(self.checkpoints)

    # --- run.toml ---------------------------------------------------------------------------------------------------

    def record(self, plan: Plan, hashes: Mapping[str, str]) -> None:
        """Write run.toml: the plan, the versions of what it uses, and the hashes known so far."""
        import tomli_w

        records = {"versions": versions(plan), "hashes": dict(hashes)}
        durable.write_file(self.toml, (HEADER + plan.to_toml() + "\n" + tomli_w.dumps(records)).encode())

    def tables(self) -> dict[str, Any]:
        """run.toml as read."""
        return read_toml(self.toml)

    def hashes(self) -> dict[str, str]:
        """The table [hashes] of run.toml: `config`, and where they exist `data`, the names of saved parts, and the
        options that name other runs (see `used_runs`)."""
        return {str(key): str(value) for key, value in self.tables().get("hashes", {}).items()}

    def verify(self, *parts: str) -> None:
        """Compare saved parts (`tokenizer`, `model`, `adapter`, `trainer`, `start`) with the hashes in run.toml.

        Raises CheckpointError with both hashes if one differs, or is missing.
        """
        recorded = self.hashes()
        for part in parts:
            directory = self.path / part
            if part not in recorded or not directory.is_dir():
                raise CheckpointError(f"{directory}: this run has saved no {part}")
            actual = durable.directory_hash(directory)
            if actual != recorded[part]:
                raise CheckpointError(
                    f"{directory}: is not the {part} of this run: its files have the hash {actual[:16]}, "
                    f"{self.toml} records {recorded[part][:16]}; restore them, or make a new run"
                )

    # --- result.json ------------------------------------------------------------------------------------------------

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result; from now on the run is finished."""
        durable.write_file(self.result, jsonl.line(result))
        shutil.rmtree(self.start, ignore_errors=True)

    def read_result(self) -> dict[str, Any]:
        """The result of a finished run. Raises CheckpointError if the file is damaged."""
        try:
            result = json.loads(self.result.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.result}: not readable: {error}") from None
        if not isinstance(result, dict):
            raise CheckpointError(f"{self.result}: not readable: holds no object")
        return result


# --- making and opening ---------------------------------------------------------------------------------------------


def create(plan: Plan, out: Path | None) -> RunDirectory:
    """Make the directory of a new run: `out`, which must be new or empty, or one in `plan.run.runs` named by time.

    A relative `plan.run.runs` lies in $SCRATCH_HOME if that is set, else in the working directory.
    Raises UsageError if `out` is in use, and if the directory cannot be made.
    """
    try:
        if out is not None:
            return _create_at(out)
        root = Path(os.environ.get("SCRATCH_HOME") or ".") / plan.run.runs
        root.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{stamp}-{plan.tokenizer.part.name}-{plan.model.part.name}-{plan.trainer.part.name}"
        for number in range(1, 10_000):
            path = root / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return RunDirectory(path)
        raise UsageError(f"{root}: has ten thousand runs of this second")
    except OSError as error:
        raise UsageError(
            f"cannot make the run's directory: {error.filename}: {error.strerror}; try --out DIR"
        ) from None


def _create_at(out: Path) -> RunDirectory:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; --out takes a new or empty directory")
    if (out / RUN_TOML).exists():
        with Lock(out / "lock"):  # if it is in use, the message says by whom
            pass
        raise UsageError(f"{out}: holds a run already; continue it with --resume, or choose another directory")
    out.mkdir(parents=True, exist_ok=True)
    if any(path.name != "lock" for path in out.iterdir()):
        raise UsageError(f"{out}: is not empty; --out takes a new or empty directory")
    return RunDirectory(out)


@contextlib.contextmanager
def locked(directory: RunDirectory, *, new: bool) -> Iterator[None]:
    """Hold the run's lock, with what a killed process left behind removed.

    A new run that is refused (exit codes 2, 3 and 4) before its first checkpoint, or that ends in whatever way before
    its run.toml is written, leaves nothing behind.

    Raises UsageError if another process works there, or (`new`) has begun a run there meanwhile; RunFailed if the
    directory is not writable.
    """
    with contextlib.ExitStack() as stack:
        empty = stack.enter_context(contextlib.ExitStack())  # left after the lock
        try:
            stack.enter_context(Lock(directory.path / "lock"))
        except OSError as error:
            raise RunFailed(f"{directory.path}: cannot be written to: {error.strerror}") from error
        if new and directory.toml.exists():
            raise UsageError(f"{directory.path}: holds a run already; choose another directory")
        directory.clean()
        try:
            yield
        except BaseException as error:
            if new and (getattr(error, "exit_code", 1) in _REFUSALS or not directory.toml.exists()):
                abandon(directory)
                empty.callback(_remove_if_empty, directory.path)
            raise


_REFUSALS = (UsageError.exit_code, DataError.exit_code, PluginError.exit_code)


def _remove_if_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()


def abandon(directory: RunDirectory) -> None:
    """Remove a run that failed before its first checkpoint: what there is of it is of no use, and in the way.

    Only for the process that holds the lock; the directory itself goes once the lock has left it, if it is empty.
    """
    if checkpoint.listing(directory.checkpoints):
        return
    for path in (directory.tokenizer, directory.start, directory.checkpoints):
        shutil.rmtree(path, ignore_errors=True)
    for path in (directory.toml, directory.metrics, directory.rollouts):
        path.unlink(missing_ok=True)


def open_run(path: Path) -> RunDirectory:
    """The directory of an existing run. Raises UsageError if it is none."""
    if path.name == RUN_TOML and path.is_file():
        path = path.parent
    if not path.is_dir():
        raise UsageError(f"{path}: is no directory; give the directory of a run, as `scratch run` names it at its end")
    directory = RunDirectory(path)
    try:
        tables = tomllib.loads(directory.toml.read_text("utf-8"))
        if "trainer" not in tables or "hashes" not in tables:
            raise ValueError("no [trainer] or no [hashes] in it")
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{RUN_TOML} is missing" if isinstance(error, FileNotFoundError) else f"{RUN_TOML}: {error}"
        raise UsageError(f"{path}: is not the directory of a run ({reason})") from None
    return directory


# --- what a run was made with ---------------------------------------------------------------------------------------


def config_hash(plan: Plan) -> str:
    """SHA-256 of everything in the plan that decides what a checkpoint means: all but how the host drives the run."""
    mapping: dict[str, Any] = dict(plan.to_mapping())
    mapping["run"] = {"seed": plan.run.seed}
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()


def data_hash(plan: Plan) -> str | None:
    """SHA-256 of the file that the task reads; None if it reads none."""
    path = data_file(plan)
    return durable.file_hash(path) if path is not None and path.is_file() else None


def data_file(plan: Plan) -> Path | None:
    """The file that the task reads, as the plan names it; None if it reads none."""
    if plan.task is None or plan.task.part.data is None:
        return None
    value = getattr(plan.task.config, plan.task.part.data, None)
    return Path(value) if value else None


def used_runs(plan: Plan) -> dict[str, str]:
    """`section.option` -> SHA-256 of what is saved in the run that the option names, for all options that name one.

    Such as the run to start from and the one whose reward model pays: a path says nothing about what lies there now.
    """
    named = {f"{section}.{name}": v for section, values in plan.to_mapping().items() for name, v in values.items()}
    found = {}
    for option, value in named.items():
        with contextlib.suppress(OSError, ValueError):  # a text that is no path
            if isinstance(value, str) and value and (Path(value) / RUN_TOML).is_file():
                directory = RunDirectory(Path(value))
                saved = (directory.tokenizer, directory.model, directory.adapter, directory.trainer)
                hashes = [durable.directory_hash(path) if path.is_dir() else "" for path in saved]
                found[option] = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    return found


def versions(plan: Plan) -> dict[str, str]:
    """Python, the platform, the host, every distribution that a chosen part comes from, and torch and numpy if used."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    parts = {chosen.part.distribution: chosen.part.version for chosen in plan.chosen().values() if chosen is not None}
    names = ["scratch-cli", *(name for name in ("torch", "numpy") if name in sys.modules)]
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, **parts}


# --- commands to paste ----------------------------------------------------------------------------------------------


def resume_command(path: Path) -> str:
    """The command that continues the run at `path`, ready to paste."""
    return f"scratch run --resume {quoted(path)}"


def quoted(path: Path | str) -> str:
    """A path as the shell takes it: POSIX quoting, double quotes on Windows."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))
