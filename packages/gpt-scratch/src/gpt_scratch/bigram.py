"""The bigram model: the logits of the next token are one row of a table, chosen by the current token.

The smallest thing that fits the contract of a language model, and the baseline that anything else has to beat. Trained
long enough, its loss is the conditional entropy of the text given one token. Its features are the logits themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from gpt_scratch.checks import check_ids, check_lengths
from gpt_scratch.config import BigramConfig
from gpt_scratch.model_files import load_module, save_module

LARGEST_VOCABULARY = 32768  # a table of 4 GiB


class BigramCache:
    """Lengths and nothing else: the next token depends on no token but the last."""

    def __init__(self, lengths: Tensor, max_length: int) -> None:
        self.max_length = max_length
        self._lengths = lengths

    @property
    def lengths(self) -> Tensor:
        """How many positions each row holds: (B,), int64."""
        return self._lengths

    def select(self, rows: Tensor, /) -> BigramCache:
        """A new cache of `rows` (N,): dropped, repeated or reordered."""
        return BigramCache(self._lengths.index_select(0, rows), self.max_length)

    def truncate(self, lengths: Tensor, /) -> None:
        """Forget what lies beyond `lengths` (B,), in place."""
        check_lengths(lengths, self._lengths.shape[0], self.max_length)
        self._lengths = torch.minimum(self._lengths, lengths.to(self._lengths))

    def append(self, count: int, lengths: Tensor | None) -> None:
        """Add `count` positions to each row, or `lengths` (B,) of them."""
        if lengths is not None:
            check_lengths(lengths, self._lengths.shape[0], count)
        new = self._lengths + (count if lengths is None else lengths.to(self._lengths))
        if int(new.max()) > self.max_length:
            raise ValueError(
                f"ids: position {int(new.max()) - 1} does not fit a cache of {self.max_length} positions, "
                f"which go from 0 to {self.max_length - 1}"
            )
        self._lengths = new


class Bigram(nn.Module):
    """Ids (B, T) -> logits (B, T, V)."""

    def __init__(self, config: BigramConfig, *, vocab_size: int) -> None:
        super().__init__()
        if not 1 <= vocab_size <= LARGEST_VOCABULARY:
            raise ValueError(
                f"vocab_size: got {vocab_size}, must be from 1 to {LARGEST_VOCABULARY}: the table has its square"
            )
        self.config = config
        self.vocab_size = vocab_size
        self.max_length: int | None = None
        self.table = nn.Embedding(vocab_size, vocab_size)
        nn.init.normal_(self.table.weight, std=config.init_std)

    def forward(self, ids: Tensor, *, lengths: Tensor | None = None, cache: BigramCache | None = None) -> Tensor:
        """Logits (B, T, V) of the token after each position. With a cache no gradient flows, as in every model."""
        with torch.set_grad_enabled(cache is None and torch.is_grad_enabled()):
            return self.head(self.features(ids, lengths=lengths, cache=cache))

    def features(self, ids: Tensor, *, lengths: Tensor | None = None, cache: BigramCache | None = None) -> Tensor:
        """Rows of the table: (B, T, V)."""
        with torch.set_grad_enabled(cache is None and torch.is_grad_enabled()):
            check_ids(ids, self.vocab_size, values=cache is None or ids.is_cpu or ids.shape[-1] > 1)
            B, T = ids.shape
            if cache is not None:
                self._append(cache, B, T, lengths)
            elif lengths is not None:
                check_lengths(lengths, B, T)
            rows: Tensor = self.table(ids)  # (B, T, V)
            return rows

    def head(self, features: Tensor) -> Tensor:
        """The identity: (..., V) -> (..., V)."""
        return features

    def new_cache(self, batch_size: int, max_length: int) -> BigramCache:
        """An empty cache for `batch_size` rows of up to `max_length` positions."""
        if batch_size < 1 or max_length < 1:
            raise ValueError(f"cache: got {batch_size} rows of {max_length} positions, must be at least 1 of each")
        return BigramCache(torch.zeros(batch_size, dtype=torch.int64, device=self.table.weight.device), max_length)

    def save(self, directory: Path) -> None:
        """Write config.json and model.safetensors."""
        save_module(self, directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote. Raises ModelFileError naming the file and what is wrong with it."""
        return load_module(cls, BigramConfig, directory)

    def _append(self, cache: Any, batch_size: int, count: int, lengths: Tensor | None) -> None:
        if not isinstance(cache, BigramCache):
            raise TypeError(f"cache: got {type(cache).__name__}, must come from this model's new_cache")
        if cache.lengths.shape[0] != batch_size:
            raise ValueError(f"ids: got {batch_size} rows, but the cache has {cache.lengths.shape[0]}")
        cache.append(count, lengths)
