"""`scratch check [DISTRIBUTION]`: the contract kit without pytest."""

from __future__ import annotations

import json
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from scratch_cli.app import App, pass_app, screen_options

if TYPE_CHECKING:
    from scratch_cli.testing import Case


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one case said."""

    case: str
    outcome: str
    """`passed`, `failed` or `skipped`."""
    seconds: float
    message: str = ""


@click.command()
@click.argument("distribution", required=False)
@click.option(
    "--only", metavar="TEXT", default="", help="Run only the cases whose name, kind:part:check, has this text."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@screen_options
@pass_app
def check(app: App, distribution: str | None, only: str, as_json: bool) -> int:
    """Check the parts of a package, or of all, against the contract; exit 1 if one breaks it.

    With -v each case's rule and the place of a failure are shown, with -q only what failed.
    """
    from scratch_cli.errors import UsageError
    from scratch_cli.testing import cases_of

    cases = [case for case in cases_of(distribution, app.registry) if only in case.id]
    if not cases:
        raise UsageError(f"--only {only!r}: no case has this text; see them with: scratch check --json")
    results: list[Result] = []
    width = max(len(case.id) for case in cases)
    for result, case in zip(_run(cases, app), cases, strict=True):
        results.append(result)
        if not as_json and (app.verbosity >= 0 or result.outcome == "failed"):
            click.echo(
                f"{result.case:<{width}}  {result.outcome:<7} {result.seconds:7.2f} s  {result.message}".rstrip()
            )
            if app.verbosity > 0:
                click.echo(f"    {case.summary}")
    counts = {name: sum(r.outcome == name for r in results) for name in ("passed", "failed", "skipped")}
    broken = app.registry.failures if distribution is None else ()
    if as_json:
        click.echo(json.dumps({**counts, "results": [asdict(r) for r in results]}, indent=2))
    else:
        click.echo(", ".join(f"{count} {name}" for name, count in counts.items()))
    for failure in broken:
        click.echo(f"error: broken plugin {failure}", err=True)
    return 1 if counts["failed"] or broken else 0


def _run(cases: list[Case], app: App) -> Iterator[Result]:
    from scratch_cli.testing import CheckFailed, CheckSkipped

    for case in cases:
        start = time.perf_counter()
        outcome, message = "passed", ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case()
        except CheckSkipped as skipped:
            outcome, message = "skipped", str(skipped)
        except Exception as error:
            outcome = "failed"
            message = str(error) if isinstance(error, CheckFailed) else f"{type(error).__name__}: {error}"
            if app.verbosity > 0 or app.traceback:
                traceback.print_exc()
        yield Result(
            case=case.id,
            outcome=outcome,
            seconds=round(time.perf_counter() - start, 3),
            message=" ".join(message.split()),
        )
