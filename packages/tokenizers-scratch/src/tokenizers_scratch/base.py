"""What every tokenizer here has: special tokens, batches, streams and decoding. A subclass says how text becomes ids.

Each id stands for some bytes, so decoding is the same for all: join the bytes, read them as UTF-8.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tokenizers_scratch.batch import PaddedBatch, Side, pad_rows
from tokenizers_scratch.errors import TokenizerFileError, UnknownIdError
from tokenizers_scratch.offsets import Span, spans_of_bytes
from tokenizers_scratch.special_tokens import AllowedSpecial, SpecialTokens
from tokenizers_scratch.storage import TokenizerFile, read_tokenizer, write_tokenizer
from tokenizers_scratch.stream import StreamDecoder
from tokenizers_scratch.utf8 import bytes_to_text, text_to_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BaseTokenizer(ABC):
    """Text <-> ids 0 to vocab_size - 1. Immutable."""

    kind: ClassVar[str]
    """The name of the algorithm, also in files."""

    lossless: ClassVar[bool]
    """Whether every text comes back from its ids."""

    file_keys: ClassVar[frozenset[str]] = frozenset()
    """What the tokenizer's file holds besides what every file does."""

    optional_file_keys: ClassVar[frozenset[str]] = frozenset()
    """What it may hold."""

    def __init__(self, vocab: Mapping[int, bytes], special_tokens: SpecialTokens) -> None:
        """`vocab`: the bytes of each id that is no special token; together they must be the ids from 0 up."""
        special = {i: text_to_bytes(token) for token, i in special_tokens.ids.items()}
        size = len(vocab) + len(special)
        if sorted((*vocab, *special)) != list(range(size)):
            raise ValueError(f"{size} tokens must have the ids 0 to {size - 1}, each once")
        self._special_tokens = special_tokens
        self._vocab = {i: vocab[i] if i in vocab else special[i] for i in range(size)}
        # Lists, for decoding: they refuse what is no integer.
        self._bytes = list(self._vocab.values())
        self._bytes_without_special = [vocab.get(i, b"") for i in range(size)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"

    # --- the vocabulary

    @property
    def vocab_size(self) -> int:
        """How many tokens there are: every id is below it."""
        return len(self._bytes)

    @property
    def vocab(self) -> Mapping[int, bytes]:
        """The bytes of every id, special tokens included."""
        return MappingProxyType(self._vocab)

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """The ids of the special tokens by their text."""
        return self._special_tokens.ids

    @property
    def pad_id(self) -> int | None:
        return self._special_tokens.role_id("pad")

    @property
    def unk_id(self) -> int | None:
        return self._special_tokens.role_id("unk")

    @property
    def bos_id(self) -> int | None:
        return self._special_tokens.role_id("bos")

    @property
    def eos_id(self) -> int | None:
        return self._special_tokens.role_id("eos")

    # --- text to ids

    def encode(self, text: str, /, *, allowed_special: AllowedSpecial = "none") -> list[int]:
        """Ids of `text`. Adds no BOS or EOS.

        What looks like a special token is text, unless `allowed_special` is "all" or a set that holds it; with
        "none_raise" it is a SpecialTokenError.
        """
        if isinstance(allowed_special, str) and allowed_special == "none":
            return self._encode_plain(text)
        return list(self.encode_iterable((text,), allowed_special=allowed_special))

    def encode_batch(self, texts: Iterable[str], /, *, allowed_special: AllowedSpecial = "none") -> list[list[int]]:
        """`encode` of each text."""
        return [self.encode(text, allowed_special=allowed_special) for text in each_text(texts)]

    def encode_padded(
        self,
        texts: Iterable[str],
        /,
        *,
        max_length: int | None = None,
        to_max_length: bool = False,
        padding_side: Side = "right",
        truncation_side: Side = "right",
        allowed_special: AllowedSpecial = "none",
    ) -> PaddedBatch:
        """`encode` of each text as rows of one length (`batch.pad_rows`), with the mask of what is no padding.

        Raises ValueError if there is no padding token.
        """
        if self.pad_id is None:
            raise ValueError("this tokenizer has no padding token, so rows cannot be filled up")
        return pad_rows(
            self.encode_batch(texts, allowed_special=allowed_special),
            pad_id=self.pad_id,
            max_length=max_length,
            to_max_length=to_max_length,
            padding_side=padding_side,
            truncation_side=truncation_side,
        )

    def encode_to_numpy(self, text: str, /, *, allowed_special: AllowedSpecial = "none") -> NDArray[np.uint32]:
        """`encode` as an array, (ids,) uint32."""
        import numpy as np

        return np.array(self.encode(text, allowed_special=allowed_special), np.uint32)

    def encode_iterable(self, chunks: Iterable[str], /, *, allowed_special: AllowedSpecial = "none") -> Iterator[int]:
        """Ids of one text that comes in chunks, cut anywhere: an open file, say. Equals `encode` of the whole.

        Lazy: reads a chunk when its ids are asked for, and holds back only what more text could still change.
        """
        return self._encode_runs(self._special_tokens.split(chunks, allowed_special))

    def _encode_runs(self, runs: Iterator[Iterator[str] | int]) -> Iterator[int]:
        for run in runs:
            if isinstance(run, int):
                yield run
            else:
                yield from self._encode_stream(run)

    def _encode_stream(self, chunks: Iterator[str]) -> Iterator[int]:
        """Ids of one plain text in chunks. Right as it stands where ids do not depend on what surrounds a character."""
        for chunk in chunks:
            yield from self._encode_plain(chunk)

    @abstractmethod
    def _encode_plain(self, text: str) -> list[int]:
        """Ids of a text in which nothing is special."""

    def offsets(self, text: str, /, *, allowed_special: AllowedSpecial = "none") -> list[Span]:
        """For each id of `encode` the characters it stands for: half-open spans (`offsets.py`), shape (T, 2)."""
        return self.encode_with_offsets(text, allowed_special=allowed_special)[1]

    def encode_with_offsets(
        self, text: str, /, *, allowed_special: AllowedSpecial = "none", barriers: Collection[int] = ()
    ) -> tuple[list[int], list[Span]]:
        """`encode` and `offsets` in one. A special token across one of `barriers`, places in the text, is text."""
        ids: list[int] = []
        spans: list[Span] = []
        for start, end, special in self._special_tokens.find(text, allowed_special, barriers):
            if special is not None:
                ids.append(special)
                spans.append((start, end))
            else:
                plain = text[start:end]
                ids.extend(self._encode_plain(plain))
                spans.extend((start + first, start + last) for first, last in self._plain_offsets(plain))
        return ids, spans

    def _plain_offsets(self, text: str) -> list[Span]:
        """Spans for a text in which nothing is special. Right as it stands where the tokens' bytes are the text's."""
        return spans_of_bytes(text, (len(self._bytes[i]) for i in self._encode_plain(text)))

    def tokenize(self, text: str, /, *, allowed_special: AllowedSpecial = "none") -> list[str]:
        r"""The pieces that `encode` cuts the text into, to read. A byte that is no whole character shows as `\xNN`."""
        ids = self.encode(text, allowed_special=allowed_special)
        return [bytes_to_text(self._bytes[i], "backslashreplace") for i in ids]

    # --- ids to text

    def decode(self, ids: Iterable[int], /, *, skip_special: bool = True) -> str:
        """The text of `ids`. Bytes that are no UTF-8 become U+FFFD. Raises UnknownIdError for an id without token."""
        return bytes_to_text(self.decode_bytes(ids, skip_special=skip_special))

    def decode_batch(self, rows: Iterable[Iterable[int]], /, *, skip_special: bool = True) -> list[str]:
        """`decode` of each row."""
        return [self.decode(row, skip_special=skip_special) for row in listed(rows)]

    def decode_bytes(self, ids: Iterable[int], /, *, skip_special: bool = True) -> bytes:
        """The exact bytes of `ids`."""
        table = self._bytes_without_special if skip_special else self._bytes
        row = listed(ids)
        if not row:
            return b""
        try:
            if min(row) >= 0:
                return b"".join(map(table.__getitem__, row))
        except (IndexError, TypeError):
            pass
        raise UnknownIdError(next(i for i in row if not self._is_id(i)), self.vocab_size)

    def _is_id(self, value: Any) -> bool:
        try:
            return 0 <= operator.index(value) < self.vocab_size
        except TypeError:
            return False

    def stream_decoder(self, *, skip_special: bool = True) -> StreamDecoder:
        """A decoder for ids that come one after the other."""
        return StreamDecoder(lambda ids: self.decode_bytes(ids, skip_special=skip_special))

    # --- files

    def save(self, directory: Path | str, /) -> None:
        """Write `scratch-tokenizer.json` into `directory`."""
        write_tokenizer(Path(directory), self.kind, self._special_tokens, self._to_file())

    @classmethod
    def load(cls, directory: Path | str, /) -> Self:
        """Read what `save` wrote. Raises TokenizerFileError, naming file and reason, for anything else."""
        file = read_tokenizer(Path(directory), cls.kind, cls.file_keys, cls.optional_file_keys)
        try:
            return cls._from_file(file)
        except TokenizerFileError:
            raise
        except ValueError as error:
            raise file.error(str(error)) from error

    @abstractmethod
    def _to_file(self) -> dict[str, Any]:
        """The values of `file_keys`."""

    @classmethod
    @abstractmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        """Build from a file. May raise ValueError for content that makes no sense."""


def each_text(texts: Iterable[str]) -> Iterator[str]:
    """The texts, after refusing what is easily passed by mistake: one text instead of several."""
    if isinstance(texts, str):
        raise TypeError("got one text where several are expected: pass [text]")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"got {type(text).__name__} where a text is expected")
        yield text


def listed(values: Iterable[Any]) -> Sequence[Any]:
    """Values in a list; those of an array or tensor as Python numbers, which is far quicker than one by one."""
    if isinstance(values, list | tuple):
        return values
    tolist = getattr(values, "tolist", None)
    return tolist() if tolist is not None else list(values)
