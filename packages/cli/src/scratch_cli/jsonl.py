"""Append-only JSON lines that a kill leaves readable: the last line may be cut, the others are whole."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

NOT_FINITE = "not_finite"
"""Key of the flag that names which values of a line are null because they were NaN or infinite."""


class JsonLines:
    """A file of JSON objects, one a line, written from the start or from where `cut` ended it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("ab", buffering=0)  # a buffer would try again to write what a full disk refused

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Write rows and hand them to the operating system, so that a reader sees them now. Raises OSError."""
        rest = memoryview(b"".join(line(row) for row in rows))
        while rest:
            rest = rest[self._stream.write(rest) :]

    def sync(self) -> int:
        """Return the size in bytes once all of it is on the disk."""
        os.fsync(self._stream.fileno())
        return os.fstat(self._stream.fileno()).st_size

    def close(self) -> None:
        self._stream.close()


def line(row: Mapping[str, Any]) -> bytes:
    """One line of JSON. What is not finite becomes null, and the line says so under `not_finite`."""
    try:
        text = json.dumps(row, allow_nan=False, default=_plain)
    except ValueError:
        flags: list[str] = []
        row = {key: _finite(value, str(key), flags) for key, value in row.items()}
        text = json.dumps({**row, NOT_FINITE: flags}, allow_nan=False, default=_plain)
    return text.encode() + b"\n"


def _finite(value: Any, place: str, flags: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item, f"{place}.{key}", flags) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item, f"{place}.{i}", flags) for i, item in enumerate(value)]
    if hasattr(value, "tolist"):
        return _finite(value.tolist(), place, flags)
    if isinstance(value, float) and not math.isfinite(value):
        flags.append(place)
        return None
    return value


def _plain(value: Any) -> Any:
    """Numbers that came out of arrays and tensors, and anything else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def cut(path: Path, size: int) -> int:
    """Shorten the file to `size` bytes, or to its last whole line if it is shorter; return the bytes that are missing.

    A file that does not exist is empty.
    """
    if not path.exists():
        return size
    with path.open("r+b") as stream:
        actual = stream.seek(0, os.SEEK_END)
        end = min(size, actual)
        while end > 0:  # step back to a line's end, block by block
            start = max(0, end - 65536)
            stream.seek(start)
            newline = stream.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        stream.truncate(end)
    return size - end


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, without a last line that was cut, and without lines that are no objects."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        yield from rows(stream)


def tail(path: Path, count: int, *, window: int = 1 << 18) -> list[dict[str, Any]]:
    """The last `count` objects, or as many as lie whole in the last `window` bytes: logs may be large."""
    if not path.exists():
        return []
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - window))
        if size > window:
            stream.readline()  # the middle of a line
        return list(rows(stream))[-count:]


def rows(stream: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects among these lines; a last line without its end is left out."""
    for raw in stream:
        if not raw.endswith(b"\n"):
            return
        try:
            row = json.loads(raw)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
