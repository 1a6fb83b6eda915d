"""What all commands share: the registry, looked up once and only if needed, and the options of the screen.

A command takes it with `@pass_app` and offers the shared options with `@screen_options`:

    @click.command()
    @screen_options
    @pass_app
    def plugins(app: App) -> None: ...

Both may stand before and after the name of a command: `scratch -q run` is `scratch run -q`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from scratch_cli.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])

TRACEBACK = "SCRATCH_TRACEBACK"
"""Environment variable: set to 1, errors are shown with their traceback."""


@dataclass
class App:
    """State of one call of `scratch`. Tests make their own, with the registry of their choice."""

    given_registry: Registry | None = None
    verbosity: int = 0
    """-1 after `-q`, 1 after `-v`, 2 after `-vv`."""
    color: bool = True
    traceback: bool = False

    @functools.cached_property
    def registry(self) -> Registry:
        """What installed packages offer, found at first use."""
        if self.given_registry is not None:
            return self.given_registry
        from scratch_cli.registry import discover

        return discover()


def from_environment(registry: Registry | None = None) -> App:
    """A fresh App that respects NO_COLOR and SCRATCH_TRACEBACK."""
    return App(
        given_registry=registry,
        color=not os.environ.get("NO_COLOR"),
        traceback=os.environ.get(TRACEBACK, "") not in ("", "0"),
    )


pass_app = click.make_pass_decorator(App, ensure=True)


def _app(ctx: click.Context) -> App:
    return ctx.ensure_object(App)


def _quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        _app(ctx).verbosity = -1


def _verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    if value:
        _app(ctx).verbosity = value


def _no_color(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        _app(ctx).color = False
        ctx.color = False


def _traceback(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        _app(ctx).traceback = True


def screen_options(command: F) -> F:
    """Give a command `-q`, `-v`, `--no-color` and `--traceback`; they change the App and are not arguments."""
    options = (
        click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_quiet, help="Say only what matters."),
        click.option("-v", "--verbose", count=True, expose_value=False, callback=_verbose, help="Say more."),
        click.option("--no-color", is_flag=True, expose_value=False, callback=_no_color, help="Plain text only."),
        click.option(
            "--traceback", is_flag=True, expose_value=False, callback=_traceback, help="Show where an error comes from."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def complete_part(kind: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """A `shell_complete` for an option that names a part of this kind."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        parts = _app(ctx).registry.parts(kind)
        return [CompletionItem(part.name, help=part.summary) for part in parts if part.name.startswith(incomplete)]

    return complete
