"""`scratch describe KIND [NAME]`: a part's options as lines to paste behind `scratch run`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from scratch_cli.app import App, complete_part, pass_app, screen_options
from scratch_cli.errors import UsageError
from scratch_cli.options import Option, options_of
from scratch_cli.plan import RunConfig
from scratch_cli.registry import KINDS, Part, nearest


def _complete_kind(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [kind for kind in (*KINDS, "run") if kind.startswith(incomplete)]


def _complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    kind = ctx.params.get("kind")
    return complete_part(kind)(ctx, param, incomplete) if kind in KINDS else []


@click.command()
@click.argument("kind", type=click.UNPROCESSED, shell_complete=_complete_kind)
@click.argument("name", required=False, shell_complete=_complete_name)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
@screen_options
@pass_app
def describe(app: App, kind: str, name: str | None, as_json: bool) -> None:
    """Show the options of a part, or list the parts of a kind.

    KIND is tokenizer, model, sampler, trainer, adapter, task, or run for the options of the run itself.
    """
    if kind == "run":
        if name is not None:
            raise UsageError(f"describe run: takes no name, got {name!r}")
        options = options_of(RunConfig, "run")
        click.echo(_json({"kind": "run"}, options) if as_json else "\n".join(_lines(options)))
        return
    if kind not in KINDS:
        known = (*KINDS, "run")
        raise UsageError(f"there is no kind {kind!r}{nearest(kind, known)}; kinds are {', '.join(known)}")
    if name is None:
        _list(app, kind, as_json)
        return
    part = app.registry.find(kind, name)
    options = options_of(part.load_config(), kind)
    click.echo(_json(_facts(part), options) if as_json else "\n".join([*_head(part), "", *_lines(options)]))


def _list(app: App, kind: str, as_json: bool) -> None:
    parts = app.registry.parts(kind)
    if as_json:
        click.echo(json.dumps([_facts(part) for part in parts], indent=2))
        return
    width = max((len(part.name) for part in parts), default=0)
    for part in parts:
        click.echo(f"{part.name:<{width}}  {part.summary} ({part.distribution} {part.version})")
    if not parts:
        click.echo(f"no {kind} is installed", err=True)


def _facts(part: Part) -> dict[str, object]:
    keys = ("kind", "name", "distribution", "version", "summary", "provides", "needs", "defaults", "data", "warm_start")
    return {key: getattr(part, key) for key in keys}


def _head(part: Part) -> list[str]:
    lines = [f"{part.label}: {part.summary}"]
    if part.provides:
        lines.append(f"provides: {', '.join(part.provides)}")
    lines += [f"needs a {kind} with: {', '.join(needs) or 'nothing special'}" for kind, needs in part.needs.items()]
    lines += [f"unless told otherwise, with the {kind}: {name}" for kind, name in part.defaults.items()]
    if part.data:
        lines.append(f"--data FILE sets: {part.kind}.{part.data}")
    if part.warm_start:
        lines.append(f"runs first on an untrained model: {part.warm_start['trainer']}")
    return lines


def _lines(options: list[Option]) -> list[str]:
    width = min(44, max((len(option.paste) for option in options), default=0))
    return [f"{option.paste:<{width}}  # {option.type}: {option.help}" for option in options] or ["no options"]


def _json(facts: dict[str, object], options: list[Option]) -> str:
    return json.dumps({**facts, "options": [dataclasses.asdict(option) for option in options]}, indent=2)
