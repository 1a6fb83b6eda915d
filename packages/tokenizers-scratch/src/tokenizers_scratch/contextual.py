"""Decoding where what an id adds to the text depends on the ids before it.

Words are joined by spaces, a continuation is not, the first space of a SentencePiece text goes: such a tokenizer says
how bytes follow from ids as they come (`_new_decoder`), and both `decode` and the stream decoder use just that, so
they cannot disagree.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence

from tokenizers_scratch.base import BaseTokenizer, listed
from tokenizers_scratch.errors import UnknownIdError
from tokenizers_scratch.stream import StreamDecoder

Decoder = Callable[[Iterable[int]], bytes]
"""The bytes that the next ids add. Remembers what came before; raises UnknownIdError, and then remembers as before."""


class ContextualTokenizer(BaseTokenizer):
    """A tokenizer whose ids stand for no fixed bytes. `vocab` has each piece as it is written in the vocabulary."""

    lossless = False

    @abstractmethod
    def _new_decoder(self, skip_special: bool) -> Decoder:
        """A decoder at the start of a text."""

    def decode_bytes(self, ids: Iterable[int], /, *, skip_special: bool = True) -> bytes:
        """The exact bytes of `ids`."""
        return self._new_decoder(skip_special)(ids)

    def stream_decoder(self, *, skip_special: bool = True) -> StreamDecoder:
        """A decoder for ids that come one after the other."""
        return _ContextualStream(lambda: self._new_decoder(skip_special))

    def _checked(self, ids: Iterable[int]) -> Sequence[int]:
        """The ids in a list, each of them an id of this tokenizer."""
        row = listed(ids)
        for i in row:
            if not self._is_id(i):
                raise UnknownIdError(i, self.vocab_size)
        return row


class _ContextualStream(StreamDecoder):
    def __init__(self, new_decoder: Callable[[], Decoder]) -> None:
        super().__init__(new_decoder())
        self._new_decoder = new_decoder

    def flush(self) -> str:
        rest = super().flush()
        self._decode_bytes = self._new_decoder()
        return rest
