"""The partners that the trainer needs, as narrowly as it uses them.

B pairs, K contexts of each, V vocabulary size, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class Tokenizer(Protocol):
    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]: ...
    def decode(self, ids: Iterable[int], /) -> str: ...


class TextTask(Protocol):
    def texts(self, split: str = "train", /) -> Iterable[str]: ...


class WordVectorModel(Protocol):
    """What the capability `word-vectors` means, on top of being an `nn.Module`."""

    vocab_size: int
    training: bool

    def pair_scores(self, centres: Tensor, contexts: Tensor, /) -> Tensor:
        """Ids (B,) and (B, K) -> how well each context goes with its centre, before the sigmoid: (B, K).

        Gradients may be sparse.
        """
        ...

    def get_all_embeddings(self) -> Tensor:
        """The vectors to compare words by: (V, D), detached."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def train(self, mode: bool = True) -> Any: ...
