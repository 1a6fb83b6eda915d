"""`scratch run`: from the names of parts to a trained model, a run directory and a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scratch_cli.app import App, complete_part, pass_app, screen_options
from scratch_cli.errors import UsageError

if TYPE_CHECKING:
    from scratch_cli.pipeline import Ending
    from scratch_cli.plan import Plan
    from scratch_cli.progress import Watch
    from scratch_cli.rundir import RunDirectory
    from scratch_cli.saved import SavedRun

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


def _part(kind: str, what: str) -> Callable[[F], F]:
    return click.option(f"--{kind}", metavar="NAME", shell_complete=complete_part(kind), help=what)


@click.command()
@click.argument("toml", metavar="[RUN.toml]", required=False, type=PATH)
@_part("tokenizer", "Text to ids (default: bpe).")
@_part("model", "The model (default: gpt).")
@_part("sampler", "How the next id is drawn.")
@_part("trainer", "The algorithm (default: grpo).")
@_part("adapter", "Train only a small change of the model.")
@_part("task", "What to learn (default: the trainer's).")
@click.option("--data", metavar="FILE", help="Learn from this file.")
@click.option("--from", "start_from", metavar="RUN", type=PATH, help="Start from the model of a finished run.")
@click.option("--resume", metavar="RUN", type=PATH, help="Continue an interrupted run.")
@click.option("--set", "sets", metavar="KIND.FIELD=VALUE", multiple=True, help="Set an option of a part (repeatable).")
@click.option("--steps", type=int, metavar="N", help="Steps of the trainer.")
@click.option("--seed", type=int, metavar="N", help="Seed of all random choices.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")
@click.option("--out", metavar="DIR", type=PATH, help="The run's directory, new or empty (default: one below runs/).")
@click.option("--dry-run", is_flag=True, help="Check everything, print the resolved RUN.toml, and train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@screen_options
@pass_app
def run(app: App, /, *, as_json: bool, **options: Any) -> None:
    """Train a model: pick the parts, get a run directory and a report.

    RUN.toml holds the options of a run; every run writes one that repeats it. What stands on the command line wins.
    `scratch describe` shows what can be set.
    """
    resume: Path | None = options.pop("resume")
    if resume is not None:
        given = [name for name, value in options.items() if not (value is None or value is False or value == ())]
        if given:
            flag = {"start_from": "--from", "sets": "--set", "toml": "RUN.toml", "dry_run": "--dry-run"}
            name = flag.get(given[0], f"--{given[0]}")
            raise UsageError(f"--resume continues a run as it began; leave out {name}, or begin a new run")
        ending = _resumed(app, resume)
    else:
        dry_run, out = options.pop("dry_run"), options.pop("out")
        plan, base = _planned(app, **options)
        if dry_run:
            _checked(plan)
            click.echo(plan.to_toml(), nl=False)
            return
        ending = _fresh(app, plan, base, out)
    from scratch_cli import jsonl, summary
    from scratch_cli.progress import say

    words = "\n".join(summary.lines(ending)) if app.verbosity >= 0 else ""
    if as_json:
        if words:
            say(words)  # a person may watch what a machine reads
        click.echo(jsonl.line(ending.result), nl=False)
    else:
        click.echo(words or ending.result["run"])


def _planned(
    app: App,
    *,
    toml: Path | None,
    start_from: Path | None,
    data: str | None,
    sets: tuple[str, ...],
    steps: int | None,
    seed: int | None,
    device: str | None,
    **names: str | None,
) -> tuple[Plan, SavedRun | None]:
    """The plan, and the run to start from. Nothing is written yet."""
    from scratch_cli.plan import make_plan
    from scratch_cli.saved import open_saved

    if start_from is None and toml is not None:
        start_from = _start_from(toml)
    base = None
    if start_from is not None:
        base = open_saved(start_from, app.registry)
        base.require_finished("start from")
    plan = make_plan(
        app.registry,
        names=names,
        toml=toml,
        sets=sets,
        steps=steps,
        seed=seed,
        device=device,
        # Where the run is resumed or repeated from must not matter.
        data=str(Path(data).absolute()) if data is not None and Path(data).exists() else data,
        base=None if base is None else base.plan.to_mapping(),
    )
    if base is not None:
        run = dataclasses.replace(plan.run, start_from=str(base.directory.path.absolute()))
        plan = dataclasses.replace(plan, run=run)
    elif plan.run.start_from is not None:  # from --set
        raise UsageError("run.start_from: is set by --from RUN, which looks at that run first")
    return plan, base


def _start_from(toml: Path) -> Path | None:
    """What a RUN.toml of an earlier run says about the run it started from."""
    from scratch_cli.config import read_toml

    value = read_toml(toml).get("run", {}).get("start_from")
    return Path(value) if isinstance(value, str) and value not in ("", "none") else None


def _checked(plan: Plan) -> tuple[str, Any]:
    """The device and the task: what can be found wrong without writing anything."""
    from scratch_cli.build import build, resolve_device

    for chosen in plan.chosen().values():
        if chosen is not None:
            chosen.part.load()  # a part that cannot be imported must not be found out after an hour of warm start
    return resolve_device(plan.run.device), build(plan.task)


def _fresh(app: App, plan: Plan, base: SavedRun | None, out: Path | None) -> Ending:
    from scratch_cli import rundir
    from scratch_cli.build import Workshop
    from scratch_cli.pipeline import conduct
    from scratch_cli.signals import StopSignals

    watch = _watch(app)
    device, task = _checked(plan)
    if base is not None:
        base.directory.verify("tokenizer", "model", *(["adapter"] if base.plan.adapter else []))
    directory = rundir.create(plan, out)
    with StopSignals(watch.stopping) as stop, rundir.locked(directory, new=True):
        _announce(watch, plan, directory, device)
        return conduct(Workshop(plan, directory, device, base), task, progress=watch, stop=stop)


def _resumed(app: App, path: Path) -> Ending:
    from scratch_cli import rundir
    from scratch_cli.build import Workshop
    from scratch_cli.checkpoint import drop_newer
    from scratch_cli.pipeline import conduct, newest_checkpoint
    from scratch_cli.saved import open_saved
    from scratch_cli.signals import StopSignals

    watch = _watch(app)
    saved = open_saved(path, app.registry)
    plan, directory = saved.plan, saved.directory
    with StopSignals(watch.stopping) as stop, rundir.locked(directory, new=False):
        found = newest_checkpoint(directory, plan, watch)
        device, task = _checked(plan)
        base = None
        if found is not None:
            drop_newer(directory.checkpoints, found)
        elif plan.run.start_from is not None:
            base = open_saved(Path(plan.run.start_from), app.registry)
        _announce(watch, plan, directory, device)
        return conduct(Workshop(plan, directory, device, base), task, progress=watch, stop=stop, resumed=found)


def _watch(app: App) -> Watch:
    from scratch_cli.progress import watch

    return watch(quiet=app.verbosity < 0, color=app.color)


def _announce(watch: Watch, plan: Plan, directory: RunDirectory, device: str) -> None:
    from scratch_cli.progress import Nothing

    parts = "  ".join(
        f"{section.replace('_', ' ')} {chosen.spelled}"
        for section, chosen in plan.chosen().items()
        if chosen is not None
    )
    if isinstance(watch, Nothing):
        return
    watch.note(f"{parts}  seed {plan.run.seed}  device {device}")
    watch.note(f"run directory: {directory.path}")
