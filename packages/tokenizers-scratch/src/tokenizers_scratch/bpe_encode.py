"""Encoding by kernels, for texts that are long enough; the ids are those of plain Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tokenizers_scratch.kernels.loading import LOADER
from tokenizers_scratch.patterns import PATTERNS

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.encoder import Encoder

LONG = 1000
"""Characters of a text from which on a kernel is quicker than plain Python, which has no arrays to prepare."""

_ENCODED = 15_000_000  # characters that plain Python encodes in a second, about
_MOST_IDS = 2**21  # that kernels can number


class EncodingKernels:
    """The kernels of one vocabulary: made when the texts so far, had they come at once, would have been worth it."""

    def __init__(
        self, pattern: str, id_of_byte: Sequence[int], ranks: Mapping[tuple[int, int], int], products: Sequence[int]
    ) -> None:
        """`ranks`: the position of each pair of ids in the list of merges; `products`: the id that each merge gives."""
        self._parts = (pattern, id_of_byte, ranks, products)
        self._possible = pattern in PATTERNS and max((*id_of_byte, *products)) < _MOST_IDS
        self._characters = 0
        self._encoder: Encoder | None = None

    def encoder(self, characters: int) -> Encoder | None:
        """What encodes a job of so many characters by kernels; None if plain Python should do it."""
        if self._encoder is None and self._possible:
            self._characters += characters
            kernels = LOADER.encoder(self._characters / _ENCODED)
            if kernels is not None:
                pattern, id_of_byte, ranks, products = self._parts
                self._encoder = kernels(pattern, id_of_byte, list(ranks), products)
        return self._encoder
