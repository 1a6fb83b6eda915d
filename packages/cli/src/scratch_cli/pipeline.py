"""A whole run, in the order in which it happens; the same code starts a run and resumes one.

    task -> tokenizer -> model -> sampler -> warm start (if any) -> adapter -> trainer -> saved model, report, result

Everything random is drawn from the run's seed, afresh at every stage: a resumed run builds the same objects as the
first time, and then loads what training has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scratch_cli import checkpoint
from scratch_cli.build import Workshop, count_parameters, load_trainer_state, seed_everything
from scratch_cli.checkpoint import Checkpoint
from scratch_cli.drive import MAIN, PREFIX, WARM_START, Driver, Progress, Stage, Stopped
from scratch_cli.errors import CheckpointError, DataError, RunFailed, UsageError
from scratch_cli.rundir import data_file, resume_command
from scratch_cli.signals import Interrupted, StopSignals

if TYPE_CHECKING:
    from scratch_cli.plan import Plan
    from scratch_cli.rundir import RunDirectory
    from scratch_cli.saved import SavedRun


@dataclass(frozen=True)
class Ending:
    """A finished run: what `result.json` holds, and the objects that are of use for a last word."""

    result: dict[str, Any]
    task: Any
    directory: RunDirectory
    plan: Plan


def newest_checkpoint(directory: RunDirectory, plan: Plan, progress: Progress) -> Checkpoint | None:
    """Where to resume, checked to belong to this run; None if it was interrupted before its first checkpoint.

    Damaged checkpoints are reported and passed over. Raises CheckpointError if none is intact, or if the newest one
    belongs to another configuration or another tokenizer (naming both hashes); DataError if the data has changed.
    """
    if directory.finished:
        raise UsageError(
            f"{directory.path}: is finished, there is nothing to resume; to train its model further: "
            f"scratch run --from {directory.path}"
        )
    found = checkpoint.newest_intact(directory.checkpoints, warn=progress.note)
    if found is None:
        progress.note(f"{directory.path}: has no checkpoint yet; starting from the beginning")
        return None
    recorded = Workshop(plan, directory, "cpu").hashes | {"tokenizer": directory.hashes().get("tokenizer", "none")}
    for what in ("config", "tokenizer"):
        if found.meta.get(what) != recorded[what]:
            raise CheckpointError(
                f"{found.path}: is a checkpoint of another {what}: it was written with the hash "
                f"{str(found.meta.get(what))[:16]}, this run has {recorded[what][:16]}; "
                f"undo what was changed in {directory.path}, or begin a new run"
            )
    if found.meta.get("data") != recorded.get("data"):
        now = f"now it is {recorded['data'][:16]}" if "data" in recorded else "now there is no such file here"
        raise DataError(
            f"{data_file(plan)}: the data has changed since this run began: its hash was "
            f"{str(found.meta.get('data'))[:16]}, {now}; restore the file, or begin a new run"
        )
    return found


def conduct(
    workshop: Workshop, task: Any, *, progress: Progress, stop: StopSignals, resumed: Checkpoint | None = None
) -> Ending:
    """Run what `workshop.plan` says, from the start or from `resumed`, to the end. The caller holds the lock.

    Raises Stopped after a signal, RunFailed if the disk is full or not writable (old checkpoints are intact), and
    whatever the parts raise.
    """
    with _one_line_for(workshop.directory):
        return _conduct(workshop, task, progress, stop, resumed)


def _conduct(
    workshop: Workshop, task: Any, progress: Progress, stop: StopSignals, resumed: Checkpoint | None
) -> Ending:
    plan, directory, started = workshop.plan, workshop.directory, time.perf_counter()
    if resumed is None:
        workshop.record()  # from here on the directory is a run, and can be resumed
        tokenizer = workshop.new_tokenizer(task)
    else:
        workshop.hashes.update(directory.hashes())
        tokenizer = workshop.saved_tokenizer()
    tokenizer_seconds = time.perf_counter() - started

    meta: dict[str, str] = {
        name: workshop.hashes[name] for name in ("config", "tokenizer", "data") if name in workshop.hashes
    }
    in_main = resumed is not None and resumed.prefix == PREFIX[MAIN]
    if in_main and plan.adapter is not None:
        model = workshop.saved_model()  # as it was when the adapter was attached
    else:
        model = workshop.first_model(tokenizer, fresh=resumed is None)
    wired = {"model": model, "tokenizer": tokenizer, "task": task, "sampler": workshop.sampler()}
    with Driver(directory, plan.run, meta=meta, progress=progress, stop=stop, resumed=resumed) as driver:
        carried = sum(driver.record.seconds.values())
        driver.record.seconds.setdefault("tokenizer", tokenizer_seconds)
        if plan.warm_start is not None and not in_main:
            seed_everything(plan.run.seed + 1)
            try:
                trainer = workshop.trainer(plan.warm_start, **wired, adapter=None)
            except ValueError as error:
                if getattr(error, "exit_code", None) != UsageError.exit_code:
                    raise
                # Its trainer has options of the same names as the one that the run is about.
                raise UsageError(f"{WARM_START}: {error} (its options: --set {WARM_START}.NAME=VALUE)") from error
            driver.drive(Stage(name=WARM_START, trainer=trainer, chosen=plan.warm_start), resumed)
            del trainer  # and its optimizer
        if plan.adapter is not None and not in_main:
            workshop.save_model(model)
        seed_everything(plan.run.seed + 2)
        adapter = workshop.adapter(model)
        trainer = workshop.trainer(plan.trainer, **wired, adapter=adapter)
        driver.drive(Stage(name=MAIN, trainer=trainer, chosen=plan.trainer), resumed if in_main else None)

    if adapter is None:
        workshop.save_model(model)
    else:
        workshop.save_adapter(adapter)
    workshop.save_trainer(trainer)
    samples = [dict(sample) for sample in trainer.samples(3)] if hasattr(trainer, "samples") else []
    result = _result(plan, directory, driver, model, samples, carried + time.perf_counter() - started)
    ending = Ending(result, task, directory, plan)
    _report(ending, progress)
    directory.finish(result)
    return ending


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """The parts of a run as they are now, wired; nothing was written."""

    tokenizer: Any
    model: Any
    trainer: Any
    where: str
    """What state this is: `finished`, or the checkpoint's name."""


def rebuild(workshop: Workshop, saved: SavedRun, task: Any, warn: Callable[[str], None]) -> Rebuilt:
    """A run's parts: of a finished one as saved, else as in its newest intact checkpoint.

    Raises CheckpointError if what is saved is damaged, UsageError if nothing is saved yet.
    """
    plan, directory = workshop.plan, workshop.directory
    tokenizer = saved.tokenizer()
    wired = {"tokenizer": tokenizer, "task": task, "sampler": workshop.sampler()}
    if directory.finished:
        model = workshop.placed(saved.base_model())
        adapter = saved.attach_adapter(model)
        trainer = workshop.trainer(plan.trainer, model=model, adapter=adapter, **wired)
        workshop.load_trainer(trainer)
        return Rebuilt(tokenizer=tokenizer, model=model, trainer=trainer, where="finished")
    found = checkpoint.newest_intact(directory.checkpoints, warn=warn)
    if found is None:
        raise UsageError(
            f"{directory.path}: has no checkpoint yet; go on with it first: {resume_command(directory.path)}"
        )
    in_main = found.prefix == PREFIX[MAIN]
    adapted = in_main and plan.adapter is not None
    model = workshop.saved_model() if adapted else workshop.first_model(tokenizer, fresh=False)
    adapter = workshop.adapter(model) if adapted else None
    chosen = plan.trainer if in_main or plan.warm_start is None else plan.warm_start
    trainer = workshop.trainer(chosen, model=model, adapter=adapter, **wired)
    load_trainer_state(trainer, found.state["trainer"], found.path)
    return Rebuilt(tokenizer=tokenizer, model=model, trainer=trainer, where=found.path.name)


def _result(
    plan: Plan, directory: RunDirectory, driver: Driver, model: Any, samples: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    record = driver.record
    after = record.last_evaluation["values"] if record.last_evaluation is not None else {}
    return {
        "run": str(directory.path),
        "task": None if plan.task is None else plan.task.part.name,
        "before": record.before or {},
        "after": after,
        "seconds": round(seconds, 3),
        "stages": [
            {
                "stage": name,
                "trainer": chosen.part.name,
                "steps": record.steps.get(name, 0),
                "seconds": round(record.seconds.get(name, 0.0), 3),
            }
            for name, chosen in ((WARM_START, plan.warm_start), (MAIN, plan.trainer))
            if chosen is not None
        ],
        "tokenizer_seconds": round(record.seconds.get("tokenizer", 0.0), 3),
        "parameters": count_parameters(model),
        "trainable_parameters": count_parameters(model, trainable=True),
        "parts": {kind: None if chosen is None else chosen.part.name for kind, chosen in plan.chosen().items()},
        "seed": plan.run.seed,
        "samples": samples,
        "alarms": driver.alarms,
    }


def _report(ending: Ending, progress: Progress) -> None:
    """The report is for reading; what goes wrong in it must not take the run along."""
    from scratch_cli import report

    try:
        report.write(ending.directory, ending.plan, ending.result)
    except Exception as error:
        progress.note(f"no report was written: {type(error).__name__}: {error}")


@contextmanager
def _one_line_for(directory: RunDirectory) -> Iterator[None]:
    """Signals outside of steps, and the disk's complaints, as errors that say how to go on."""

    def go_on() -> str:
        begun = directory.toml.exists()
        return f"continue with: {resume_command(directory.path)}" if begun else "begin again: nothing was written yet"

    try:
        yield
    except Interrupted as error:
        raise Stopped(f"stopped; {go_on()}", error.number) from None
    except OSError as error:
        if hasattr(error, "exit_code"):
            raise
        newest = checkpoint.listing(directory.checkpoints)
        kept = f"; the checkpoint {newest[0][2].name} is intact" if newest else ""
        raise RunFailed(
            f"{error.filename or directory.path}: {error.strerror or error}{kept}; when that is repaired, {go_on()}"
        ) from error
