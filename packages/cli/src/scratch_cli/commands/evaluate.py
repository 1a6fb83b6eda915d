"""`scratch eval RUN`: judge the model of a run on problems that were held out.

Without an option that says otherwise the run's own trainer judges, as it did while it ran. With one, the model
completes problems of its task, or of another one, and the task's checker marks them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratch_cli.app import App, complete_part, pass_app, screen_options
from scratch_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from scratch_cli.evaluation.judging import Wanted, Write
    from scratch_cli.saved import SavedRun

OUTPUTS, SUMMARY = "outputs.jsonl", "eval.json"


def _numbers(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...]:
    """`1,4,8` as increasing numbers of at least 1."""
    try:
        numbers = sorted({int(part) for part in text.split(",")}) if text is not None else []
    except ValueError:
        numbers = [0]
    if numbers and numbers[0] < 1:
        raise click.BadParameter(f"got {text!r}, must be numbers of at least 1 with commas between them, as in 1,4,8")
    return tuple(numbers)


@click.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", metavar="NAME", shell_complete=complete_part("task"), help="Default: the run's.")
@click.option("--data", metavar="FILE", help="The file that the task reads.")
@click.option("--set", "sets", multiple=True, metavar="TASK.FIELD=VALUE", help="Set an option of the task.")
@click.option("--split", type=click.Choice(["held_out", "train"]), help="Default: held_out.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N problems.")
@click.option("--samples", type=click.IntRange(min=0), metavar="N", help="Draws a problem; 0 is greedy alone.")
@click.option(
    "--k", callback=_numbers, metavar="1,4,8", help="Report pass@k for these k, from at least as many samples."
)
@click.option("--temperature", type=click.FloatRange(min=0.0, min_open=True, max=100.0), metavar="T",
              help="Of the draws, on top of the sampler's own options (default: 1).")  # fmt: skip
@click.option("--sampler", metavar="NAME", shell_complete=complete_part("sampler"), help="Default: the run's.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), metavar="N",
              help="Default: as in training; for another task, room for its longest answer.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Completions at a time (default: 64).")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="Of the draws (default: 0).")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
              help="Write eval.json and every completion here; new or empty.")  # fmt: skip
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or mps (default: the run's).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@screen_options
@pass_app
def evaluate(app: App, /, run: Path, *, device: str | None, as_json: bool, **options: Any) -> None:
    """Judge the model of a run on held-out data.

    With --task, --samples, --k, --limit or another option about problems: greedy and sampled accuracy, pass@k and
    majority vote with 95 % intervals, for any task that marks answers. Of an unfinished run, the newest checkpoint is
    judged.
    """
    from scratch_cli import jsonl
    from scratch_cli.saved import open_saved

    saved = open_saved(run, app.registry)
    asked = any(value is not None and value != () for value in options.values())
    started = time.perf_counter()
    result = {"run": str(run), **(_by_task(app, saved, device, **options) if asked else _by_trainer(saved, device))}
    result["seconds"] = round(time.perf_counter() - started, 3)
    if options["out"] is not None:
        from scratch_cli import durable

        durable.write_file(options["out"] / SUMMARY, jsonl.line(result))
    click.echo(jsonl.line(result).decode() if as_json else "\n".join(_words(result)) + "\n", nl=False)


def _by_trainer(saved: SavedRun, device: str | None) -> dict[str, Any]:
    """What the run's own trainer says."""
    from scratch_cli.build import Workshop, build
    from scratch_cli.pipeline import rebuild
    from scratch_cli.progress import say

    workshop = Workshop(saved.plan, saved.directory, saved.device(device))
    parts = rebuild(workshop, saved, build(saved.plan.task), warn=say)
    task = saved.plan.task
    return {
        "task": None if task is None else task.part.name,
        "state": parts.where,
        "values": dict(parts.trainer.evaluate()),
    }


def _by_task(
    app: App,
    saved: SavedRun,
    device: str | None,
    *,
    task: str | None,
    data: str | None,
    sets: tuple[str, ...],
    split: str | None,
    limit: int | None,
    samples: int | None,
    k: tuple[int, ...],
    temperature: float | None,
    sampler: str | None,
    max_new_tokens: int | None,
    batch: int | None,
    seed: int | None,
    out: Path | None,
) -> dict[str, Any]:
    """What the checker of a task says about completions."""
    from scratch_cli.loaded import choose_sampler, choose_task, load_parts
    from scratch_cli.progress import watch

    plan = saved.plan
    if "causal-lm" not in plan.model.part.provides:
        raise UsageError(
            f"{saved.directory.path}: its {plan.model.part.label} completes nothing, which takes a causal-lm"
        )
    draws = samples if samples is not None else max(k, default=1)
    if k and k[-1] > draws:
        raise UsageError(f"--k {k[-1]}: needs at least as many samples, got --samples {draws}")
    for flag, value in (("--temperature", temperature), ("--sampler", sampler), ("--seed", seed)):
        if not draws and value is not None:
            raise UsageError(f"{flag}: nothing is drawn with --samples 0; leave out one of the two")
    name, judge = choose_task(app.registry, plan, task, data, sets)
    problems = list(judge.examples(split or "held_out"))
    examples = problems[:limit]
    if not examples:
        raise DataError(f"task {name}: has no {split or 'held_out'} problems to judge by; try the other --split")
    drawn_by = choose_sampler(app.registry, plan, sampler, ()) if draws else None
    _prepare(out)
    tokenizer, model = load_parts(saved, saved.device(device))
    from scratch_cli.evaluation.judging import Evaluation, Wanted, longest_answer

    trained_on = task is None and data is None
    own = getattr(plan.trainer.config, "max_new_tokens", None) if trained_on else None
    # Of all problems, so that those that are left out by --limit do not change how the others are judged.
    lengths_of = list(judge.examples("train")) if trained_on else problems
    wanted = Wanted(
        samples=draws,
        k=k,
        temperature=1.0 if temperature is None else temperature,
        max_new_tokens=max_new_tokens or own or longest_answer(tokenizer, lengths_of or problems),
        batch=batch or 64,
        seed=seed or 0,
    )
    evaluation = Evaluation(model=model, tokenizer=tokenizer, sampler=drawn_by, task=judge, examples=examples)
    progress = watch(unit="problems", quiet=app.verbosity < 0, color=app.color)
    stage = ""

    def tick(title: str, done: int, total: int) -> None:
        nonlocal stage
        if title != stage:
            progress.end()
            progress.start(title, total, 0)
            stage = title
        progress.step(done, {})

    try:
        with _outputs(out) as write:
            measured = evaluation.run(wanted, write=write, tick=tick)
    finally:
        progress.end()
    return {
        "task": name,
        "state": "finished" if saved.directory.finished else "newest checkpoint",
        "split": split or "held_out",
        **_how(wanted),
        **measured,
    }


def _how(wanted: Wanted) -> dict[str, Any]:
    return {
        "samples": wanted.samples,
        "temperature": wanted.temperature,
        "max_new_tokens": wanted.max_new_tokens,
        "seed": wanted.seed,
    }


def _prepare(out: Path | None) -> None:
    """Refuse a directory that is in use before any work is done."""
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}; give a new or empty directory") from None
    if used:
        raise UsageError(f"--out {out}: is not empty; give a new or empty directory")


@contextlib.contextmanager
def _outputs(out: Path | None) -> Iterator[Write]:
    """Where completions go: a file, or nowhere."""
    from scratch_cli import jsonl

    if out is None:
        yield lambda row: None
        return
    log = jsonl.JsonLines(out / OUTPUTS)
    try:
        yield lambda row: log.append(row)
    finally:
        log.close()


def _words(result: Mapping[str, Any]) -> list[str]:
    from scratch_cli import summary

    if "values" in result:
        return [f"held-out data, {result['state']}: {summary.values_text(result['values'])}"]
    from scratch_cli.evaluation.judging import lines

    draws = f", {result['samples']} draws each at temperature {result['temperature']:g}" if result["samples"] else ""
    found = [f"task {result['task']}, {result['split']}, {result['state']}: {result['problems']} problems{draws}"]
    named = list(lines(result))
    width = max(len(name) for name, _ in named)
    return found + [f"  {name:<{width}}  {value}" for name, value in named]
