"""Drives a trainer's generator through one stage of a run: log, evaluate, checkpoint, stop.

A trainer's `train()` is the algorithm; everything around it is here. What is recorded depends on steps alone, never on
the clock, and a checkpoint holds how long the logs were when it was written. So a resumed run cuts its logs back to
there, goes on, and ends with the same files as a run that was never interrupted, but for times.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from scratch_cli import checkpoint, jsonl
from scratch_cli.alarms import Watchman
from scratch_cli.build import load_trainer_state
from scratch_cli.checkpoint import Checkpoint
from scratch_cli.errors import CheckpointError, RunFailed, ScratchError
from scratch_cli.rundir import resume_command

if TYPE_CHECKING:
    from scratch_cli.plan import Chosen, RunConfig
    from scratch_cli.rundir import RunDirectory
    from scratch_cli.signals import StopSignals

WARM_START, MAIN = "warm_start", "train"
PREFIX = {WARM_START: "warm", MAIN: "step"}


class Stopped(ScratchError):
    """Ended by a signal, with a checkpoint written. The exit code is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Progress(Protocol):
    """What a driver tells whoever watches."""

    def start(self, title: str, total: int, done: int) -> None: ...
    def step(self, step: int, metrics: Mapping[str, Any]) -> None: ...
    def evaluated(self, step: int, values: Mapping[str, Any]) -> None: ...
    def end(self) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A trainer at work. `name` is WARM_START or MAIN; only the main stage is evaluated by the host."""

    name: str
    trainer: Any
    chosen: Chosen

    @property
    def total(self) -> int:
        return int(self.chosen.config.steps)


@dataclass
class Record:
    """What is known about a run so far; part of every checkpoint."""

    before: dict[str, Any] | None = None
    last_evaluation: dict[str, Any] | None = None
    """`step` and `values` of the newest one."""
    steps: dict[str, int] = field(default_factory=dict)
    """Stage -> steps taken."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage (and `tokenizer`) -> seconds spent, over all sessions of the run."""


class Driver:
    """Drives the stages of one run. Use as a context manager: it holds the log files open."""

    def __init__(
        self,
        directory: RunDirectory,
        run: RunConfig,
        *,
        meta: Mapping[str, Any],
        progress: Progress,
        stop: StopSignals,
        resumed: Checkpoint | None = None,
    ) -> None:
        """`meta` goes into every checkpoint; with `resumed`, logs are cut back to what they were then."""
        self.directory, self.run, self.meta, self.progress, self.stop = directory, run, meta, progress, stop
        self.record = Record()
        self.saved: tuple[str, int] | None = None
        sizes: Mapping[str, int] = {}
        if resumed is not None:
            self.record, sizes = _host_state(resumed)
            self.saved = (resumed.prefix, resumed.step)
        for path in (directory.metrics, directory.rollouts):
            missing = jsonl.cut(path, sizes.get(path.name, 0))
            if missing:
                progress.note(f"{path}: {missing} bytes that were logged before the checkpoint are missing")
        self.watchmen = {WARM_START: Watchman(), MAIN: Watchman()}
        self.alarms = _recorded_alarms(directory, self.watchmen)
        """Those of all sessions, as metrics.jsonl has them."""
        self.metrics = jsonl.JsonLines(directory.metrics)
        self.rollouts = jsonl.JsonLines(directory.rollouts)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.metrics.close()
        self.rollouts.close()

    def drive(self, stage: Stage, resumed: Checkpoint | None = None) -> None:
        """Run the stage from its start, or from where `resumed` left it, to its end.

        Raises Stopped after a signal, with a checkpoint written; RunFailed if the loss is not finite; CheckpointError
        if the checkpoint's state does not fit the trainer.
        """
        step = 0
        if resumed is not None:
            load_trainer_state(stage.trainer, resumed.state["trainer"], resumed.path)
            step = resumed.step
        clock = _Clock(self.record.seconds, stage.name, tokens=0.0 if resumed is None else None)
        self.record.steps[stage.name] = step
        self.progress.start(_title(stage), stage.total, step)
        try:
            with self.stop.between_steps():
                if resumed is None:
                    self._save(stage, 0)
                if stage.name == MAIN and self.record.before is None:
                    self.record.before = self._evaluate(stage, 0)
                self._stop_if_asked(stage, step)
                started = time.perf_counter()
                for metrics in self._steps(stage):
                    took = time.perf_counter() - started
                    step = self._log(stage, metrics, took, clock)
                    if stage.name == MAIN and _due(step, self.run.eval_every, stage.total):
                        self._evaluate(stage, step)
                    clock.tick()
                    if _due(step, self.run.save_every, stage.total):
                        self._save(stage, step)
                    self._stop_if_asked(stage, step)
                    started = time.perf_counter()
                if stage.name == MAIN:
                    if self.evaluated_at != step:
                        self._evaluate(stage, step)
                    clock.tick()
                    self._save(stage, step)
                    self._stop_if_asked(stage, step)
        finally:
            clock.tick()
            self.progress.end()

    @property
    def evaluated_at(self) -> int | None:
        return None if self.record.last_evaluation is None else int(self.record.last_evaluation["step"])

    def _log(self, stage: Stage, metrics: Mapping[str, Any], took: float, clock: _Clock) -> int:
        step = int(metrics["step"] or 0)
        self.record.steps[stage.name] = step
        row = {"stage": stage.name, **metrics, "seconds": round(clock.seconds(), 6)}
        tokens = metrics.get("num_tokens")
        if tokens is not None:
            row["tokens_per_second"] = None if clock.tokens is None else round((tokens - clock.tokens) / took, 1)
            clock.tokens = tokens
        loss = metrics.get("loss")
        broken = loss is not None and not math.isfinite(loss)
        if step % self.run.log_every == 0 or step in (1, stage.total) or broken:
            self.metrics.append(row)
            # Alarms see what is logged and no more: a resumed run, which reads them back, raises the same ones.
            for alarm in self.watchmen[stage.name].see(row):
                self.alarms.append(alarm.row(stage.name))
                self.metrics.append(self.alarms[-1])
                self.progress.note(f"alarm: {alarm.text}")
        self._log_rollouts(stage, step)
        self.progress.step(step, row)
        if broken:
            raise RunFailed(
                f"the loss of {stage.chosen.spelled} is {loss} at step {step}; a smaller learning rate may help "
                f"({self._last_checkpoint()})"
            )
        return step

    def _steps(self, stage: Stage) -> Iterator[Mapping[str, Any]]:
        """What the trainer yields. If a step fails, what it had sampled is logged: it is what one wants to look at."""
        try:
            yield from stage.trainer.train()
        except Exception:
            with contextlib.suppress(Exception):  # the trainer's error is the one to show
                self._log_rollouts(stage, self.record.steps[stage.name] + 1, failed=True)
            raise

    def _log_rollouts(self, stage: Stage, step: int, *, failed: bool = False) -> None:
        """What was sampled in `step`; of a failed step only what says so itself, which older rollouts do not."""
        if not hasattr(stage.trainer, "last_rollouts"):
            return
        where = {"stage": stage.name, "step": step}
        rollouts = stage.trainer.last_rollouts()
        if failed:
            rollouts = [{**rollout, "failed": True} for rollout in rollouts if rollout.get("step") == step]
        self.rollouts.append(*({**where, **rollout} for rollout in rollouts))

    def _evaluate(self, stage: Stage, step: int) -> dict[str, Any]:
        values = dict(stage.trainer.evaluate())
        self.metrics.append(
            {"stage": stage.name, "step": step, **{f"eval/{name}": value for name, value in values.items()}}
        )
        self.record.last_evaluation = {"step": step, "values": values}
        self.progress.evaluated(step, values)
        return values

    def _save(self, stage: Stage, step: int) -> None:
        prefix = PREFIX[stage.name]
        if self.saved == (prefix, step) and step > 0:
            return
        logs = {log.path.name: log.sync() for log in (self.metrics, self.rollouts)}
        host = {**vars(self.record), "logs": logs}
        state = {"trainer": stage.trainer.state_dict(), "host": host}
        meta = {**self.meta, "stage": stage.name}
        checkpoint.write(self.directory.checkpoints, step, state, meta, prefix=prefix, keep=self.run.keep)
        self.saved = (prefix, step)

    def _stop_if_asked(self, stage: Stage, step: int) -> None:
        number = self.stop.requested
        if number is None:
            return
        self._save(stage, step)
        raise Stopped(
            f"stopped after step {step} of {stage.total} ({_title(stage)}); "
            f"continue with: {resume_command(self.directory.path)}",
            number,
        )

    def _last_checkpoint(self) -> str:
        newest = checkpoint.listing(self.directory.checkpoints)
        return f"the last checkpoint is {newest[0][2]}" if newest else "there is no checkpoint"


class _Clock:
    """Adds to a stage's seconds, over sessions; counts tokens between two steps."""

    def __init__(self, seconds: dict[str, float], stage: str, *, tokens: float | None) -> None:
        self._all, self._stage = seconds, stage
        self._base = seconds.get(stage, 0.0)
        self._started = time.perf_counter()
        self.tokens = tokens

    def seconds(self) -> float:
        return self._base + time.perf_counter() - self._started

    def tick(self) -> None:
        self._all[self._stage] = self.seconds()


def _recorded_alarms(directory: RunDirectory, watchmen: Mapping[str, Watchman]) -> list[dict[str, Any]]:
    """The alarms in the log of a run that goes on; the watchmen are shown what they saw before."""
    found = []
    for row in jsonl.read(directory.metrics):
        if "alarm" in row:
            found.append(row)
            watchmen[row["stage"]].raised.add(row["alarm"])
        elif row.get("stage") in watchmen and not any(key.startswith("eval/") for key in row):
            watchmen[row["stage"]].see(row)
    return found


def _due(step: int, every: int, total: int) -> bool:
    """At every multiple, except at the end, where it is done anyway."""
    return every > 0 and step % every == 0 and step != total


def _title(stage: Stage) -> str:
    return f"{'warm start by ' if stage.name == WARM_START else ''}{stage.chosen.spelled}"


def _host_state(resumed: Checkpoint) -> tuple[Record, Mapping[str, int]]:
    try:
        host = dict(resumed.state["host"])
        logs = {str(name): int(size) for name, size in host.pop("logs").items()}
        return Record(**host), logs
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{resumed.path}: is not a checkpoint of this version: {error}") from None
