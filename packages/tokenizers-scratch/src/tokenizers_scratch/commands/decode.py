"""`tokenize decode`: ids to text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.commands.arguments import STDIN, byte_blocks, saved_tokenizer
from tokenizers_scratch.commands.encode import DTYPES
from tokenizers_scratch.parts import load_tokenizer
from tokenizers_scratch.sources import SourceError
from tokenizers_scratch.utf8 import text_to_bytes

_BLOCK = 2**16
"""Ids that are decoded at a time."""
_MAX_LINE = 2**26
"""A line with more bytes is no line of ids."""


@click.command(short_help="Ids to text.")
@click.argument("file", default=STDIN, metavar="[FILE]", type=click.UNPROCESSED)
@saved_tokenizer
@click.option("-o", "--out", metavar="OUT", help="Where the text goes, if not to stdout.")
@click.option("--lines", is_flag=True, help="Each line of ids is a text of its own, and gives a line.")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="What a .bin file holds; unless given, uint16 if all ids fit, else uint32.",
)
@click.option("--keep-special", is_flag=True, help="Show special tokens, which are left out otherwise.")
def decode(file: str, place: str, out: str | None, lines: bool, dtype: str | None, keep_special: bool) -> None:
    """Decode ids: numbers with white space between them, a .npy file, or a .bin file of numbers only.

    The text comes out as it is, without a line end that is not its own.
    """
    as_numbers = file.endswith((".npy", ".bin"))
    if lines and as_numbers:
        raise click.UsageError("--lines is for ids as text: a .npy or .bin file has no lines")
    if dtype is not None and not file.endswith(".bin"):
        raise click.UsageError("--dtype is for .bin files: others say or need none")
    tokenizer = load_tokenizer(place)
    if as_numbers:
        texts = _stream(tokenizer, _numbers(Path(file), dtype, tokenizer), not keep_special)
    elif lines:
        texts = (tokenizer.decode(row, skip_special=not keep_special) + "\n" for row in _rows(file))
    else:
        texts = _stream(tokenizer, _rows(file), not keep_special)
    if out is None:
        for text in texts:
            sys.stdout.buffer.write(text_to_bytes(text))
        sys.stdout.buffer.flush()
        return
    with Path(out).open("wb") as written:
        for text in texts:
            written.write(text_to_bytes(text))


def _stream(tokenizer: BaseTokenizer, rows: Iterator[list[int]], skip_special: bool) -> Iterator[str]:
    decoder = tokenizer.stream_decoder(skip_special=skip_special)
    for row in rows:
        yield decoder.push(row)
    yield decoder.flush()


def _rows(file: str) -> Iterator[list[int]]:
    """The ids of each line. Raises SourceError, with the line, for what is no number."""
    name = "standard input" if file == STDIN else file
    for number, line in enumerate(_lines(name, byte_blocks(file)), 1):
        try:
            yield [_id(word) for word in line.split()]
        except ValueError as error:
            raise SourceError(name, f"line {number}", str(error)) from None


def _lines(name: str, data: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for block in data:
        *whole, held = (held + block).split(b"\n")
        if len(held) > _MAX_LINE:
            raise SourceError(name, "", f"has a line of more than {_MAX_LINE} bytes: these are no ids")
        yield from whole
    if held:
        yield held


def _id(word: bytes) -> int:
    if not word.isdigit() or len(word) > 10:
        shown = word[:20].decode("ascii", "backslashreplace")
        raise ValueError(f"{shown!r} is no id: ids are whole numbers, with white space between them")
    return int(word)


def _numbers(path: Path, dtype: str | None, tokenizer: BaseTokenizer) -> Iterator[list[int]]:
    ids = _npy(path) if path.suffix == ".npy" else _bin(path, dtype, tokenizer)
    for start in range(0, len(ids), _BLOCK):
        yield ids[start : start + _BLOCK].tolist()


def _npy(path: Path) -> Any:
    import numpy as np

    try:
        ids = np.lib.format.open_memmap(path, mode="r") if path.stat().st_size else None
    except OSError as error:
        raise SourceError(str(path), "", error.strerror or str(error)) from None
    except ValueError as error:
        raise SourceError(str(path), "", f"no .npy file of ids: {error}") from None
    if ids is None or ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise SourceError(str(path), "", "no .npy file of ids: it must hold one row of whole numbers")
    return ids


def _bin(path: Path, name: str | None, tokenizer: BaseTokenizer) -> Any:
    import numpy as np

    from tokenizers_scratch.dataset.manifest import dtype_for

    dtype = np.dtype(name or dtype_for(tokenizer.vocab_size)).newbyteorder("<")
    try:
        size = path.stat().st_size
        if size % dtype.itemsize:
            raise SourceError(str(path), "", f"has {size} bytes, which is no whole number of {dtype.name} ids")
        return np.memmap(path, dtype, mode="r") if size else np.empty(0, dtype)
    except OSError as error:
        raise SourceError(str(path), "", error.strerror or str(error)) from None
