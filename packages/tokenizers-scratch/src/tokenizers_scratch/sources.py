r"""Documents from files: plain text or JSON lines, also compressed with gzip; read in pieces, so files may be any size.

A line of a `.jsonl` file is a document: the text in one field of an object (blank lines are passed over). Any other
file is UTF-8 text and one document, or several where a separator is given; what is empty between two separators is
none. Nothing is changed on the way: line ends stay as they are. What cannot be read is a `SourceError` that names the
file and the line (JSON) or byte (text; of the content, if it is compressed).
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from tokenizers_scratch.errors import TokenizerDataError

BLOCK = 2**18
"""Bytes that are read at a time."""

MAX_LINE = 2**28
"""A longer line of JSON is refused: it has to be in memory as a whole, and is rather some other file."""


class SourceError(TokenizerDataError):
    """A file that holds no usable documents: which, where, why."""

    def __init__(self, path: str, place: str, reason: str) -> None:
        super().__init__(path, place, reason)  # the arguments as they are, so that it passes between processes
        self.path, self.place, self.reason = path, place, reason

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.path, self.place))) + f": {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the documents of a file are."""

    field: str = "text"
    """The field of each JSON object."""
    separator: str | None = None
    """What stands between the documents of a text file; None if the file is one document."""

    def __post_init__(self) -> None:
        if self.separator == "":
            raise ValueError("separator: got '', must not be empty: it would cut everywhere")

    def separator_of(self, path: str) -> bytes | None:
        """The bytes between the records of this file."""
        if is_jsonl(path):
            return b"\n"
        return None if self.separator is None else self.separator.encode("utf-8")


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a file that starts and ends with a record."""

    path: str
    start: int = 0
    end: int | None = None
    """In bytes; None for the end of the file, which is the only end that a compressed file can have."""
    first_line: int = 1
    """The number of the line at `start`, for messages about JSON lines."""


@dataclass(frozen=True)
class Document:
    """One text in pieces. They must be used up before the next document is taken."""

    place: str
    """Where in its file it starts, in words."""
    chunks: Iterator[str]


def is_gzip(path: str) -> bool:
    return path.endswith(".gz")


def is_jsonl(path: str) -> bool:
    return path.removesuffix(".gz").endswith((".jsonl", ".ndjson"))


def read_documents(span: Span, layout: Layout) -> Iterator[Document]:
    """The documents of a part of a file, in order."""
    records = _records(_pieces(blocks(span), layout.separator_of(span.path)), span.start)
    return _json_lines(span, records, layout.field) if is_jsonl(span.path) else _texts(span.path, records)


def blocks(span: Span) -> Iterator[bytes]:
    """The bytes of a part of a file. Raises SourceError if they cannot be read, or are fewer than the part has."""
    left = None if span.end is None else span.end - span.start
    try:
        with _opened(span) as file:
            file.seek(span.start)
            while block := file.read(BLOCK if left is None else min(BLOCK, left)):
                yield block
                left = None if left is None else left - len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(span.path, "", f"damaged gzip file: {error}") from None
    except OSError as error:
        raise SourceError(span.path, "", error.strerror or str(error)) from None
    if left:
        raise SourceError(span.path, "", f"became shorter while it was read: {left} bytes are missing")


def _opened(span: Span) -> BinaryIO:
    return cast("BinaryIO", gzip.open(span.path, "rb")) if is_gzip(span.path) else Path(span.path).open("rb")


def _pieces(data: Iterable[bytes], separator: bytes | None) -> Iterator[tuple[bytes, int]]:
    """Bytes cut at each separator, from the left: (piece, length of the separator behind it or 0 if there is none)."""
    held = b""
    # A separator can begin in the last bytes that were read, and end in the next.
    unsure = len(separator) - 1 if separator else 0
    for block in data:
        held += block
        if separator:
            *records, held = held.split(separator)
            for record in records:
                yield record, len(separator)
        if len(held) > unsure:
            certain = len(held) - unsure
            yield held[:certain], 0
            held = held[certain:]
    yield held, 0


def _records(pieces: Iterator[tuple[bytes, int]], start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Records with the place of their first byte, each in pieces. Records without a byte are there, too."""
    place = start
    ended = False

    def rest(piece: bytes, separator: int) -> Iterator[bytes]:
        nonlocal place, ended
        while True:
            place += len(piece) + separator
            if piece:
                yield piece
            if separator:
                return
            following = next(pieces, None)
            if following is None:
                ended = True
                return
            piece, separator = following

    for piece, separator in pieces:
        yield place, rest(piece, separator)
        if ended:
            return


def _texts(path: str, records: Iterator[tuple[int, Iterator[bytes]]]) -> Iterator[Document]:
    for place, pieces in records:
        first = next(pieces, b"")
        if first:
            yield Document(f"byte {place}", decoded(path, chain((first,), pieces), place))


def decoded(path: str, pieces: Iterator[bytes], place: int = 0) -> Iterator[str]:
    """The text of bytes that begin at `place` of a file. Raises SourceError, with the place, if they are not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    while True:
        piece = next(pieces, None)
        waiting = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece or b"", final=piece is None)
        except UnicodeDecodeError as error:
            raise SourceError(path, f"byte {place - waiting + error.start}", f"not UTF-8: {error.reason}") from None
        if text:
            yield text
        if piece is None:
            return
        place += len(piece)


def _json_lines(span: Span, records: Iterator[tuple[int, Iterator[bytes]]], field: str) -> Iterator[Document]:
    for number, (_, pieces) in enumerate(records, span.first_line):
        line = bytearray()
        for piece in pieces:
            line += piece
            if len(line) > MAX_LINE:
                raise SourceError(span.path, f"line {number}", f"longer than {MAX_LINE} bytes")
        if line.strip():
            text = _text_of(span.path, f"line {number}", bytes(line), field)
            yield Document(f"line {number}", iter((text,)))


def _text_of(path: str, place: str, line: bytes, field: str) -> str:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SourceError(path, place, f"not UTF-8: {error.reason} at byte {error.start} of the line") from None
    except RecursionError:
        raise SourceError(path, place, "nested too deep") from None
    except ValueError as error:
        raise SourceError(path, place, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise SourceError(path, place, "no JSON object")
    if field not in value:
        raise SourceError(
            path, place, f"there is no field {field!r}; there are {', '.join(map(repr, value)) or 'none'}"
        )
    if not isinstance(value[field], str):
        raise SourceError(path, place, f"the field {field!r} is no text")
    return cast("str", value[field])
