"""Reading a data set: ids as one long row in a memory map, cut into documents. Uses memory for what is looked at."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np

from tokenizers_scratch.dataset.manifest import (
    ENDS,
    DatasetError,
    Manifest,
    Savable,
    ends_name,
    hash_of_file,
    hash_of_tokenizer,
    ids_name,
)

Ids = np.ndarray[Any, np.dtype[Any]]


class TokenDataset:
    """All ids of all documents, in the order of the sources.

    `data[i]` is an id, `data[a:b]` an array of them (T,), read-only, in the data set's own type; from within one shard
    it is a view that reads from disk when looked at. `data.document(n)` is one document.
    """

    def __init__(self, directory: Path | str, /, *, tokenizer: Savable | None = None, verify: bool = False) -> None:
        """Open a data set, comparing all files with the manifest in their sizes, with `verify` also in their hashes.

        `tokenizer`: the one that will be used with the ids. Raises DatasetError, naming file and reason, if something
        is missing or damaged, or if the data set was made with another tokenizer.
        """
        self.directory = Path(directory)
        self.manifest = Manifest.read(self.directory)
        if tokenizer is not None and hash_of_tokenizer(tokenizer) != self.manifest.job.tokenizer_sha256:
            raise DatasetError(self.directory, "was made with another tokenizer: its ids would mean something else")
        shards = self.manifest.shards
        self._shards: list[Ids] = []
        self._ends: list[Ids] = []
        for number, shard in enumerate(shards):
            ids_path, ends_path = self.directory / ids_name(number), self.directory / ends_name(number)
            self._shards.append(_mapped(ids_path, self.manifest.dtype, shard.tokens, "ids"))
            self._ends.append(_mapped(ends_path, ENDS, shard.documents, "documents"))
            if verify:
                for path, sha256 in ((ids_path, shard.sha256), (ends_path, shard.ends_sha256)):
                    if hash_of_file(path) != sha256:
                        raise DatasetError(path, "is damaged: its SHA-256 is not that of the manifest")
            if int(self._ends[-1][-1] if shard.documents else 0) != shard.tokens:
                raise DatasetError(ends_path, "is damaged: the last document does not end with the shard")
        self._token_starts = [0, *accumulate(shard.tokens for shard in shards)]
        self._document_starts = [0, *accumulate(shard.documents for shard in shards)]

    def __repr__(self) -> str:
        return f"TokenDataset({str(self.directory)!r}): {len(self)} ids, {self.n_documents} documents"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.directory,)  # another process maps the files itself

    @property
    def vocab_size(self) -> int:
        """Every id is below it."""
        return self.manifest.job.vocab_size

    @property
    def eos_id(self) -> int | None:
        """The id behind every document; None if there is none."""
        return self.manifest.job.eos_id

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.manifest.dtype

    @property
    def shards(self) -> tuple[Ids, ...]:
        """The memory maps, one a shard."""
        return tuple(self._shards)

    def __len__(self) -> int:
        """How many ids there are."""
        return self._token_starts[-1]

    @overload
    def __getitem__(self, index: int, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> Ids: ...
    def __getitem__(self, index: int | slice, /) -> int | Ids:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"step: got {step}, must be 1: slice what this returns")
            return self._between(start, max(start, stop))
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range: there are {len(self)} ids")
        i %= len(self)
        shard = bisect.bisect_right(self._token_starts, i) - 1
        return int(self._shards[shard][i - self._token_starts[shard]])

    def _between(self, start: int, stop: int) -> Ids:
        first = max(bisect.bisect_right(self._token_starts, start) - 1, 0)
        parts = []
        for shard in range(first, len(self._shards)):
            begin = self._token_starts[shard]
            if begin >= stop:
                break
            parts.append(self._shards[shard][max(start - begin, 0) : stop - begin])
        if len(parts) == 1:
            return parts[0]
        joined = np.concatenate(parts) if parts else np.empty(0, self.dtype)
        joined.flags.writeable = False
        return joined

    @property
    def n_documents(self) -> int:
        return self._document_starts[-1]

    def document(self, number: int, /) -> Ids:
        """The ids of one document, the end-of-text id included. Negative numbers count from the end."""
        if not -self.n_documents <= number < self.n_documents:
            raise IndexError(f"document {number} is out of range: there are {self.n_documents}")
        number %= self.n_documents
        shard = bisect.bisect_right(self._document_starts, number) - 1
        ends, local = self._ends[shard], number - self._document_starts[shard]
        return self._shards[shard][int(ends[local - 1]) if local else 0 : int(ends[local])]

    def documents(self) -> Iterator[Ids]:
        """All documents, in order."""
        for ids, ends in zip(self._shards, self._ends, strict=True):
            start = 0
            for end in map(int, ends):
                yield ids[start:end]
                start = end


def _mapped(path: Path, dtype: np.dtype[Any], count: int, what: str) -> Ids:
    """A read-only memory map of exactly `count` numbers."""
    try:
        size = path.stat().st_size
        if size % dtype.itemsize:
            raise DatasetError(path, f"has {size} bytes, which is no whole number of {dtype.itemsize}-byte {what}")
        if size != count * dtype.itemsize:
            raise DatasetError(path, f"has {size // dtype.itemsize} {what}, but the manifest says {count}")
        if not count:
            return np.empty(0, dtype)  # an empty file cannot be mapped
        return np.asarray(np.memmap(path, dtype, mode="r"))
    except OSError as error:
        raise DatasetError(path, error.strerror or str(error)) from None
