"""Writing one shard: documents to ids to a file, in bounded memory, whatever the length of a document."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tokenizers_scratch.dataset.manifest import DTYPES, ENDS, DTypeName, Savable, Shard, ends_name, ids_name
from tokenizers_scratch.dataset.survey import Unit
from tokenizers_scratch.errors import TokenizerDataError
from tokenizers_scratch.sources import Layout, SourceError, read_documents
from tokenizers_scratch.utf8 import text_to_bytes

_WHOLE = 2**20
"""Characters up to which a text is encoded in one go; of a longer one the ids come piece by piece."""
_BUFFER = 2**18
"""Bytes that wait to be written, and ids of a long text that are taken at a time."""

Ids = np.ndarray[Any, np.dtype[Any]]


class Encoder(Savable, Protocol):
    """The shape of a tokenizer that a data set can be made with."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_id(self) -> int | None: ...
    def encode(self, text: str, /) -> list[int]: ...
    def encode_iterable(self, chunks: Iterable[str], /) -> Iterable[int]: ...


def write_shard(
    tokenizer: Encoder,
    unit: Unit,
    layout: Layout,
    directory: Path,
    number: int,
    *,
    eos_id: int | None,
    dtype: DTypeName,
) -> Shard:
    """Encode the documents of `unit` into shard `number`. The files get their names when they are complete.

    Raises SourceError, naming file and place, for a document that cannot be read or encoded.
    """
    names = ids_name(number), ends_name(number)
    unfinished = [directory / (name + ".part") for name in names]
    raw_bytes = 0
    with _Column(unfinished[0], DTYPES[dtype]) as tokens, _Column(unfinished[1], ENDS) as ends:
        for span in unit:
            for document in read_documents(span, layout):
                counted = _Counted(document.chunks)
                try:
                    for ids in encoded(tokenizer, counted):
                        tokens.add(checked_ids(ids, tokenizer.vocab_size))
                except SourceError:
                    raise
                except TokenizerDataError as error:
                    raise SourceError(span.path, document.place, str(error)) from error
                if eos_id is not None:
                    tokens.add([eos_id])
                ends.add([tokens.count])
                raw_bytes += counted.raw_bytes
    for part, name in zip(unfinished, names, strict=True):
        os.replace(part, directory / name)
    return Shard(
        documents=ends.count,
        tokens=tokens.count,
        raw_bytes=raw_bytes,
        sha256=tokens.digest,
        ends_sha256=ends.digest,
    )


def encoded(tokenizer: Encoder, chunks: Iterator[str]) -> Iterator[Ids]:
    """The ids of one text that comes in pieces: those of the joined text, a limited number at a time."""
    held: list[str] = []
    length = 0
    for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        if length > _WHOLE:
            ids = iter(tokenizer.encode_iterable(chain(held, chunks)))
            while block := array("q", islice(ids, _BUFFER)):
                yield np.frombuffer(block, np.int64)
            return
    yield ids_of(tokenizer, "".join(held))


def ids_of(tokenizer: Encoder, text: str) -> Ids:
    """The ids of a text, by the quickest way that the tokenizer has."""
    to_numpy = getattr(tokenizer, "encode_to_numpy", None)
    return np.asarray(tokenizer.encode(text) if to_numpy is None else to_numpy(text))


def checked_ids(ids: Ids, vocab_size: int) -> Ids:
    """The same ids. Raises TokenizerDataError if one is none of the vocabulary, which a narrow type would hide."""
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= vocab_size):
        wrong = next(int(i) for i in ids if not 0 <= i < vocab_size)
        raise TokenizerDataError(f"the tokenizer gave the id {wrong}, but says that it has only {vocab_size}")
    return ids


class _Counted:
    """Chunks of a text, and how many bytes they had."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self.raw_bytes = 0
        self._chunks = chunks

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        chunk = next(self._chunks)
        self.raw_bytes += len(chunk) if chunk.isascii() else len(text_to_bytes(chunk))
        return chunk


class _Column:
    """A file of numbers, hashed while it is written."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.count = 0
        self._dtype = dtype
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self._waiting = bytearray()

    def add(self, numbers: Ids | list[int]) -> None:
        self._waiting += np.asarray(numbers).astype(self._dtype).tobytes()
        self.count += len(numbers)
        if len(self._waiting) >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._waiting)
        self._hash.update(self._waiting)
        self._waiting = bytearray()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def __enter__(self) -> _Column:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
