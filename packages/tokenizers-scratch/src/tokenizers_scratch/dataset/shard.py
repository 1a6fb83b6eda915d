"""Writing one shard: documents to ids to a file, in bounded memory, whatever the length of a document."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tokenizers_scratch.dataset.manifest import DTYPES, ENDS, DTypeName, Part, Savable, Shard, ends_name, ids_name
from tokenizers_scratch.dataset.survey import Unit
from tokenizers_scratch.errors import TokenizerDataError
from tokenizers_scratch.sources import Document, Layout, SourceError, read_documents
from tokenizers_scratch.utf8 import text_to_bytes

_WHOLE = 2**20
"""Characters that are encoded in one go, in one document or several; of a longer one the ids come piece by piece."""
_BUFFER = 2**18
"""Bytes that wait to be written, and ids of a long document that are taken at a time."""

Ids = np.ndarray[Any, np.dtype[Any]]


class Encoder(Savable, Protocol):
    """The shape of a tokenizer that a data set can be made with."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_id(self) -> int | None: ...
    def encode(self, text: str, /) -> list[int]: ...
    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]: ...
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
    part: Part = "all",
    validation_share: float = 0.0,
) -> Shard:
    """Encode the documents of `unit` into shard `number`. The files get their names when they are complete.

    `part`: only documents of this side of the split.

    Raises SourceError, naming file and place, for a document that cannot be read or encoded.
    """
    names = ids_name(number), ends_name(number)
    # By process, for a worker whose parent was killed may still be writing when the next one begins.
    unfinished = [directory / f"{name}.{os.getpid()}.part" for name in names]
    with _Column(unfinished[0], DTYPES[dtype]) as tokens, _Column(unfinished[1], ENDS) as ends:
        writer = _Writer(tokenizer, tokens, ends, eos_id, part, validation_share)
        for span in unit:
            for document in read_documents(span, layout):
                writer.add(span.path, document)
        writer.flush()
    for path, name in zip(unfinished, names, strict=True):
        os.replace(path, directory / name)
    return Shard(
        documents=ends.count,
        tokens=tokens.count,
        raw_bytes=writer.raw_bytes,
        sha256=tokens.digest,
        ends_sha256=ends.digest,
    )


class _Text(NamedTuple):
    """A document that waits for others, to be encoded with them."""

    path: str
    place: str
    text: str


class _Writer:
    """Documents to ids. Short ones are encoded together, which some tokenizers do many times faster."""

    def __init__(
        self, tokenizer: Encoder, tokens: _Column, ends: _Column, eos_id: int | None, part: Part, share: float
    ) -> None:
        self.raw_bytes = 0
        self._part: Part = part
        self._share = share
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._ends = ends
        self._eos = [] if eos_id is None else [eos_id]
        self._waiting: list[_Text] = []
        self._characters = 0

    def add(self, path: str, document: Document) -> None:
        chunks = self._counted(document.chunks)
        held: list[str] = []
        length = 0
        for chunk in chunks:
            held.append(chunk)
            length += len(chunk)
            if length > _WHOLE:
                held = ["".join(held)]
                if not self._wanted(held[0], chunks):
                    return
                self.flush()
                self._add_long(path, document.place, chain(held, chunks))
                return
        text = "".join(held)
        if not self._wanted(text, chunks):
            return
        self._waiting.append(_Text(path, document.place, text))
        self._characters += length
        if self._characters > _WHOLE:
            self.flush()

    def _wanted(self, text: str, rest: Iterator[str]) -> bool:
        """Whether a document that begins so is of this part; if not, it is passed over and not counted."""
        if self._part == "all" or is_held_out(text, self._share) == (self._part == "validation"):
            return True
        before = self.raw_bytes - len(text_to_bytes(text))
        for _ in rest:
            pass
        self.raw_bytes = before
        return False

    def flush(self) -> None:
        """Encode what waits."""
        waiting, self._waiting, self._characters = self._waiting, [], 0
        texts = [document.text for document in waiting]
        try:
            rows = self._tokenizer.encode_batch(texts)
        except TokenizerDataError:
            for document in waiting:
                with _named(document.path, document.place):
                    self._tokenizer.encode(document.text)
            raise
        for document, row in zip(waiting, rows, strict=True):
            if row and not (min(row) >= 0 and max(row) < self._tokenizer.vocab_size):
                with _named(document.path, document.place):
                    checked_ids(np.array(row), self._tokenizer.vocab_size)
        ids = array("q")
        ends = []
        for row in rows:
            ids.extend(row)
            ids.extend(self._eos)
            ends.append(self._tokens.count + len(ids))
        self._tokens.add(np.frombuffer(ids, np.int64))
        self._ends.add(ends)

    def _add_long(self, path: str, place: str, chunks: Iterator[str]) -> None:
        with _named(path, place):
            ids = iter(self._tokenizer.encode_iterable(chunks))
            while block := array("q", islice(ids, _BUFFER)):
                self._tokens.add(checked_ids(np.frombuffer(block, np.int64), self._tokenizer.vocab_size))
        self._tokens.add(self._eos)
        self._ends.add([self._tokens.count])

    def _counted(self, chunks: Iterator[str]) -> Iterator[str]:
        for chunk in chunks:
            self.raw_bytes += len(chunk) if chunk.isascii() else len(text_to_bytes(chunk))
            yield chunk


def is_held_out(text: str, share: float) -> bool:
    """Whether a document is for validation: by the SHA-256 of its first 2**20 characters in UTF-8, as a number below 1.

    So equal documents are on one side, wherever they are, and a document stays on its side whatever is added.
    """
    digest = hashlib.sha256(text_to_bytes(text[:_WHOLE])).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


@contextmanager
def _named(path: str, place: str) -> Iterator[None]:
    """Say of which document it is that something cannot be encoded."""
    try:
        yield
    except SourceError:
        raise
    except TokenizerDataError as error:
        raise SourceError(path, place, str(error)) from error


def checked_ids(ids: Ids, vocab_size: int) -> Ids:
    """The same ids. Raises TokenizerDataError if one is none of the vocabulary, which a narrow type would hide."""
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= vocab_size):
        wrong = next(int(i) for i in ids if not 0 <= i < vocab_size)
        raise TokenizerDataError(f"the tokenizer gave the id {wrong}, but says that it has only {vocab_size}")
    return ids


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
