"""`scratch ablate FILE`: a grid of options, each over several seeds, and what can be said about the differences."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratch_cli.app import App, pass_app, screen_options
from scratch_cli.errors import UsageError

if TYPE_CHECKING:
    from scratch_cli.ablation.execute import Outcome
    from scratch_cli.ablation.grid import Ablation
    from scratch_cli.ablation.jobs import Schedule
    from scratch_cli.registry import Registry

RESULTS, TABLE, BARS, CURVES, AGAINST = "results.json", "results.md", "chart.svg", "curves.svg", "against.svg"


def _seeds(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        raise click.BadParameter(f"got {text!r}, must be numbers with commas between them, as in 1,2,3") from None
    if len(set(seeds)) != len(seeds):
        raise click.BadParameter(f"got {text!r}, must be different numbers: a seed says the same again")
    return seeds


def _complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    offers = ctx.ensure_object(App).registry.offers("ablation")
    names = [CompletionItem(offer.name, help=offer.summary) for offer in offers if offer.name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


@click.command()
@click.argument("file", shell_complete=_complete)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Default: ablations/ and the file's name.")
@click.option("--seeds", metavar="1,2,3", callback=_seeds, help="Instead of those in the file.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Runs at a time; they share the cores.",
)  # fmt: skip
@click.option(
    "--set", "sets", metavar="KIND.FIELD=VALUE", multiple=True, help="Set an option in all cells (repeatable)."
)
@click.option("--steps", type=int, metavar="N", help="Steps of the trainer, in all cells.")
@click.option("--dry-run", is_flag=True, help="Check everything, list the runs, and run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@screen_options
@pass_app
def ablate(
    app: App,
    file: str,
    out: Path | None,
    seeds: tuple[int, ...],
    jobs: int,
    sets: tuple[str, ...],
    steps: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Compare options over several seeds: means with intervals, paired differences, and a chart.

    FILE is a TOML file, or the name of one that a package offers (`scratch plugins` lists them). What is finished is
    not run again: after an interruption, or with more seeds, the same command goes on.
    """
    from scratch_cli.ablation import grid, results
    from scratch_cli.ablation import jobs as planning
    from scratch_cli.progress import say

    read = grid.read(_file(file, app.registry))
    seeds = seeds or read.config.seeds
    out = out or Path(os.environ.get("SCRATCH_HOME") or ".") / "ablations" / read.name
    schedule = planning.schedule(read, app.registry, out, seeds=seeds, sets=sets, steps=steps)
    if dry_run:
        click.echo("\n".join(_listed(read, schedule, seeds)))
        return 0
    results.require_scipy()
    if len(seeds) < grid.FEW_SEEDS:
        say(f"warning: {len(seeds)} seed{'s' * (len(seeds) > 1)} cannot tell a difference from luck; take 3 or more")
    outcomes = _run(app, read, schedule, out, jobs)
    found = results.rows(read, schedule, outcomes, seeds)
    mapping = results.as_mapping(read, schedule, found, seeds)
    table = results.markdown(read, schedule, found, seeds)
    _write(out, read, schedule, outcomes, found, mapping, table)
    click.echo(json.dumps(mapping, indent=2) if as_json else table)
    if app.verbosity >= 0:
        say(f"everything is in {out}")
    return 1 if any(row.errors for row in found) else 0


def _file(name: str, registry: Registry) -> Path:
    """The path that is named, or the file of that name that a package offers."""
    path = Path(name)
    if path.exists() or path.suffix == ".toml" or os.sep in name:
        return path
    offers = registry.offers("ablation")
    try:
        return Path(registry.find_offer("ablation", name).load())
    except UsageError as error:
        if "@" in name or any(offer.name == name for offer in offers):
            raise
        raise UsageError(f"{name}: there is no such file, and {error}") from error


def _listed(read: Ablation, schedule: Schedule, seeds: tuple[int, ...]) -> list[str]:
    lines = [job.title for job in schedule.warm]
    lines += [job.title for job in schedule.cells.values()]
    lines += [f"{label} is equal to {other}, and is not run again" for label, other in schedule.same.items()]
    minutes = f"; about {read.config.minutes:g} minutes with the seeds of the file" if read.config.minutes else ""
    return [*lines, f"{len(schedule.warm) + len(schedule.cells)} runs, {len(seeds)} seeds{minutes}"]


def _run(app: App, read: Ablation, schedule: Schedule, out: Path, jobs: int) -> dict[str, Outcome]:
    """Run everything, holding the directory's lock; what each run gave, by its directory."""
    from scratch_cli.ablation.execute import Executor
    from scratch_cli.ablation.results import check_metric
    from scratch_cli.drive import Stopped
    from scratch_cli.lock import Lock
    from scratch_cli.progress import duration, say
    from scratch_cli.signals import Interrupted, StopSignals

    total, count = len(schedule.warm) + len(schedule.cells), 0
    cells = {str(job.path) for job in schedule.cells.values()}

    def done(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        if outcome.result is not None and str(outcome.job.path) in cells:
            check_metric(read, outcome.result)
        if outcome.result is None:
            say(f"[{count}/{total}] {outcome.job.title}: failed: {outcome.error}")
        elif app.verbosity >= 0:
            value = outcome.result["after"].get(read.config.metric)
            words = f"{read.config.metric} {value:.3f}" if isinstance(value, (int, float)) else "done"
            took = duration(outcome.seconds) if outcome.seconds else "finished before"
            say(f"[{count}/{total}] {outcome.job.title}: {words} ({took})")

    executor = Executor(jobs, done)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}; give another directory") from None
    with StopSignals(), Lock(out / "lock"):
        for job in (*schedule.warm, *schedule.cells.values()):
            job.finished()  # a directory with other options is found before anything is run
        if app.verbosity >= 0:
            minutes = f", about {read.config.minutes:g} minutes as it stands" if read.config.minutes else ""
            say(f"{read.name}: {read.config.about or 'an ablation'} ({total} runs{minutes}); in {out}")
        try:
            executor.run(schedule.warm)
            executor.run(list(schedule.cells.values()))
        except KeyboardInterrupt as stopped:
            number = stopped.number if isinstance(stopped, Interrupted) else 2
            raise Stopped(
                f"stopped after {count} of {total} runs; the same command goes on from here", number
            ) from None
    return executor.outcomes


def _write(
    out: Path,
    read: Ablation,
    schedule: Schedule,
    outcomes: dict[str, Outcome],
    found: Any,
    mapping: dict[str, Any],
    table: str,
) -> None:
    from scratch_cli import durable
    from scratch_cli.ablation import results
    from scratch_cli.ablation.against import against

    title = f"# {read.name}\n\n{read.config.about}\n\n" if read.config.about else f"# {read.name}\n\n"
    files = {RESULTS: json.dumps(mapping, indent=2), TABLE: title + table, BARS: results.bars(read, found)}
    lines = results.curves(read, schedule, found)
    if lines is not None:
        files[CURVES] = lines
    points = against(read, schedule, outcomes, found)
    if points is not None:
        files[AGAINST] = points
    for name, text in files.items():
        durable.write_file(out / name, text.encode() + b"\n")
