"""`tokenize prepare`: text files to a data set of token ids on disk, for training models."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tokenizers_scratch.commands.arguments import layout_options, saved_tokenizer
from tokenizers_scratch.commands.screen import is_quiet, say
from tokenizers_scratch.parts import load_tokenizer

if TYPE_CHECKING:
    from tokenizers_scratch.dataset.prepare import Progress

_INTERVAL = 5.0
"""Seconds between two lines."""
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def _size(_: click.Context, __: click.Parameter, value: str) -> int:
    number, unit = value.lower().removesuffix("b"), ""
    if number[-1:] in ("k", "m", "g"):
        number, unit = number[:-1], number[-1]
    if not number.isdecimal() or not int(number):
        raise click.BadParameter(f"{value!r} must be a size such as 64M or 1000000")
    return int(number) * _UNITS[unit]


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command(short_help="Make a data set of token ids for training models.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.UNPROCESSED)
@saved_tokenizer
@click.option("-o", "--out", required=True, metavar="DIR", help="Where the data set goes.")
@layout_options
@click.option("--validation", "validation_share", type=click.FloatRange(0, 1, max_open=True), default=0.0,
              metavar="SHARE",
              help="Hold out this share of the documents, by their hash: DIR/train and DIR/validation.")  # fmt: skip
@click.option("--no-eos", is_flag=True, help="Put no end-of-text id behind each document.")
@click.option("--shard-size", "shard_bytes", default="64M", show_default=True, callback=_size, metavar="SIZE",
              help="Bytes of the files that make a shard.")  # fmt: skip
@click.option("-j", "--workers", type=click.IntRange(min=1), help="Processes; unless given, one a processor.")
@click.option("--overwrite", is_flag=True, help="Replace a data set that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as one JSON value.")
def prepare(
    files: tuple[str, ...],
    place: str,
    out: str,
    field: str,
    separator: str | None,
    validation_share: float,
    no_eos: bool,
    shard_bytes: int,
    workers: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Encode text files or JSON lines (.jsonl), each also compressed (.gz), into memory-mapped files of ids.

    The same command after an interruption goes on where it was. The result does not depend on the number of workers.
    """
    from tokenizers_scratch.dataset.prepare import prepare as prepare_dataset
    from tokenizers_scratch.dataset.prepare import prepare_split

    tokenizer = load_tokenizer(place)
    if workers is None:
        workers = processors()
    with _watch() as told:
        options: dict[str, Any] = {
            "field": field, "separator": separator, "append_eos": not no_eos, "shard_bytes": shard_bytes,
            "workers": workers, "overwrite": overwrite, "progress": told,
        }  # fmt: skip
        if validation_share:
            train, held_out = prepare_split(tokenizer, files, out, validation_share=validation_share, **options)
            made = {os.path.join(out, "train"): train, os.path.join(out, "validation"): held_out}
        else:
            made = {out: prepare_dataset(tokenizer, files, out, **options)}
    facts = [
        {
            "directory": place,
            "documents": manifest.documents,
            "tokens": manifest.tokens,
            "raw_bytes": manifest.raw_bytes,
            "dtype": manifest.job.dtype,
            "shards": len(manifest.shards),
        }
        for place, manifest in made.items()
    ]
    if as_json:
        click.echo(json.dumps(facts if validation_share else facts[0]))
    for place, manifest in made.items():
        shards = f"{len(manifest.shards)} shard{'s' * (len(manifest.shards) > 1)}"
        say(
            f"{place}: {manifest.documents} documents, {manifest.tokens} tokens as {manifest.job.dtype} in {shards}, "
            f"{manifest.raw_bytes / max(1, manifest.tokens):.2f} bytes a token"
        )


class _Lines:
    """Progress in plain lines, not too many."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, progress: Progress) -> None:
        if progress.kept and progress.shards == progress.kept:
            say(f"{progress.kept} of {progress.of} shards are there already")
        elif time.monotonic() - self._said >= _INTERVAL:
            self._said = time.monotonic()
            say(f"{progress.shards} of {progress.of} shards, {progress.tokens} tokens")


class _Bar:
    """Progress as a bar on a terminal."""

    def __enter__(self) -> _Bar:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        screen = Console(stderr=True, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
        columns: list[Any] = [TextColumn("shards"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        columns.append(TextColumn("{task.fields[tokens]} tokens"))
        self._bar = Progress(*columns, console=screen, redirect_stdout=False)
        self._task = self._bar.add_task("", total=None, tokens=0)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        self._bar.update(self._task, total=progress.of, completed=progress.shards, tokens=progress.tokens)


def _watch() -> _Lines | _Bar:
    terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return _Bar() if terminal and not is_quiet() else _Lines()
