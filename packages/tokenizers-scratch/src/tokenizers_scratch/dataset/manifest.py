"""The manifest of a data set: what was made of what, with a hash for everything.

A data set is a directory:

    dataset.json          the manifest, written last: where it is, the data set is complete
    tokenizer/            the tokenizer, as it saved itself
    shard-00000.bin       ids, one document after the other: uint16 or uint32, little-endian, nothing else
    shard-00000.ends      where each document of the shard ends, in ids: uint64, little-endian
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, get_args

import numpy as np

from tokenizers_scratch.errors import TokenizerDataError, TokenizerFileError
from tokenizers_scratch.storage import read_json_object

FILE_NAME = "dataset.json"
FORMAT = "tokenizers-scratch-dataset"
VERSION = 1
ENDS = np.dtype("<u8")
Part = Literal["all", "train", "validation"]
DTypeName = Literal["uint16", "uint32"]
DTYPES: Mapping[DTypeName, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}

_HASH = re.compile(r"[0-9a-f]{64}")


class DatasetError(TokenizerDataError):
    """A data set that is damaged, incomplete or made of something else; names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # the arguments as they are, so that it passes between processes
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Savable(Protocol):
    """What a tokenizer needs to be hashed."""

    def save(self, directory: Path, /) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that documents came from."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of ids, and its file of ends."""

    documents: int
    tokens: int
    raw_bytes: int
    sha256: str
    ends_sha256: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that decides what the shards hold, byte for byte."""

    dtype: DTypeName
    vocab_size: int
    tokenizer_sha256: str
    eos_id: int | None
    """The id behind each document; None if there is none."""
    field: str
    separator: str | None
    shard_bytes: int
    part: Part
    """All documents, or one side of a split by their hash (`shard.is_held_out`)."""
    validation_share: float
    sources: tuple[Source, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `dataset.json` says."""

    job: Job
    shards: tuple[Shard, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.job.dtype]

    @property
    def documents(self) -> int:
        return sum(shard.documents for shard in self.shards)

    @property
    def tokens(self) -> int:
        return sum(shard.tokens for shard in self.shards)

    @property
    def raw_bytes(self) -> int:
        """Bytes of text in UTF-8, without separators and JSON: what bits per byte refer to."""
        return sum(shard.raw_bytes for shard in self.shards)

    def write(self, directory: Path) -> None:
        """Write `dataset.json` in one step."""
        totals = {"documents": self.documents, "tokens": self.tokens, "raw_bytes": self.raw_bytes}
        job = dataclasses.asdict(self.job)
        shards = [{"file": ids_name(i), **dataclasses.asdict(shard)} for i, shard in enumerate(self.shards)]
        content = {"format": FORMAT, "version": VERSION, **totals, **job, "shards": shards}
        unfinished = directory / (FILE_NAME + ".part")
        with unfinished.open("w", encoding="ascii", newline="\n") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, directory / FILE_NAME)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises DatasetError if the file is not exactly what `write` writes."""
        path = directory / FILE_NAME
        try:
            content = read_json_object(path)
        except TokenizerFileError as error:
            hint = "; an interrupted data set is finished by the same call of prepare" if directory.is_dir() else ""
            raise DatasetError(path, error.reason + ("" if path.exists() else hint)) from None
        if content.get("format") != FORMAT:
            raise DatasetError(path, f"no data set: 'format' is not {FORMAT!r}")
        if content.get("version") != VERSION:
            raise DatasetError(path, f"version {content.get('version')!r} is unknown; this package reads {VERSION}")
        totals = {name: content.pop(name, None) for name in ("documents", "tokens", "raw_bytes")}
        shards = content.pop("shards", None)
        del content["format"], content["version"]
        manifest = cls(job=job_from(path, content), shards=_shards_from(path, shards))
        for name, total in totals.items():
            if total != getattr(manifest, name) or type(total) is not int:
                raise DatasetError(path, f"{name!r} is {total!r}, but the shards have {getattr(manifest, name)}")
        return manifest


def ids_name(number: int) -> str:
    return f"shard-{number:05d}.bin"


def ends_name(number: int) -> str:
    return f"shard-{number:05d}.ends"


def dtype_for(vocab_size: int) -> DTypeName:
    """The smallest type that holds every id. Raises ValueError if there is none."""
    if vocab_size > 2**32:
        raise ValueError(f"vocab_size: got {vocab_size}, must be at most {2**32}: ids are stored in 32 bits")
    return "uint16" if vocab_size <= 2**16 else "uint32"


def job_from(path: Path, content: object) -> Job:
    """A Job out of JSON. Raises DatasetError for anything that is none."""
    if isinstance(content, dict):
        content = {"part": "all", "validation_share": 0.0, **content}  # data sets of before there was a split
    values = _checked(path, "", Job, content)
    sources = values["sources"]
    if not isinstance(sources, list):
        raise DatasetError(path, "'sources' must be a list")
    values["sources"] = tuple(Source(**_checked(path, f"sources[{i}].", Source, s)) for i, s in enumerate(sources))
    job = Job(**values)
    if job.dtype != dtype_for(job.vocab_size):
        raise DatasetError(
            path, f"'dtype' is {job.dtype!r}, but {job.vocab_size} ids need {dtype_for(job.vocab_size)!r}"
        )
    if job.eos_id is not None and job.eos_id >= job.vocab_size:
        raise DatasetError(path, f"'eos_id' is {job.eos_id}, but there are only {job.vocab_size} ids")
    return job


def shard_from(path: Path, where: str, content: object) -> Shard:
    """A Shard out of JSON. Raises DatasetError for anything that is none."""
    return Shard(**_checked(path, where, Shard, content))


def _shards_from(path: Path, content: object) -> tuple[Shard, ...]:
    if not isinstance(content, list):
        raise DatasetError(path, "'shards' must be a list")
    shards = []
    for i, entry in enumerate(content):
        if not isinstance(entry, dict) or entry.get("file") != ids_name(i):
            raise DatasetError(path, f"shards[{i}] must be an object whose 'file' is {ids_name(i)!r}")
        shards.append(shard_from(path, f"shards[{i}].", {k: v for k, v in entry.items() if k != "file"}))
    return tuple(shards)


def _checked(path: Path, where: str, cls: type[Any], content: object) -> dict[str, Any]:
    """The values of a dataclass's fields, none missing, none too many, each of its type."""
    if not isinstance(content, dict):
        raise DatasetError(path, f"{where.rstrip('.') or 'it'} must be an object")
    names = [field.name for field in dataclasses.fields(cls)]
    if missing := [name for name in names if name not in content]:
        raise DatasetError(path, f"'{where}{missing[0]}' is missing")
    if unknown := [name for name in content if name not in names]:
        raise DatasetError(path, f"unknown key '{where}{unknown[0]}'")
    for field in dataclasses.fields(cls):
        value = content[field.name]
        if not _fits(str(field.type), field.name, value):
            raise DatasetError(path, f"'{where}{field.name}' must be {field.type}, got {value!r}")
    return dict(content)


def _fits(kind: str, name: str, value: object) -> bool:
    if value is None:
        return kind.endswith("| None")
    if kind == "DTypeName":
        return value in DTYPES
    if kind == "Part":
        return value in get_args(Part)
    if kind == "float":
        return type(value) in (int, float) and 0 <= value < 1  # type: ignore[operator]
    if kind.startswith("int"):
        return type(value) is int and value >= 0
    if kind.startswith("str"):
        return isinstance(value, str) and (not name.endswith("sha256") or _HASH.fullmatch(value) is not None)
    return True  # the list of sources, which is checked entry by entry


def hash_of_file(path: Path) -> str:
    """SHA-256. Raises DatasetError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(path, error.strerror or str(error)) from None


def hash_of_tokenizer(tokenizer: Savable) -> str:
    """SHA-256 of all that it saves, names and contents. Equal tokenizers have equal hashes."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        return hash_of_directory(Path(folder))


def hash_of_directory(directory: Path) -> str:
    """SHA-256 of the names and contents of all files below a directory."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(directory).as_posix()}\0{hash_of_file(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
