"""Stand-in sampler and adapter."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scratch_cli.testing.standin_config import TinyAdapterConfig, TinySamplerConfig


class TinySampler:
    """The model's own distribution at a temperature."""

    def __init__(self, config: TinySamplerConfig) -> None:
        self.config = config

    def log_probs(self, logits: Tensor, /) -> Tensor:
        return (logits / self.config.temperature).log_softmax(-1)  # (..., V)

    def sample(self, logits: Tensor, /, generator: torch.Generator) -> Tensor:
        return torch.multinomial(self.log_probs(logits).exp(), 1, generator=generator).squeeze(1)  # (B,)


class AdaptedLinear(nn.Module):
    """A frozen linear layer plus a trainable change of low rank, which starts at zero."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, base.in_features).normal_(0, 0.1))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.on = True
        self.original: Tensor | None = None  # the base weight, while merged

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        return y + (x @ self.down.T) @ self.up.T if self.on and self.original is None else y


class TinyAdapter:
    """A change of low rank to every linear layer."""

    def __init__(self, config: TinyAdapterConfig) -> None:
        self.config = config
        self._layers: dict[str, AdaptedLinear] = {}
        self._saved: dict[str, Tensor] | None = None

    def wrap(self, model: nn.Module, /) -> None:
        if self._layers:
            raise RuntimeError("this adapter wraps a model already")
        model.requires_grad_(False)
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear):
                layer = AdaptedLinear(module, self.config.rank).train(module.training)
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, layer)
                self._layers[name] = layer
        if self._saved is not None:
            with torch.no_grad():
                for name, parameter in self.trainable_parameters().items():
                    parameter.copy_(self._saved[name])

    def trainable_parameters(self) -> Mapping[str, nn.Parameter]:
        pairs = ((name, layer) for name, layer in self._layers.items())
        return {f"{name}.{part}": getattr(layer, part) for name, layer in pairs for part in ("down", "up")}

    def merge(self) -> None:
        for layer in self._layers.values():
            if layer.original is None:
                layer.original = layer.base.weight.detach().clone()
                layer.base.weight.data += (layer.up @ layer.down).detach()

    def unmerge(self) -> None:
        for layer in self._layers.values():
            if layer.original is not None:
                layer.base.weight.data.copy_(layer.original)
                layer.original = None

    @contextmanager
    def disabled(self) -> Iterator[None]:
        for layer in self._layers.values():
            layer.on = False
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.on = True

    def save(self, directory: Path, /) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "adapter.json").write_text(json.dumps(dataclasses.asdict(self.config)), encoding="utf-8")
        tensors = {name: p.detach().contiguous() for name, p in self.trainable_parameters().items()}
        save_file(tensors, directory / "adapter.safetensors")

    @classmethod
    def load(cls, directory: Path, /) -> Self:
        options = json.loads((directory / "adapter.json").read_text(encoding="utf-8"))
        adapter = cls(TinyAdapterConfig(**options))
        adapter._saved = load_file(directory / "adapter.safetensors")
        return adapter
