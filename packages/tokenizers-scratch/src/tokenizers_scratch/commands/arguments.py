"""What the sub-commands take alike: a tokenizer, a text, a file of any kind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.commands.screen import say
from tokenizers_scratch.parts import load_tokenizer, offers, rank_file
from tokenizers_scratch.settings import configured, parse_setting
from tokenizers_scratch.sources import BLOCK, SourceError, Span, blocks, decoded

F = TypeVar("F", bound=Callable[..., Any])

STDIN = "-"


def saved_tokenizer(function: F) -> F:
    """`--tokenizer PLACE`."""
    return click.option(
        "-t", "--tokenizer", "place", required=True, metavar="PLACE",
        help="Where the tokenizer is: what train wrote, the directory of a run or of a data set, a tokenizer.json, "
        "a sentencepiece .model, a .tiktoken file (FILE.tiktoken:PATTERN), or a folder with one of these.",
    )(function)  # fmt: skip


def layout_options(function: F) -> F:
    """`--field` and `--separator`."""
    options = (
        click.option("--field", default="text", show_default=True, help="Where the text is in JSON lines."),
        click.option(
            "--separator", callback=_separator, metavar="TEXT",
            help=r"What stands between the documents of a text file; \n and \t are understood.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _separator(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.BadParameter("must not be empty: it would cut everywhere")
    return None if value is None else value.replace("\\n", "\n").replace("\\t", "\t")


def text_options(function: F) -> F:
    """A file, or `--text`."""
    function = click.option("--text", help="The text itself, instead of a file.")(function)
    return click.argument("file", default=STDIN, metavar="[FILE]", type=click.UNPROCESSED)(function)


def text_from(file: str, text: str | None) -> str:
    """The text that was given, in whichever way."""
    if text is not None and file != STDIN:
        raise click.UsageError("got a file and --text; there is one text")
    return "".join(text_chunks(file)) if text is None else text


def byte_blocks(file: str) -> Iterator[bytes]:
    """The bytes of a file, also compressed, or of stdin."""
    if file != STDIN:
        return blocks(Span(path=file))
    return iter(lambda: sys.stdin.buffer.read(BLOCK), b"")


def text_chunks(file: str) -> Iterator[str]:
    """The text of a file or of stdin, in pieces."""
    return decoded("standard input" if file == STDIN else file, byte_blocks(file))


def configured_or_refused(config: type[Any], values: dict[str, Any], name: str) -> Any:
    """The options of a tokenizer. What is wrong with them is a usage error."""
    try:
        return configured(config, values)
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}") from error


def settings_from(texts: Iterable[str]) -> dict[str, Any]:
    """`field=value` of each text."""
    try:
        return dict(map(parse_setting, texts))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def known_class(name: str) -> tuple[type[Any], type[Any]]:
    """The tokenizer of this name and its options."""
    offer = offers().get(name)
    if offer is None:
        raise click.UsageError(f"there is no tokenizer {name!r}; there are {', '.join(offers())}")
    return offer.load(), offer.load_config()


def tokenizer_for(spec: str, texts: list[str]) -> BaseTokenizer:
    """A saved tokenizer, if `spec` is a place; else `name:field=value,...`, trained on these texts."""
    if is_place(spec):
        return load_tokenizer(spec)
    name, _, values = spec.partition(":")
    if name not in offers() and ("/" in spec or "\\" in spec):
        raise SourceError(spec, "", "is no file or directory that a tokenizer was saved in")
    kind, config = known_class(name)
    made = configured_or_refused(config, settings_from(filter(None, values.split(","))), name)
    tokenizer: BaseTokenizer = kind.train(texts, made)
    return tokenizer


def is_place(spec: str) -> bool:
    """Whether it names a place on disk, and not a tokenizer to train: a folder, or a file not named like one."""
    path, _ = rank_file(spec)
    return path.is_dir() or (path.is_file() and spec.partition(":")[0] not in offers())


def training_text(text: str, file: str | None) -> list[str]:
    """What a tokenizer that is only named learns from: a file, or the text that it is then used on."""
    if file is not None:
        return ["".join(text_chunks(file))]
    return [text]


def note_training(specs: Iterable[str], file: str | None) -> None:
    """Say what named tokenizers are trained on, since it decides what they do."""
    named = [spec for spec in specs if not is_place(spec)]
    if named:
        say(f"trained on {'the text itself' if file is None else file}: {', '.join(named)}")
