"""Decode ids as they come, without ever showing half a character."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokenizers_scratch.utf8 import bytes_to_text, incomplete_tail


class StreamDecoder:
    """Text from ids in pieces: all that `push` and the last `flush` return, joined, equals `decode` of all ids.

    A character can be spread over several ids, so at most three bytes wait for their continuation.
    """

    def __init__(self, decode_bytes: Callable[[Iterable[int]], bytes]) -> None:
        self._decode_bytes = decode_bytes
        self._pending = b""

    def push(self, ids: Iterable[int], /) -> str:
        """The text that became final with these ids. Raises UnknownIdError, and then keeps its state."""
        data = self._pending + self._decode_bytes(ids)
        final = len(data) - incomplete_tail(data)
        self._pending = data[final:]
        return bytes_to_text(data[:final])

    def flush(self) -> str:
        """What is left when no more ids come: U+FFFD for an unfinished character, else nothing. Starts afresh."""
        rest, self._pending = self._pending, b""
        return bytes_to_text(rest)
