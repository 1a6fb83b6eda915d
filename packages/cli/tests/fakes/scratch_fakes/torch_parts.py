"""The parts that generation needs, in torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scratch_fakes.config import CountConfig, DrawConfig, PairsConfig


class Pairs(nn.Module):
    """Logits of the next id, from the last id alone."""

    def __init__(self, config: PairsConfig, *, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, config.max_length
        self.logits = nn.Parameter(torch.randn(vocab_size, vocab_size))

    def features(self, ids: Tensor, /, *, lengths: Any = None, cache: Any = None) -> Tensor:
        if cache is not None:
            cache.lengths += ids.shape[1]
        return nn.functional.one_hot(ids, self.vocab_size).float()  # (B, T, V)

    def head(self, features: Tensor, /) -> Tensor:
        return features @ self.logits

    def forward(self, ids: Tensor, /, *, lengths: Any = None, cache: Any = None) -> Tensor:
        return self.head(self.features(ids, lengths=lengths, cache=cache))

    def new_cache(self, batch_size: int, max_length: int, /) -> Any:
        return SimpleNamespace(lengths=torch.zeros(batch_size, dtype=torch.int64))

    def save(self, directory: Path) -> None:
        save_file({"logits": self.logits.detach(), "max_length": torch.tensor(self.max_length)}, directory / "p")

    @classmethod
    def load(cls, directory: Path) -> Pairs:
        saved = load_file(directory / "p")
        model = cls(PairsConfig(max_length=int(saved["max_length"])), vocab_size=len(saved["logits"]))
        with torch.no_grad():
            model.logits.copy_(saved["logits"])
        return model


class Draw:
    def __init__(self, config: DrawConfig) -> None:
        self.temperature = config.temperature

    def log_probs(self, logits: Tensor, /) -> Tensor:
        return (logits / self.temperature).log_softmax(-1)

    def sample(self, logits: Tensor, /, generator: torch.Generator) -> Tensor:
        return torch.multinomial(self.log_probs(logits).exp(), 1, generator=generator)[:, 0]


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
        self.optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9)

    def _loss(self, split: str) -> Tensor:
        losses = [nn.functional.cross_entropy(self.model(row[None, :-1])[0], row[1:]) for row in self.rows[split]]
        return torch.stack(losses).mean()

    def train(self) -> Iterator[dict[str, Any]]:
        while self.at < self.config.steps:
            self.optimizer.zero_grad()
            loss = self._loss("train") + 0.01 * torch.rand(()) * self.model.logits.square().mean()
            loss.backward()
            self.optimizer.step()
            self.at += 1
            yield {"step": self.at, "loss": loss.item(), "num_tokens": 20 * self.at}

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        return {"loss": self._loss("held_out").item()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(), "at": self.at,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.at = state["at"]
