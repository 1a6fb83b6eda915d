"""Runs the runs: each in a process of its own, a few at a time, so that one that crashes takes nothing along.

What is finished is left alone and what was begun is resumed, so an ablation that was stopped in whatever way goes on
with the same command.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from scratch_cli import durable
from scratch_cli.ablation.jobs import Job
from scratch_cli.errors import CheckpointError
from scratch_cli.signals import Interrupted

PATIENCE = 60.0
"""Seconds that a run gets for its last step and a checkpoint when all is stopped."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    job: Job
    result: Mapping[str, Any] | None
    """None if it failed."""
    error: str = ""
    seconds: float = 0.0
    """Spent on it now; 0 if it was there already."""


class Executor:
    """Runs jobs and keeps their outcomes. `done` is told of each one as it ends."""

    def __init__(self, jobs: int, done: Callable[[Outcome], None]) -> None:
        self.jobs, self.done = jobs, done
        self.outcomes: dict[str, Outcome] = {}
        """By the directory of the run."""
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._stopping = False

    def run(self, jobs: Sequence[Job]) -> None:
        """Run what is not finished yet. A job whose warm start has failed fails with it.

        Raises KeyboardInterrupt after a signal, once the runs at work have written checkpoints.
        """
        with ThreadPoolExecutor(self.jobs) as pool, self._stopped_together():
            waiting: set[Future[Outcome]] = {pool.submit(self._outcome, job) for job in jobs}
            try:
                while waiting:
                    ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in ended:
                        outcome = future.result()
                        self.outcomes[str(outcome.job.path)] = outcome
                        self.done(outcome)
            except BaseException:
                self._stopping = True
                for future in waiting:
                    future.cancel()
                raise

    def _outcome(self, job: Job) -> Outcome:
        if self._stopping:
            return Outcome(job=job, result=None, error="stopped")
        if job.finished():
            return _read(job, 0.0)
        if job.needs is not None:
            start = self.outcomes[str(job.needs.path)]
            if start.result is None:
                return Outcome(job=job, result=None, error=f"{job.needs.title} failed: {start.error}")
        started = time.perf_counter()
        code, said = self._process(job)
        seconds = time.perf_counter() - started
        if code == 0:
            return _read(job, seconds)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        error = (errors or lines or [f"ended with the exit code {code}"])[-1]
        return Outcome(job=job, result=None, error=error, seconds=seconds)

    def _process(self, job: Job) -> tuple[int, str]:
        """Begin or resume the run; its exit code and what it said on standard error."""
        path = job.path
        if job.directory.toml.exists():
            arguments = ["--resume", str(path)]
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            toml = path.with_name(f"{path.name}.toml")
            durable.write_file(toml, job.plan.to_toml().encode())
            arguments = [str(toml), "--out", str(path)]
        command = [sys.executable, "-m", "scratch_cli", "run", "-q", *arguments]
        with self._guard:
            if self._stopping:
                return 130, "stopped"
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"OMP_NUM_THREADS": str(share_of_cores(self.jobs)), **os.environ},
            )
            self._processes.add(process)
        try:
            _, said = process.communicate()
        finally:
            with self._guard:
                self._processes.discard(process)
        return process.returncode, said.decode("utf-8", "replace")

    @contextlib.contextmanager
    def _stopped_together(self) -> Iterator[None]:
        """A signal stops the runs as it stops a single one: after their step, with a checkpoint; a second one at once.

        On a terminal Ctrl-C has reached the runs already; that they are told again, by SIGTERM, changes nothing.
        """
        try:
            yield
        except BaseException:
            self._stopping = True
            with self._guard:
                processes = list(self._processes)
            for process in processes:
                process.terminate()
            end = time.monotonic() + PATIENCE
            try:
                for process in processes:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(max(0.0, end - time.monotonic()))
            except (KeyboardInterrupt, Interrupted):
                pass
            finally:
                for process in processes:
                    if process.poll() is None:
                        process.kill()
            raise


def share_of_cores(jobs: int) -> int:
    """CPU threads for each of `jobs` processes, unless `run.threads` or OMP_NUM_THREADS in the environment says."""
    return max(1, (os.cpu_count() or 1) // jobs)


def _read(job: Job, seconds: float) -> Outcome:
    try:
        return Outcome(job=job, result=job.directory.read_result(), seconds=seconds)
    except CheckpointError as error:
        return Outcome(job=job, result=None, error=str(error), seconds=seconds)
