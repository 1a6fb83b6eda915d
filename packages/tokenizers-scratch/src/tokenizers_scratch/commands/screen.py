"""What the commands say and where: data to stdout, all else to stderr; colours on a terminal that wants them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """stdout. Without ANSI codes in a pipe or a file, with NO_COLOR, and with the host's --no-color."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR")) or _context_color() is False
    made = Console(
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        legacy_windows=False,
    )
    if not made.is_terminal:
        made.width = 10_000  # whoever reads a pipe breaks lines as he likes
    return made


def _context_color() -> bool | None:
    context = click.get_current_context(silent=True)
    color: bool | None = None if context is None else context.color
    return color


def is_quiet() -> bool:
    """Whether the host was told -q."""
    context = click.get_current_context(silent=True)
    return getattr(None if context is None else context.obj, "verbosity", 0) < 0


def say(text: str) -> None:
    """A line for a person, not for a program."""
    if not is_quiet():
        click.echo(text, err=True)


def print_table(screen: Console, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A table whose first column is text and whose others are numbers. Cells may be rich's own Text."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(head):
        made.add_column(name, justify="right" if i else "left", overflow="fold", no_wrap=bool(i))
    for row in rows:
        made.add_row(*row)
    screen.print(made)


def bar(share: float, width: int = 40) -> str:
    """A bar of up to `width` characters, to an eighth of one."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
