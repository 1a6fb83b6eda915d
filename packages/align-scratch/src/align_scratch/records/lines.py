"""Numbered lines of a text file, plain or gzipped, one at a time: memory holds a line, whatever the file's size.

Everything that can be wrong with the bytes is said here, with the file and the line: another encoding, a NUL byte, a
gzip file that was cut off, a line longer than any record.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from align_scratch.errors import DataError

MAX_LINE = 1 << 26
"""Bytes of the longest line that is read, 64 MiB: what is longer is no record, and must not fill the memory."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8_BOM = b"\xef\xbb\xbf"


def read_lines(path: Path, *, max_line: int = MAX_LINE) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without its end) of a UTF-8 file; a name ending in .gz is decompressed on the way.

    A byte-order mark is dropped. Raises DataError naming file and line.
    """
    number = 0
    try:
        with open_bytes(path) as file:
            while raw := file.readline(max_line + 1):
                number += 1
                yield number, decoded(path, number, raw, max_line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        if number == 0 and isinstance(error, gzip.BadGzipFile) and "Not a gzipped file" in str(error):
            raise DataError(f"{path}: is not a gzip file, whatever its name says; take .gz off the name") from error
        raise DataError(
            f"{path}, line {number + 1}: the gzip file is cut off or damaged here ({error}); get it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}, line {number + 1}: cannot be read: {error.strerror or error}") from error


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, decompressed if its name ends in .gz. Raises DataError if there is no such file."""
    if path.is_dir():
        raise DataError(f"{path}: is a directory, not a file of records; name a file in it")
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error


def decoded(path: Path, number: int, raw: bytes, max_line: int) -> str:
    """The text of line `number`. Raises DataError if the bytes are no line of UTF-8 text."""
    where = f"{path}, line {number}"
    if number == 1:
        if raw.startswith(_UTF16):
            raise DataError(f"{where}: this is UTF-16; convert the file to UTF-8")
        raw = raw.removeprefix(_UTF8_BOM)
    if len(raw) > max_line:
        raise DataError(f"{where}: is longer than {max_line:,} bytes, which no record is; are line ends missing?")
    if (zero := raw.find(b"\0")) >= 0:
        raise DataError(f"{where}: byte {zero} is NUL, so this is binary data or UTF-16; UTF-8 text is needed")
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise DataError(
            f"{where}: byte {error.start}, 0x{byte:02x}, is not UTF-8; convert the file to UTF-8"
        ) from error
