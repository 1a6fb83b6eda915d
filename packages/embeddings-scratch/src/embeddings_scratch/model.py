"""Skip-gram: a vector for each word and another one for each word as a context of others.

Mikolov, Chen, Corrado, Dean, "Efficient Estimation of Word Representations in Vector Space" (2013), section 3.2, in the
form with two tables of "Distributed Representations of Words and Phrases and their Compositionality" (2013), eq. 2:
the score of context word c beside centre word w is v_w . u_c.

The logits of `forward` are the scores of *context* words, not of the next one: softmax over them (eq. 2) is the
distribution of words near each id. Each position is scored from its own id alone, so there is no order, no limit of
length, and nothing to cache but how long rows are.

Start as in the authors' C program: word vectors uniform in (-1/2, 1/2)/D, context vectors zero.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Self, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from embeddings_scratch.config import SkipGramConfig
from embeddings_scratch.errors import VectorsFileError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class LengthCache:
    """How long each row is: all that a model without context has to remember."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths  # (B,)

    def select(self, rows: Tensor, /) -> LengthCache:
        return LengthCache(self.lengths[rows])

    def truncate(self, lengths: Tensor, /) -> None:
        self.lengths = torch.minimum(self.lengths, lengths)


class SkipGram(nn.Module):
    """Two tables of V vectors of D numbers: `input` (v, of words) and `output` (u, of contexts)."""

    def __init__(self, config: SkipGramConfig, *, vocab_size: int) -> None:
        super().__init__()
        if vocab_size < 1:
            raise ValueError(f"vocab_size: got {vocab_size}, must be at least 1: there is nothing to embed")
        self.config = config
        self.vocab_size = vocab_size
        self.max_length: int | None = None
        self.input = nn.Embedding(vocab_size, config.embed_dim)
        self.output = nn.Embedding(vocab_size, config.embed_dim)
        nn.init.uniform_(self.input.weight, -0.5 / config.embed_dim, 0.5 / config.embed_dim)
        nn.init.zeros_(self.output.weight)

    def forward(self, ids: Tensor, *, lengths: Tensor | None = None, cache: LengthCache | None = None) -> Tensor:
        """Ids (B, T) -> scores of every word as a context of each of them: (B, T, V)."""
        return self.head(self.features(ids, lengths=lengths, cache=cache))

    def features(self, ids: Tensor, *, lengths: Tensor | None = None, cache: LengthCache | None = None) -> Tensor:
        """Ids (B, T) -> their word vectors (B, T, D)."""
        if cache is not None:
            cache.lengths = cache.lengths + (ids.shape[1] if lengths is None else lengths)
        return cast(Tensor, self.input(ids))  # (B, T, D)

    def head(self, features: Tensor) -> Tensor:
        """Vectors (..., D) -> scores of every context word (..., V)."""
        return features @ self.output.weight.T

    def new_cache(self, batch_size: int, max_length: int) -> LengthCache:
        """An empty cache for `batch_size` rows. Rows may grow beyond `max_length`."""
        return LengthCache(torch.zeros(batch_size, dtype=torch.int64, device=self.input.weight.device))

    def pair_scores(self, centres: Tensor, contexts: Tensor) -> Tensor:
        """Ids (B,) and (B, K) -> v_centre . u_context (B, K).

        Gradients of the tables are sparse: a step costs what its pairs cost, whatever V is.
        """
        v = F.embedding(centres, self.input.weight, sparse=True)  # (B, D)
        u = F.embedding(contexts, self.output.weight, sparse=True)  # (B, K, D)
        return (u @ v.unsqueeze(2)).squeeze(2)  # (B, K)

    def get_word_embedding(self, idx: int) -> Tensor:
        """The vector of one id: (D,), detached, sharing memory with the table. IndexError for an id out of range."""
        if not 0 <= idx < self.vocab_size:
            raise IndexError(f"idx: got {idx}, must be from 0 to {self.vocab_size - 1}: the model has no other rows")
        return self.input.weight.detach()[idx]

    def get_all_embeddings(self) -> Tensor:
        """All word vectors: (V, D), detached, sharing memory with the table."""
        return self.input.weight.detach()

    def save(self, directory: Path) -> None:
        """Write `config.json` and `model.safetensors` (`input.weight`, `output.weight`, each (V, D))."""
        directory.mkdir(parents=True, exist_ok=True)
        description = {"model": "skipgram", "vocab_size": self.vocab_size, **dataclasses.asdict(self.config)}
        (directory / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        tables = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tables, directory / WEIGHTS_FILE)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The model that `save` wrote, on the CPU. VectorsFileError if a file is missing, damaged or does not fit."""
        config, vocab_size = _read_config(directory / CONFIG_FILE)
        tables = _read_tables(directory / WEIGHTS_FILE, (vocab_size, config.embed_dim))
        model = cls(config, vocab_size=vocab_size)
        model.to(tables["input.weight"].dtype)
        model.load_state_dict(tables)
        return model


def _read_config(path: Path) -> tuple[SkipGramConfig, int]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VectorsFileError(f"{path}: cannot be read ({error.strerror}): not a saved skipgram model") from error
    except ValueError as error:
        raise VectorsFileError(f"{path}: is no JSON: {error}") from error
    if not isinstance(description, dict) or description.pop("model", None) != "skipgram":
        raise VectorsFileError(f'{path}: expected an object with "model": "skipgram"; it describes something else')
    expected = {"vocab_size", *(f.name for f in dataclasses.fields(SkipGramConfig))}
    if description.keys() != expected:
        found = ", ".join(sorted(description)) or "none"
        raise VectorsFileError(f"{path}: expected the fields {', '.join(sorted(expected))}; found {found}")
    for name, value in description.items():
        if type(value) is not int or value < 1:
            raise VectorsFileError(f"{path}: {name}: expected a positive integer, found {value!r}")
    vocab_size = description.pop("vocab_size")
    return SkipGramConfig(**description), vocab_size


def _read_tables(path: Path, shape: tuple[int, int]) -> dict[str, Tensor]:
    tables: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            names = sorted(file.keys())
            if names != ["input.weight", "output.weight"]:
                raise VectorsFileError(f"{path}: expected input.weight and output.weight, found {', '.join(names)}")
            for name in names:
                # The header is compared first: a table of the wrong size is never allocated.
                found = tuple(file.get_slice(name).get_shape())
                if found != shape:
                    raise VectorsFileError(f"{path}: {name}: {CONFIG_FILE} says shape {shape}, found {found}")
                tables[name] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise VectorsFileError(f"{path}: cannot be read: {error}") from error
    for name, table in tables.items():
        if not table.is_floating_point():
            raise VectorsFileError(f"{path}: {name}: expected floating-point numbers, found {table.dtype}")
        bad = (~table.isfinite()).any(dim=1).nonzero()
        if len(bad):
            raise VectorsFileError(f"{path}: {name}: row {int(bad[0])} has a value that is not a finite number")
    return tables
