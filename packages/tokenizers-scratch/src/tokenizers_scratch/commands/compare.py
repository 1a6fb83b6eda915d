"""`tokenize compare`: tokenizers side by side on one text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from tokenizers_scratch.commands.arguments import (
    note_training,
    text_from,
    text_options,
    tokenizer_for,
    training_text,
)
from tokenizers_scratch.commands.screen import bar, console, print_table, say
from tokenizers_scratch.comparison import COLUMNS, cells, comparison_page, measure
from tokenizers_scratch.errors import EmptyCorpusError, TokenizerDataError
from tokenizers_scratch.parts import offers
from tokenizers_scratch.viewing import shown_name


@click.command(short_help="Tokenizers side by side on a text.")
@text_options
@click.option(
    "-t", "--tokenizer", "specs", multiple=True, metavar="DIR|NAME",
    help="A saved tokenizer, or a name, as in bpe or bpe:vocab_size=500, to be trained first. Several times; "
    "unless given, every tokenizer there is.",
)  # fmt: skip
@click.option("--train", "train_file", metavar="FILE", help="What named tokenizers learn from, if not the text.")
@click.option("--html", metavar="FILE", help="Write a page with the table and a chart, which stands alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def compare(
    file: str, text: str | None, specs: tuple[str, ...], train_file: str | None, html: str | None, as_json: bool
) -> None:
    """Encode a text with several tokenizers: how many tokens, how whole the words, how much is unknown, how fast.

    used: the share of the vocabulary that is in the text. comes back: whether decoding gives the text.
    """
    whole = text_from(file, text)
    if not whole:
        raise EmptyCorpusError("the text is empty: there is nothing to compare")
    learned = training_text(whole, train_file)
    chosen = specs or tuple(offers())
    rows = []
    for spec in chosen:
        try:
            rows.append(measure(spec, tokenizer_for(spec, learned), whole))
        except (TokenizerDataError, click.UsageError) as error:
            if specs:
                raise
            say(f"left out: {spec}: {error}")  # nobody asked for this one by name
    if not rows:
        raise EmptyCorpusError("no tokenizer can be trained on this text")
    note_training([row.name for row in rows], train_file)
    if html is not None:
        Path(html).write_text(comparison_page("Tokenizers compared", rows), encoding="utf-8")
        say(f"page: {html}")
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows]))
        return
    screen = console()
    print_table(screen, COLUMNS, [cells(row) for row in rows])
    screen.print()
    screen.print("bytes per token")
    most = max(row.bytes_per_token for row in rows) or 1.0
    names = [shown_name(row.name) for row in rows]
    width = max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        screen.print(f"{name:<{width}}  {bar(row.bytes_per_token / most)} {row.bytes_per_token:.2f}", soft_wrap=True)
