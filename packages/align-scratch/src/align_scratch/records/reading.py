"""Records of a data file in any of the usual formats: JSON Lines, one text a line, both also gzipped, and Parquet.

A record is a mapping of names to JSON values with the place it stands at. What the names mean is said in `fields.py`.
Lines are read one by one, in time linear in the file, and nothing in them is executed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from align_scratch.errors import DataError
from align_scratch.records.lines import read_lines
from align_scratch.records.table import read_table

FORMATS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet", ".txt", ".txt.gz")
_SHOWN = 60  # characters of a broken line that a message quotes


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a file. `where` is `file, line N`, for messages about it."""

    values: Mapping[str, Any]
    where: str


def read_records(path: Path) -> Iterator[Record]:
    """The file's records, streamed. A line of .txt is a record with the field `text`; blank lines are passed over.

    Raises DataError naming file and line, NotAvailable for .parquet without pyarrow.
    """
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in (".jsonl", ".json", ".txt", ".parquet") or (kind == ".parquet" and path.suffix == ".gz"):
        raise DataError(f"{path}: the name must end in one of {', '.join(FORMATS)}: it tells the format")
    if kind == ".parquet":
        for number, values in read_table(path):
            yield Record(values, f"{path}, row {number}")
        return
    for number, line in read_lines(path):
        if line.strip():
            where = f"{path}, line {number}"
            yield Record({"text": line} if kind == ".txt" else parse_line(line, where), where)


def parse_line(line: str, where: str) -> dict[str, Any]:
    """The object that a line of JSON holds. Raises DataError saying what is wrong and where in the line."""
    try:
        value = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
    except json.JSONDecodeError as error:
        shown = repr(line[max(0, error.pos - 20) : error.pos + _SHOWN - 20])
        if line.strip() == "[":
            raise DataError(
                f"{where}: the file is one JSON array over many lines; write one object a line (JSON Lines)"
            ) from error
        what = error.msg.lower().removesuffix(" at")
        raise DataError(
            f"{where}, column {error.colno}: not JSON: {what} near {shown}; a line must hold one object"
        ) from error
    except RecursionError as error:
        raise DataError(f"{where}: is nested too deeply to be a record") from error
    except ValueError as error:  # NaN, a repeated name, an integer with thousands of digits
        raise DataError(f"{where}: {error}") from error
    if not isinstance(value, dict):
        kind = "array" if isinstance(value, list) else type(value).__name__
        raise DataError(f'{where}: holds a JSON {kind}, must hold an object such as {{"prompt": ..., "answer": ...}}')
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value; write null, or leave the field out")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the field {name[:_SHOWN]!r} stands twice in one object")
    return values
