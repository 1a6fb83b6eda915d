"""`tokenize encode`: text to ids, as text or as numbers in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.commands.arguments import STDIN, saved_tokenizer, text_chunks
from tokenizers_scratch.commands.screen import say
from tokenizers_scratch.parts import load_tokenizer

_BLOCK = 2**16
"""Ids that are written at a time."""
DTYPES = ("uint16", "uint32", "int32", "int64")


@click.command(short_help="Text to ids.")
@click.argument("file", default=STDIN, metavar="[FILE]", type=click.UNPROCESSED)
@saved_tokenizer
@click.option("-o", "--out", metavar="OUT", help="A .npy file, a .bin file (numbers only), or any other for text.")
@click.option("--lines", is_flag=True, help="Each line is a text of its own, and gives a line of ids.")
@click.option(
    "--dtype", "--output_dtype", "dtype", type=click.Choice(DTYPES),
    help="Type in .npy and .bin files; unless given, uint16 if all ids fit, else uint32.",
)  # fmt: skip
@click.option(
    "--allowed-special", type=click.Choice(["none", "all", "none_raise"]), default="none", show_default=True,
    help="Whether special tokens in the text are text, special, or an error.",
)  # fmt: skip
def encode(file: str, place: str, out: str | None, lines: bool, dtype: str | None, allowed_special: str) -> None:
    """Encode a text file (also .gz), or what comes in, as ids: numbers with spaces between them.

    The whole file is one text, and is encoded as it is read.
    """
    as_numbers = out is not None and out.endswith((".npy", ".bin"))
    if lines and as_numbers:
        raise click.UsageError("--lines is for ids as text: a .npy or .bin file has no lines")
    if dtype is not None and not as_numbers:
        raise click.UsageError("--dtype is for .npy and .bin files: ids as text have no type")
    tokenizer = load_tokenizer(place)
    chunks = text_chunks(file)
    special: Any = allowed_special
    if out is None:
        for piece in _as_text(tokenizer, chunks, lines, special):
            click.echo(piece, nl=False)
        return
    unfinished = Path(out + ".part")
    try:
        if as_numbers:
            with unfinished.open("wb") as numbers:
                ids = tokenizer.encode_iterable(chunks, allowed_special=special)
                count = _write_numbers(numbers, ids, _dtype(dtype, tokenizer), header=out.endswith(".npy"))
            say(f"{count} ids in {out}")
        else:
            with unfinished.open("w", encoding="ascii", newline="\n") as text:
                text.writelines(_as_text(tokenizer, chunks, lines, special))
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)


def _as_text(tokenizer: BaseTokenizer, chunks: Iterator[str], lines: bool, special: Any) -> Iterator[str]:
    if lines:
        for line in _lines(chunks):
            yield " ".join(map(str, tokenizer.encode(line, allowed_special=special))) + "\n"
        return
    ids = tokenizer.encode_iterable(chunks, allowed_special=special)
    between = ""
    while block := list(islice(ids, _BLOCK)):
        yield between + " ".join(map(str, block))
        between = " "
    yield "\n"


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    """The lines of a text in pieces, without the line feed that ends each."""
    held = ""
    for chunk in chunks:
        *whole, held = (held + chunk).split("\n")
        yield from whole
    if held:
        yield held


def _dtype(name: str | None, tokenizer: BaseTokenizer) -> Any:
    import numpy as np

    from tokenizers_scratch.dataset.manifest import dtype_for

    dtype = np.dtype(name or dtype_for(tokenizer.vocab_size)).newbyteorder("<")
    if tokenizer.vocab_size - 1 > np.iinfo(dtype).max:
        raise click.UsageError(f"--dtype {name}: holds ids up to {np.iinfo(dtype).max}, not {tokenizer.vocab_size - 1}")
    return dtype


def _write_numbers(file: IO[bytes], ids: Iterator[int], dtype: Any, *, header: bool) -> int:
    """Ids to a file as they come; the header of a .npy file says how many, and is written again at the end."""
    import numpy as np

    def write_header(count: int) -> int:
        file.seek(0)
        form = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, form)
        return file.tell()

    start = write_header(0) if header else 0
    count = 0
    while block := list(islice(ids, _BLOCK)):
        file.write(np.array(block, np.int64).astype(dtype).tobytes())
        count += len(block)
    if header and write_header(count) != start:
        raise RuntimeError("numpy left no room for the length in the header of a .npy file")
    return count
