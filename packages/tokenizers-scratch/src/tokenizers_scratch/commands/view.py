"""`tokenize view`: a text in coloured tokens, and the table of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenizers_scratch.commands.arguments import (
    note_training,
    text_from,
    text_options,
    tokenizer_for,
    training_text,
)
from tokenizers_scratch.commands.screen import console, print_table, say
from tokenizers_scratch.viewing import Piece, colours, pieces, statistics, table
from tokenizers_scratch.viewing_html import N_COLOURS, view_page

if TYPE_CHECKING:
    from rich.text import Text

# Light enough for black text. The pages have the same.
_BACKGROUNDS = ("#ffd9a8", "#bfe3ff", "#c9f2c7", "#f5c6e8", "#fff3a3", "#d8ccff", "#c2efe8")


@click.command(short_help="Show the tokens of a text, in colours or as a page.")
@text_options
@click.option(
    "-t", "--tokenizer", "spec", required=True, metavar="DIR|NAME",
    help="A saved tokenizer, or a name, as in bpe or bpe:vocab_size=500, to be trained first.",
)  # fmt: skip
@click.option("--train", "train_file", metavar="FILE", help="What a named tokenizer learns from, if not the text.")
@click.option("--limit", default=10_000, show_default=True, help="How many characters of the text are looked at.")
@click.option("--top", default=30, show_default=True, help="How many tokens the table has.")
@click.option("--ids", is_flag=True, help="Also print the ids of the text.")
@click.option("--html", metavar="FILE", help="Write a page that shows the same, and stands alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
@click.option(
    "--allowed-special", type=click.Choice(["none", "all"]), default="none", show_default=True,
    help="Whether special tokens in the text are text or special.",
)  # fmt: skip
def view(
    file: str,
    text: str | None,
    spec: str,
    train_file: str | None,
    limit: int,
    top: int,
    ids: bool,
    html: str | None,
    as_json: bool,
    allowed_special: str,
) -> None:
    """Show the tokens of a text, which ones there are, and how often.

    White space is drawn, bytes that are no whole character are in hex, and tokens that begin or end within a
    character are underlined.
    """
    whole = text_from(file, text)
    tokenizer = tokenizer_for(spec, training_text(whole, train_file))
    note_training([spec], train_file)
    looked_at = whole[:limit]
    if len(looked_at) < len(whole):
        say(f"the first {limit} of {len(whole)} characters; more with --limit")
    found = pieces(tokenizer, looked_at, allowed_special="all" if allowed_special == "all" else "none")
    counts = statistics(tokenizer, looked_at, found)
    if html is not None:
        Path(html).write_text(view_page(f"{spec} on {file if text is None else 'a text'}", found, counts, top=top),
                              encoding="utf-8")  # fmt: skip
        say(f"page: {html}")
    rows = table(found)[:top]
    if as_json:
        tokens = [
            {"token": row.piece.shown, "id": row.piece.id, "bytes": len(row.piece.data), "frequency": row.frequency}
            for row in rows
        ]
        facts = {**dataclasses.asdict(counts), "bytes_per_token": counts.bytes_per_token,
                 "characters_per_token": counts.characters_per_token}  # fmt: skip
        click.echo(json.dumps({**facts, "ids": [piece.id for piece in found], "table": tokens}))
        return
    screen = console()
    screen.print(_coloured(found) if screen.color_system else _plain(found))
    if ids:
        screen.print()
        screen.print(" ".join(str(piece.id) for piece in found))
    screen.print()
    cells = [
        (_cell(row.piece), str(row.piece.id), str(len(row.piece.data)), str(row.frequency)) for row in rows
    ]  # fmt: skip
    print_table(screen, ("token", "id", "bytes", "frequency"), cells)
    if counts.different > len(rows):
        screen.print(f"and {counts.different - len(rows)} more")
    screen.print()
    screen.print(
        f"{counts.characters} characters, {counts.bytes} bytes, {counts.tokens} tokens ({counts.different} different"
        + (f", {counts.unknown} unknown" if counts.unknown else "")
        + f"), {counts.bytes_per_token:.2f} bytes and {counts.characters_per_token:.2f} characters a token"
    )


def _coloured(found: Sequence[Piece]) -> Text:
    from rich.text import Text

    text = Text()
    for piece, colour in zip(found, colours(found, N_COLOURS), strict=True):
        text.append(piece.shown, _style(piece, _BACKGROUNDS[colour]))
        if b"\n" in piece.data:
            text.append("\n")
    return text


def _style(piece: Piece, background: str) -> str:
    words = ["black", f"on {background}"]
    words += ["underline"] * piece.partial + ["bold"] * (piece.unknown or piece.special)
    return " ".join(words)


def _plain(found: Sequence[Piece]) -> str:
    """Tokens with a line between them; a new line after each line end."""
    lines: list[list[str]] = [[]]
    for piece in found:
        lines[-1].append(piece.shown)
        if b"\n" in piece.data:
            lines.append([])
    return "\n".join("|".join(line) for line in lines if line)


def _cell(piece: Piece) -> Text:
    from rich.text import Text

    return Text(piece.shown, "underline" if piece.partial else "")
