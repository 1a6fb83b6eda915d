"""Stand-in models: a causal language model with linear layers, dropout and a cache, and a table of word vectors.

The cache remembers the ids and nothing else, and the model computes whole rows anew; so it is right by construction.
The classes are made when one is first asked for: a class of torch modules needs torch, and this file must be importable
without.

B rows, T positions, W width of the longest row so far, D width of the features, V vocabulary size.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.standin_config import TinyLMConfig, TinyVectorsConfig

if TYPE_CHECKING:
    import safetensors.torch as files
    import torch
    from torch import Tensor
else:
    files, torch = lazy("safetensors.torch"), lazy("torch")


def __getattr__(name: str) -> Any:
    """TinyLM and TinyVectors."""
    if name.startswith("__") or name not in ("TinyLM", "TinyVectors"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _classes()[name]


class TinyCache:
    """The ids of each row: (B, max_length)."""

    def __init__(self, ids: Tensor, lengths: Tensor) -> None:
        self.ids = ids
        self.lengths = lengths  # (B,)

    def select(self, rows: Tensor, /) -> TinyCache:
        return TinyCache(self.ids[rows], self.lengths[rows])

    def truncate(self, lengths: Tensor, /) -> None:
        self.lengths = torch.minimum(self.lengths, lengths)


@functools.cache
def _classes() -> dict[str, Any]:
    class Saved(torch.nn.Module):
        """Saving as JSON and safetensors, for both models."""

        config_cls: type[Any]

        def __init__(self, config: Any, vocab_size: int) -> None:
            super().__init__()
            self.config = config
            self.vocab_size = vocab_size

        def save(self, directory: Path, /) -> None:
            directory.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"vocab_size": self.vocab_size, **dataclasses.asdict(self.config)})
            (directory / "config.json").write_text(text, encoding="utf-8")
            files.save_file({k: v.contiguous() for k, v in self.state_dict().items()}, directory / "model.safetensors")

        @classmethod
        def load(cls, directory: Path, /) -> Self:
            options = json.loads((directory / "config.json").read_text(encoding="utf-8"))
            vocab_size = options.pop("vocab_size")
            build: Any = cls
            model: Self = build(cls.config_cls(**options), vocab_size=vocab_size)
            model.load_state_dict(files.load_file(directory / "model.safetensors"))
            return model

    class TinyLM(Saved):
        """One block: causal attention with one head, then a linear layer."""

        config_cls = TinyLMConfig

        def __init__(self, config: TinyLMConfig, *, vocab_size: int) -> None:
            super().__init__(config, vocab_size)
            self.max_length: int | None = config.context
            d = config.n_embd
            self.token = torch.nn.Embedding(vocab_size, d)
            self.position = torch.nn.Embedding(config.context, d)
            self.query = torch.nn.Linear(d, d, bias=False)
            self.key = torch.nn.Linear(d, d, bias=False)
            self.value = torch.nn.Linear(d, d)
            self.mix = torch.nn.Linear(d, d)
            self.dropout = torch.nn.Dropout(config.dropout)
            self.norm = torch.nn.LayerNorm(d)
            self.unembed = torch.nn.Linear(d, vocab_size)

        def forward(self, ids: Tensor, *, lengths: Tensor | None = None, cache: TinyCache | None = None) -> Tensor:
            return self.head(self.features(ids, lengths=lengths, cache=cache))

        def head(self, features: Tensor) -> Tensor:
            logits: Tensor = self.unembed(features)  # (..., V)
            return logits

        def features(self, ids: Tensor, *, lengths: Tensor | None = None, cache: TinyCache | None = None) -> Tensor:
            batch, time = ids.shape
            lengths = torch.full((batch,), time, device=ids.device) if lengths is None else lengths
            start = torch.zeros_like(lengths) if cache is None else cache.lengths  # (B,)
            at = start[:, None] + torch.arange(time, device=ids.device)  # (B, T): where each id stands in its row
            longest = int((start + lengths).max()) if batch else 0
            if longest > self.config.context:
                raise ValueError(f"ids: got rows of {longest} positions, the model's limit is {self.config.context}")
            if cache is not None and longest > cache.ids.shape[1]:
                raise ValueError(f"ids: got rows of {longest} positions, the cache was made for {cache.ids.shape[1]}")
            width = int(at.max()) + 1 if at.numel() else 0
            rows = ids.new_zeros(batch, width)  # (B, W)
            if cache is not None:
                old = min(width, cache.ids.shape[1])
                rows[:, :old] = cache.ids[:, :old]
            rows = rows.scatter(1, at, ids)
            if cache is not None:
                kept = min(width, cache.ids.shape[1])
                cache.ids = torch.cat([rows[:, :kept], cache.ids[:, kept:]], dim=1)
                cache.lengths = start + lengths
            x = self._causal(rows)  # (B, W, D)
            return x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))  # (B, T, D)

        def _causal(self, rows: Tensor) -> Tensor:
            width = rows.shape[1]
            place = torch.arange(width, device=rows.device).clamp(max=self.config.context - 1)  # beyond: only padding
            x = self.token(rows) + self.position(place)  # (B, W, D)
            scores = self.query(x) @ self.key(x).transpose(1, 2)  # (B, W, W)
            future = torch.ones(width, width, dtype=torch.bool, device=rows.device).triu(1)
            attention = scores.masked_fill(future, -torch.inf).softmax(-1)  # (B, W, W)
            x = x + self.dropout(attention @ self.value(x))  # (B, W, D)
            normed: Tensor = self.norm(x + torch.tanh(self.mix(x)))  # (B, W, D)
            return normed

        def new_cache(self, batch_size: int, max_length: int) -> TinyCache:
            device = self.token.weight.device
            ids = torch.zeros(batch_size, max_length, dtype=torch.int64, device=device)
            return TinyCache(ids, torch.zeros(batch_size, dtype=torch.int64, device=device))

    class TinyVectors(Saved):
        """Two tables, as skip-gram has them: what the capability `word-vectors` means."""

        config_cls = TinyVectorsConfig

        def __init__(self, config: TinyVectorsConfig, *, vocab_size: int) -> None:
            super().__init__(config, vocab_size)
            self.max_length: int | None = None
            self.input = torch.nn.Embedding(vocab_size, config.embed_dim)
            self.output = torch.nn.Embedding(vocab_size, config.embed_dim)

        def pair_scores(self, centres: Tensor, contexts: Tensor) -> Tensor:
            """Ids (B,) and (B, K) -> scores (B, K)."""
            scores: Tensor = (self.input(centres)[:, None] * self.output(contexts)).sum(-1)
            return scores

        def get_all_embeddings(self) -> Tensor:
            """(V, D), detached."""
            return self.input.weight.detach()

    return {"TinyLM": TinyLM, "TinyVectors": TinyVectors}
