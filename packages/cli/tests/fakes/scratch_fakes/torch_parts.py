"""The parts that generation needs, in torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scratch_fakes.config import CountConfig, DeltaConfig, DrawConfig, PairsConfig


class Pairs(nn.Module):
    """Logits of the next id, from the last id alone."""

    def __init__(self, config: PairsConfig, *, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, config.max_length
        self.table = nn.Linear(vocab_size, vocab_size, bias=False)

    def features(self, ids: Tensor, /, *, lengths: Any = None, cache: Any = None) -> Tensor:
        if cache is not None:
            cache.lengths += ids.shape[1]
        return nn.functional.one_hot(ids, self.vocab_size).float()  # (B, T, V)

    def head(self, features: Tensor, /) -> Tensor:
        logits: Tensor = self.table(features)
        return logits

    def forward(self, ids: Tensor, /, *, lengths: Any = None, cache: Any = None) -> Tensor:
        return self.head(self.features(ids, lengths=lengths, cache=cache))

    def new_cache(self, batch_size: int, max_length: int, /) -> Any:
        return SimpleNamespace(lengths=torch.zeros(batch_size, dtype=torch.int64))

    def save(self, directory: Path) -> None:
        save_file({"logits": self.table.weight.detach(), "max_length": torch.tensor(self.max_length)}, directory / "p")

    @classmethod
    def load(cls, directory: Path) -> Pairs:
        saved = load_file(directory / "p")
        model = cls(PairsConfig(max_length=int(saved["max_length"])), vocab_size=len(saved["logits"]))
        with torch.no_grad():
            model.table.weight.copy_(saved["logits"])
        return model


class Draw:
    def __init__(self, config: DrawConfig) -> None:
        self.temperature = config.temperature

    def log_probs(self, logits: Tensor, /) -> Tensor:
        return (logits / self.temperature).log_softmax(-1)

    def sample(self, logits: Tensor, /, generator: torch.Generator) -> Tensor:
        return torch.multinomial(self.log_probs(logits).exp(), 1, generator=generator)[:, 0]


class Added(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.delta, self.merged = base, nn.Parameter(torch.zeros_like(base.weight)), False

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.base(features)
        return logits if self.merged else logits + features @ self.delta.T


class Delta:
    """Wraps the model's only layer; `merge` puts a new parameter in the place of the old one."""

    def __init__(self, config: DeltaConfig) -> None:
        self.config = config
        self.saved: Tensor | None = None

    def wrap(self, model: Pairs) -> None:
        model.requires_grad_(False)
        self.added = Added(model.table)
        model.table = self.added  # type: ignore[assignment]
        if self.saved is not None:
            self.added.delta.data.copy_(self.saved)

    def merge(self) -> None:
        if self.config.merges:
            self.added.base.weight = nn.Parameter(self.added.base.weight + self.added.delta.detach())
            self.added.merged = True

    def save(self, directory: Path) -> None:
        save_file({"delta": self.added.delta.detach(), "merges": torch.tensor(self.config.merges)}, directory / "d")

    @classmethod
    def load(cls, directory: Path) -> Delta:
        saved = load_file(directory / "d")
        delta = cls(DeltaConfig(merges=bool(saved["merges"])))
        delta.saved = saved["delta"]
        return delta


class Count:
    """Full-batch gradient descent on next-id cross-entropy, with momentum."""

    def __init__(
        self, config: CountConfig, *, model: Any, tokenizer: Any, task: Any, sampler: Any, adapter: Any, seed: int
    ) -> None:
        self.config, self.model, self.at = config, model, 0
        self.rows = {
            split: [torch.tensor([*tokenizer.encode(text), tokenizer.eos_id]) for text in task.texts(split)]
            for split in ("train", "held_out")
        }
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(self.parameters, lr=config.lr, momentum=0.9)

    def _loss(self, split: str) -> Tensor:
        losses = [nn.functional.cross_entropy(self.model(row[None, :-1])[0], row[1:]) for row in self.rows[split]]
        return torch.stack(losses).mean()

    def train(self) -> Iterator[dict[str, Any]]:
        while self.at < self.config.steps:
            self.optimizer.zero_grad()
            loss = self._loss("train") + 0.01 * torch.rand(()) * self.parameters[0].square().mean()
            loss.backward()
            self.optimizer.step()
            self.at += 1
            yield {"step": self.at, "loss": loss.item(), "num_tokens": 20 * self.at}

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        return {"loss": self._loss("held_out").item()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": list(self.parameters), "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(), "at": self.at,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["model"], strict=True):
                parameter.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.at = state["at"]
