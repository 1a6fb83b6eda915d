"""`scratch doctor`: what is here, what is broken; with --verify, what packages claim, proven on this machine."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from scratch_cli.app import App, pass_app, screen_options

if TYPE_CHECKING:
    from scratch_cli.doctor import Proven


@click.command()
@click.option("--verify", is_flag=True, help="Rerun the proofs of what packages claim, as a table.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@screen_options
@pass_app
def doctor(app: App, verify: bool, as_json: bool) -> int:
    """Look at the environment: Python, torch, devices, plugins, folders, kernels; exit 1 if something is broken.

    With -q only what is broken is shown.
    """
    from scratch_cli import doctor as checks

    found, proven = [], []
    for finding in checks.findings(app.registry):
        found.append(finding)
        if not as_json and (app.verbosity >= 0 or finding.state == checks.BAD):
            click.echo(f"{finding.state:<4}  {finding.topic:<15}  {finding.text}")
    if verify:
        group = None
        for proof in checks.verify(app.registry):
            if not as_json and group != (group := (proof.distribution, proof.proofs)) and app.verbosity >= 0:
                click.echo(
                    f"\n{proof.proofs} ({proof.distribution})\n{'':<4}  {'measured':>9}  {'tolerance':>9}  claim"
                )
            proven.append(proof)
            if not as_json and (app.verbosity >= 0 or not proof.ok):
                click.echo(_row(proof))
        if not proven and not as_json and app.verbosity >= 0:
            click.echo("no installed package offers proofs")
    broken = sum(finding.state == checks.BAD for finding in found)
    wrong = sum(not proof.ok for proof in proven)
    if as_json:
        values: dict[str, Any] = {"ok": not broken and not wrong, "findings": [vars(finding) for finding in found]}
        if verify:
            values["proofs"] = [dataclasses.asdict(proof) for proof in proven]
        click.echo(json.dumps(values, indent=2))
    elif app.verbosity >= 0:
        click.echo("")
        if verify and proven:
            click.echo(f"{len(proven) - wrong} of {len(proven)} claims hold on this machine")
        click.echo(f"{broken} broken" if broken else "nothing is broken")
    return 1 if broken or wrong else 0


def _row(proof: Proven) -> str:
    measured, tolerance = (_shown(value) for value in (proof.measured, proof.tolerance))
    return f"{'ok' if proof.ok else 'BAD':<4}  {measured:>9}  {tolerance:>9}  {proof.claim}"


def _shown(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.3g}"
