"""How source files are divided: every shard gets whole documents, of about so many bytes, in the order of the files.

One pass over each file finds its hash and the places where it may be cut. The result depends on the files and on the
size alone, never on the number of processes. A compressed file is never cut, for nobody can start to read it in the
middle; neither is a text file that is one document.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers_scratch.dataset.manifest import Source
from tokenizers_scratch.sources import BLOCK, Layout, SourceError, Span, is_gzip

Unit = tuple[Span, ...]
"""What one shard is made of."""


@dataclass(frozen=True)
class Survey:
    """A file, and its parts with their sizes in bytes."""

    source: Source
    parts: tuple[tuple[Span, int], ...]


def survey(path: str, layout: Layout, part_bytes: int) -> Survey:
    """Read a file once; cut it behind the first record that ends `part_bytes` or more behind the last cut."""
    separator = None if is_gzip(path) else layout.separator_of(path)
    digest = hashlib.sha256()
    size, records = 0, 0
    spans: list[Span] = []
    start, first_line = 0, 1
    for block, ends in _ends_of_records(path, separator):
        digest.update(block)
        size += len(block)
        for end in ends:
            records += 1
            if end - start >= part_bytes:
                spans.append(Span(path=path, start=start, end=end, first_line=first_line))
                start, first_line = end, records + 1
    if is_gzip(path):
        spans.append(Span(path=path))
    elif start < size:
        spans.append(Span(path=path, start=start, end=size, first_line=first_line))
    parts = tuple((span, (size if span.end is None else span.end) - span.start) for span in spans)
    return Survey(Source(path=path, bytes=size, sha256=digest.hexdigest()), parts)


def _ends_of_records(path: str, separator: bytes | None) -> Iterator[tuple[bytes, list[int]]]:
    """Each block of a file as it is on disk, with the ends of the separators that are complete with it."""
    find = re.compile(re.escape(separator)).finditer if separator else None
    unsure = len(separator) - 1 if separator else 0
    held, place = b"", 0  # what may be the beginning of a separator, and where it is in the file
    try:
        with Path(path).open("rb") as file:
            while block := file.read(BLOCK):
                ends = []
                if find is not None:
                    held += block
                    done = 0
                    for match in find(held):
                        done = match.end()
                        ends.append(place + done)
                    done = max(done, len(held) - unsure)
                    held, place = held[done:], place + done
                yield block, ends
    except OSError as error:
        raise SourceError(path, "", error.strerror or str(error)) from None


def divide(parts: Iterable[tuple[Span, int]], shard_bytes: int) -> list[Unit]:
    """Put parts together, in order, until they have `shard_bytes`."""
    units: list[Unit] = []
    unit: list[Span] = []
    filled = 0
    for span, size in parts:
        unit.append(span)
        filled += size
        if filled >= shard_bytes:
            units.append(tuple(unit))
            unit, filled = [], 0
    return [*units, tuple(unit)] if unit else units
