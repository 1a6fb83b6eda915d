"""The byte tokenizer: the ids of a text are its UTF-8 bytes, after the special tokens. Nothing to learn.

Sequences are long (one id for each byte), but there is no text it cannot represent exactly; ByT5 (Xue et al., 2022,
arXiv:2105.13626) uses the same scheme.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.byte_alphabet import single_bytes
from tokenizers_scratch.config import ByteConfig
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.storage import TokenizerFile
from tokenizers_scratch.utf8 import text_to_bytes


class ByteTokenizer(BaseTokenizer):
    """Byte `b` has the id `b + number of special tokens`."""

    kind = "byte"
    lossless = True

    def __init__(self, special_tokens: SpecialTokens | None = None) -> None:
        special_tokens = special_tokens or SpecialTokens.numbered()
        self._first = len(special_tokens)
        super().__init__(dict(enumerate(single_bytes(range(256)), self._first)), special_tokens)
        self._id_of_byte = list(range(self._first, self._first + 256))

    @classmethod
    def train(cls, texts: Iterable[str], config: ByteConfig, /) -> Self:
        """Reads no text: there is nothing to learn."""
        return cls(SpecialTokens.numbered(config.special_tokens))

    def _encode_plain(self, text: str) -> list[int]:
        return list(map(self._id_of_byte.__getitem__, text_to_bytes(text)))

    def _to_file(self) -> dict[str, Any]:
        return {}

    @classmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        return cls(file.special_tokens)
