"""Decode ids as they come, for decoders that look at more than one token.

Text is decoded again from a token some way back, so that each token is seen with what is around it, and what was shown
before is taken off its front. Shown is what later tokens cannot change: not a run of byte tokens, of which one bad
byte spoils all, and not a last U+FFFD, which may be half a character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokenizers_scratch.hf.decoders import is_byte_token
from tokenizers_scratch.stream import StreamDecoder

_LONGEST = 64  # tokens that are decoded again and again
_KEPT = 8  # of them, when there are more


class TextStream(StreamDecoder):
    """All that `push` and the last `flush` return, joined, equals the decoding of all tokens."""

    def __init__(
        self,
        to_tokens: Callable[[Iterable[int]], list[str]],
        decode: Callable[[list[str]], str],
        *,
        last_differs: bool = False,
    ) -> None:
        """`last_differs`: the last token of a text is decoded otherwise than the others, so it has to wait."""
        self._to_tokens = to_tokens
        self._decode = decode
        self._waiting = int(last_differs)
        self._tokens: list[str] = []
        self._shown = 0  # characters of what the tokens decode to

    def push(self, ids: Iterable[int], /) -> str:
        """The text that became final with these ids. Raises UnknownIdError, and then keeps its state."""
        self._tokens += self._to_tokens(ids)
        final = max(len(self._tokens) - self._waiting, 0)
        while final and is_byte_token(self._tokens[final - 1]):
            final -= 1
        # An empty token in the place of the one that waits, so that none of the others is the last.
        text = self._decode(self._tokens[:final] + [""] * self._waiting).removesuffix("\ufffd")
        new = text[self._shown :]
        self._shown = max(self._shown, len(text))
        if final > _LONGEST:
            self._forget(final - _KEPT)
        return new

    def flush(self) -> str:
        """What is left when no more ids come. Starts afresh."""
        rest = self._decode(self._tokens)[self._shown :]
        self._tokens, self._shown = [], 0
        return rest

    def _forget(self, start: int) -> None:
        """Forget tokens from before `start`, or from a little later, where the rest decodes as it does now."""
        text = self._decode(self._tokens)
        for cut in range(start, start + _KEPT):
            rest = self._tokens[cut:]
            if not rest or any(map(is_byte_token, (self._tokens[cut - 1], rest[0]))):
                continue
            # The first token of a text may lose its space; one kept from before bears that, and its text is known.
            kept = self._decode(rest)
            before = len(text) - len(kept)
            if kept.strip() and text.endswith(kept) and self._shown - before >= len(self._decode(rest[:1])) > 0:
                self._tokens, self._shown = rest, self._shown - before
                return
