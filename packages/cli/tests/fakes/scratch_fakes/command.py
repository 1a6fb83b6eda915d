"""Ways to run the command `scratch` with the fake parts: in this process, or as a process of its own."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scratch_cli.main import main
from scratch_cli.registry import Registry, discover

HERE = Path(__file__).resolve().parent.parent
DEADLINE = 60.0
TIMES = ("seconds", "tokens_per_second")


@functools.cache
def registry() -> Registry:
    return discover(
        ep
        for dist in importlib.metadata.distributions(path=[str(HERE)])
        for ep in dist.entry_points
        if ep.group == "scratch"
    )


def scratch(*args: object) -> int:
    """Run in this process, in the current directory; the exit code."""
    return main([str(arg) for arg in args], registry=registry())


def start(*args: object, cwd: Path, **popen: Any) -> subprocess.Popen[str]:
    """Start a process of its own, with output in pipes."""
    popen.setdefault("stdout", subprocess.PIPE)
    popen.setdefault("stderr", subprocess.PIPE)
    env = {**os.environ, **environment(), **popen.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "scratch_cli", *map(str, args)], cwd=cwd, text=True, env=env, **popen
    )


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(HERE), "SCRATCH_PLUGINS": "scratch-fakes", "OMP_NUM_THREADS": "1"}


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Wait until the condition holds, and return what it gave; fails if the process ends first, or after a minute."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := condition():
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {process.communicate()}")
        time.sleep(0.002)
    raise AssertionError("waited for a minute in vain")


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a log without what depends on the clock."""
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES and not k.startswith("time/")} for row in found]


def outcome(run: Path) -> dict[str, Any]:
    """Everything of a finished run that must not depend on interruptions."""
    result = json.loads((run / "result.json").read_text("utf-8"))
    return {
        "metrics": rows(run / "metrics.jsonl"),
        "rollouts": rows(run / "rollouts.jsonl"),
        "result": [result[key] for key in ("before", "after", "samples")],
        "files": {
            path.relative_to(run).as_posix(): path.read_bytes()
            for part in ("tokenizer", "model", "adapter")
            for path in sorted((run / part).rglob("*"))
        },
    }
