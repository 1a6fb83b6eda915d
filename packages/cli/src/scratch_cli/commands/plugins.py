"""`scratch plugins`: what is installed, where it comes from, and what is broken."""

from __future__ import annotations

import json

import click

from scratch_cli.app import App, pass_app, screen_options
from scratch_cli.registration import OFFER_WORDS
from scratch_cli.registry import KINDS, Registry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@screen_options
@pass_app
def plugins(app: App, as_json: bool) -> int:
    """List the installed parts by kind, with the package each comes from; exit 1 if a plugin is broken."""
    registry = app.registry
    click.echo(json.dumps(_as_mapping(registry), indent=2) if as_json else _as_text(registry))
    for failure in registry.failures:
        click.echo(f"error: broken plugin {failure}", err=True)
    return 1 if registry.failures else 0


def _as_mapping(registry: Registry) -> dict[str, object]:
    return {
        "parts": {
            kind: [
                {
                    "name": part.name,
                    "distribution": part.distribution,
                    "version": part.version,
                    "summary": part.summary,
                    "provides": list(part.provides),
                    "needs": {partner: list(needs) for partner, needs in part.needs.items()},
                }
                for part in registry.parts(kind)
            ]
            for kind in KINDS
        },
        **{
            word: [
                {"name": o.name, "distribution": o.distribution, "version": o.version, "summary": o.summary}
                for o in registry.offers(kind)
            ]
            for kind, word in OFFER_WORDS.items()
        },
        "failures": [
            {"distribution": f.distribution, "version": f.version, "error": f.error} for f in registry.failures
        ],
    }


def _as_text(registry: Registry) -> str:
    groups: list[tuple[str, list[tuple[str, str, str]]]] = [
        (f"{kind}s", [(p.name, f"{p.distribution} {p.version}", p.summary) for p in registry.parts(kind)])
        for kind in KINDS
    ]
    groups += [
        (word, [(o.name, f"{o.distribution} {o.version}", o.summary) for o in registry.offers(kind)])
        for kind, word in OFFER_WORDS.items()
    ]
    rows = [row for _, group in groups for row in group]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = []
    for title, group in groups:
        if group:
            lines.append(title)
            lines += [f"  {name:<{widths[0]}}  {origin:<{widths[1]}}  {summary}" for name, origin, summary in group]
    return "\n".join(lines) or "no parts are installed; try: pip install gpt-scratch tokenizers-scratch align-scratch"
