"""`tokenize train FILE...`: learn a vocabulary and save it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from tokenizers_scratch.commands.arguments import configured_or_refused, known_class, layout_options, settings_from
from tokenizers_scratch.commands.screen import say
from tokenizers_scratch.patterns import split_pattern, whole_words
from tokenizers_scratch.sources import Layout, Span, read_documents


@click.command(short_help="Learn a vocabulary from files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.UNPROCESSED)
@click.option("-t", "--tokenizer", "name", default="bpe", show_default=True, metavar="NAME", help="Which algorithm.")
@click.option("--vocab-size", "--vocab_size", type=int, help="Entries wanted; short for --set vocab_size=N.")
@click.option("-o", "--out", "--output_dir", "out", required=True, metavar="DIR", help="Where the tokenizer goes.")
@click.option(
    "--special-tokens", "--special_tokens", "special_tokens", multiple=True, metavar="TOKEN",
    help="A special token of your own, after <PAD> <UNK> <BOS> <EOS>; may be given several times.",
)  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Any option of the tokenizer.")
@layout_options
def train(
    files: tuple[str, ...],
    name: str,
    vocab_size: int | None,
    out: str,
    special_tokens: tuple[str, ...],
    settings: tuple[str, ...],
    field: str,
    separator: str | None,
) -> None:
    """Learn a vocabulary from text files, or the field of JSON lines (.jsonl), each also compressed (.gz)."""
    kind, config_class = known_class(name)
    values = settings_from(settings)
    if vocab_size is not None:
        values["vocab_size"] = vocab_size
    if special_tokens:
        values["special_tokens"] = list(special_tokens)
    config = configured_or_refused(config_class, values, name)
    started = time.perf_counter()
    tokenizer = kind.train(training_texts(files, Layout(field=field, separator=separator), config), config)
    tokenizer.save(out)
    say(f"{name}: {tokenizer.vocab_size} entries in {time.perf_counter() - started:.1f} s, saved in {out}")


def training_texts(files: Sequence[str], layout: Layout, config: Any) -> Iterator[str]:
    """Documents, for `train`. Long ones come in pieces where the split pattern says that this changes nothing."""
    pattern = getattr(config, "pattern", None)
    if any(character.isspace() for token in getattr(config, "special_tokens", ()) for character in token):
        pattern = None  # a border of words could be within a special token
    for file in files:
        for document in read_documents(Span(path=file), layout):
            if pattern is not None:
                yield from whole_words(document.chunks, split_pattern(pattern))
            else:
                yield "".join(document.chunks)
