"""`scratch eval RUN`: judge the model of a run on held-out data, as the run itself did."""

from __future__ import annotations

import time
from pathlib import Path

import click

from scratch_cli.app import App, pass_app, screen_options


@click.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or mps (default: the run's).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@screen_options
@pass_app
def evaluate(app: App, run: Path, device: str | None, as_json: bool) -> None:
    """Judge the model of a run on held-out data.

    Of an unfinished run, the newest checkpoint is judged.
    """
    from scratch_cli import jsonl, summary
    from scratch_cli.build import Workshop, build
    from scratch_cli.pipeline import rebuild
    from scratch_cli.progress import say
    from scratch_cli.saved import open_saved

    saved = open_saved(run, app.registry)
    workshop = Workshop(saved.plan, saved.directory, saved.device(device))
    parts = rebuild(workshop, saved, build(saved.plan.task), warn=say)
    started = time.perf_counter()
    values = dict(parts.trainer.evaluate())
    task = saved.plan.task
    result = {
        "run": str(run),
        "task": None if task is None else task.part.name,
        "state": parts.where,
        "values": values,
        "seconds": round(time.perf_counter() - started, 3),
    }
    if as_json:
        click.echo(jsonl.line(result), nl=False)
    else:
        click.echo(f"held-out data, {parts.where}: {summary.values_text(values)}")
