"""The shapes of what this package is given: models, their caches, samplers. Nothing here is inherited from.

Shapes: B rows, T positions, V vocabulary size, D width of the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn


class Cache(Protocol):
    def select(self, rows: Tensor, /) -> Any:
        """A new cache of `rows` (N,) of this one."""
        ...


class Model(Protocol):
    """An `nn.Module` for next-token prediction. Rows are padded on the right; `lengths` (B,) says what is real."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def max_length(self) -> int | None: ...
    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        """Ids (B, T) -> (B, T, D); with a cache they continue each row and are added to it."""
        ...

    def head(self, features: Tensor, /) -> Tensor:
        """Features (..., D) -> logits (..., V)."""
        ...

    def new_cache(self, batch_size: int, max_length: int, /) -> Any: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...


class SharesPrompts(Model, Protocol):
    """Optional for a model: to compute a prompt once for all rows that continue it, with gradients."""

    def features_after(
        self, prompts: Tensor, ids: Tensor, prompt_of: Tensor, /, *, prompt_lengths: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Prompts (P, S) and continuations (N, T) -> what the head reads in both: (P, S, D) and (N, T, D).

        Row n of `ids` stands behind the `prompt_lengths` (P,) real ids of prompt `prompt_of[n]`; `lengths` (N,) of its
        ids are real. Equal to `features` of the joined rows. None: not as the model is now set up.
        """
        ...


class Sampler(Protocol):
    def log_probs(self, logits: Tensor, /) -> Tensor:
        """Logits (..., V) -> log-probabilities (..., V) of the distribution to draw from, -inf for masked ids."""
        ...
