"""`scratch rollouts RUN`: read what a run sampled. Nothing is written, loaded or locked; a run at work may be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratch_cli.app import App, pass_app, screen_options
from scratch_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from scratch_cli.rollouts import Change, Rollout

SHOWN_CHARACTERS = 600
"""Of a prompt or completion, unless -v asks for all."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="Those of this step (default: of the last one).")
@click.option("--best", is_flag=True, help="Those of highest reward, of all steps or of --step.")
@click.option("--worst", is_flag=True, help="Those of lowest reward, of all steps or of --step.")
@click.option(
    "--changed",
    is_flag=True,
    help="Prompts whose mean reward moved most between the first and the last step that had them; of equal moves, "
    "those whose completions differ more.",
)
@click.option("-n", "count", type=click.IntRange(min=1), default=8, show_default=True, metavar="COUNT")
@click.option("--warm-start", is_flag=True, help="Of the warm start instead of the training after it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@screen_options
@pass_app
def rollouts(
    app: App,
    run: Path,
    step: int | None,
    best: bool,
    worst: bool,
    changed: bool,
    count: int,
    warm_start: bool,
    as_json: bool,
) -> None:
    """Show what a run sampled: prompts, completions, parts of the reward, advantages.

    Without an option that chooses, the first rollouts of the last step are shown. With -v texts are shown whole.
    """
    from scratch_cli import rollouts as log
    from scratch_cli.rundir import open_run

    chosen = [flag for flag, given in (("--best", best), ("--worst", worst), ("--changed", changed)) if given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)}: each chooses on its own; keep one")
    if changed and step is not None:
        raise UsageError("--changed compares steps, so --step cannot choose one; leave it out")
    directory = open_run(run)
    stage = "warm_start" if warm_start else "train"
    rows: Iterable[Rollout] = log.read(directory.rollouts, stage)
    if changed:
        found: Iterable[Rollout | Change] = log.changed(rows, count)
    elif best or worst:
        of_step = rows if step is None else (row for row in rows if row.get("step") == step)
        found = log.by_reward(of_step, count, best=best)
    else:
        found = log.of_step(rows, step, count)
    found = list(found)
    if not found:
        raise DataError(_nothing(directory.rollouts, stage, step, changed))
    if as_json:
        _print_json(found)
    else:
        _print(found, color=app.color, whole=app.verbosity > 0)


def _nothing(path: Path, stage: str, step: int | None, changed: bool) -> str:
    """Why there is nothing to show."""
    from scratch_cli import rollouts as log

    steps: set[Any] = set()
    for row in log.read(path, stage):
        steps.add(row.get("step"))
    if not steps:
        of = "the warm start of this run" if stage == "warm_start" else "this run"
        return f"{path}: holds no rollouts; {of} has sampled nothing yet, or its trainer records none"
    if changed:
        return (
            f"{path}: no prompt was sampled in two steps, so none can have changed; train longer, or on fewer problems"
        )
    numbers = [number for number in steps if isinstance(number, int)]
    between = f"steps {min(numbers)} to {max(numbers)}" if numbers else "no numbered step"
    what = "no rewards" if step is None else f"nothing of step {step}"
    return f"{path}: holds {what}; there are rollouts of {between}"


def _print_json(found: Iterable[Rollout | Change]) -> None:
    from scratch_cli import jsonl

    for item in found:
        row = item if isinstance(item, Mapping) else {**vars(item), "reward_change": item.reward_change}
        click.echo(jsonl.line(row), nl=False)


def _print(found: Iterable[Rollout | Change], *, color: bool, whole: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False, no_color=None if color else True)
    for number, item in enumerate(found):
        if number:
            console.print()
        lines = _of_rollout(item, whole) if isinstance(item, Mapping) else _of_change(item, whole)
        for text, style in lines:
            console.print(Text(text, style=style), soft_wrap=True)


def _of_rollout(row: Rollout, whole: bool) -> Iterator[tuple[str, str]]:
    from scratch_cli import rollouts as log

    place = [f"{key} {row[key]}" for key in ("step", "group") if key in row]
    yield "  ".join([*place, *log.facts(row)]), "bold"
    yield from _field("prompt", row.get("prompt", ""), whole)
    yield from _field("completion", row.get("completion", ""), whole, _verdict(row))
    if row.get("answer") is not None and not row.get("correct"):
        yield from _field("expected", row["answer"], whole)
    if row.get("explanation"):
        yield from _field("why", row["explanation"], whole)


def _of_change(change: Change, whole: bool) -> Iterator[tuple[str, str]]:
    from scratch_cli import rollouts as log

    yield f"mean reward {_mean(change.reward_first)} -> {_mean(change.reward_last)}", "bold"
    yield from _field("prompt", change.prompt, whole)
    for row in (change.first, change.last):
        yield from _field(f"step {row.get('step', '?')}", row.get("completion", ""), whole, _verdict(row))
        yield f"  {'':<10}  {'  '.join(log.facts(row))}", "dim"
    if change.last.get("answer") is not None:
        yield from _field("expected", change.last["answer"], whole)


def _mean(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _verdict(row: Rollout) -> str:
    return "" if "correct" not in row else "green" if row["correct"] else "red"


def _field(name: str, value: Any, whole: bool, style: str = "") -> Iterator[tuple[str, str]]:
    """A text below its name: further lines stand below the first."""
    from scratch_cli import rollouts as log

    text = str(value)
    left = 0 if whole else len(text) - SHOWN_CHARACTERS
    shown = log.printable(text[:SHOWN_CHARACTERS] if left > 0 else text)
    for number, line in enumerate(shown.split("\n")):
        yield f"  {name if number == 0 else '':<10}  {line}".rstrip(), style
    if left > 0:
        yield f"  {'':<10}  … {left} more characters; -v shows all", "dim"
