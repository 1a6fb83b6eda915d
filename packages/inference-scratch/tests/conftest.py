"""A tiny transformer with a KV cache, so that this package is tested without any other of the family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn


class ToyCache:
    def __init__(self, keys: Tensor, values: Tensor, lengths: Tensor) -> None:
        self.keys, self.values, self.lengths = keys, values, lengths

    def select(self, rows: Tensor, /) -> ToyCache:
        return ToyCache(self.keys[rows], self.values[rows], self.lengths[rows])


class ToyModel(nn.Module):
    """One attention layer with learned positions. Strict: refuses to overflow, and puts NaN wherever padding stands."""

    def __init__(self, vocab_size: int = 11, n_embd: int = 16, max_length: int | None = 24, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.vocab_size, self.max_length = vocab_size, max_length
        self.embed = nn.Embedding(vocab_size, n_embd)
        self.position = nn.Embedding(max_length or 128, n_embd)
        self.qkv = nn.Linear(n_embd, 3 * n_embd)
        self.project = nn.Linear(n_embd, n_embd)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(n_embd, vocab_size)
        with torch.no_grad():
            self.out.weight.mul_(4)
        self.rows_read: list[tuple[int, int]] = []

    def new_cache(self, batch_size: int, max_length: int, /) -> ToyCache:
        shape = (batch_size, max_length, self.embed.embedding_dim)
        return ToyCache(torch.zeros(shape), torch.zeros(shape), torch.zeros(batch_size, dtype=torch.int64))

    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        n_rows, n_new = ids.shape
        self.rows_read.append((n_rows, n_new))
        fresh = self.new_cache(n_rows, n_new) if cache is None else cache
        lengths = torch.full((n_rows,), n_new) if lengths is None else lengths
        real = torch.arange(n_new) < lengths[:, None]  # (B, T)
        places = fresh.lengths[:, None] + torch.arange(n_new)  # (B, T)
        if int((fresh.lengths + lengths).max()) > min(fresh.keys.shape[1], self.position.num_embeddings):
            raise AssertionError("the cache or the context overflows")
        x = self.embed(ids) + self.position(places.clamp(max=self.position.num_embeddings - 1))  # (B, T, D)
        q, k, v = self.qkv(x).chunk(3, -1)
        row, column = real.nonzero(as_tuple=True)
        fresh.keys = fresh.keys.index_put((row, places[row, column]), k[row, column])  # (B, T_max, D)
        fresh.values = fresh.values.index_put((row, places[row, column]), v[row, column])
        seen = torch.arange(fresh.keys.shape[1]) <= places[:, :, None]  # (B, T, T_max)
        scores = (q @ fresh.keys.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
        x = x + self.dropout(self.project(scores.softmax(-1) @ fresh.values))
        fresh.lengths = fresh.lengths + lengths
        return x.masked_fill(~real[:, :, None], torch.nan)

    def head(self, features: Tensor, /) -> Tensor:
        logits: Tensor = self.out(features)
        return logits

    def forward(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        return self.head(self.features(ids, lengths=lengths, cache=cache))


@pytest.fixture
def toy_model() -> type[ToyModel]:
    return ToyModel
