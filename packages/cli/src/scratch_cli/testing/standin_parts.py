"""Stand-in sampler and adapter."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.standin_config import TinyAdapterConfig, TinySamplerConfig

if TYPE_CHECKING:
    import safetensors.torch as files
    import torch
    from torch import Tensor, nn
else:
    files, torch = lazy("safetensors.torch"), lazy("torch")


class TinySampler:
    """The model's own distribution at a temperature."""

    def __init__(self, config: TinySamplerConfig) -> None:
        self.config = config

    def log_probs(self, logits: Tensor, /) -> Tensor:
        return (logits / self.config.temperature).log_softmax(-1)  # (..., V)

    def sample(self, logits: Tensor, /, generator: torch.Generator) -> Tensor:
        return torch.multinomial(self.log_probs(logits).exp(), 1, generator=generator).squeeze(1)  # (B,)


class TinyAdapter:
    """A change of low rank, which starts at zero, to every linear layer: W + up @ down.

    The two factors become parameters of the linear layers themselves, and a hook adds what they do to the output.
    """

    def __init__(self, config: TinyAdapterConfig) -> None:
        self.config = config
        self.on = True
        self._layers: dict[str, Any] = {}
        self._originals: dict[str, Tensor] = {}  # base weights, while merged
        self._saved: dict[str, Tensor] | None = None

    def wrap(self, model: nn.Module, /) -> None:
        if self._layers:
            raise RuntimeError("this adapter wraps a model already")
        model.requires_grad_(False)
        for name, layer in model.named_modules():
            if isinstance(layer, torch.nn.Linear):
                down = torch.empty(self.config.rank, layer.in_features).normal_(0, 0.1)
                layer.down = torch.nn.Parameter(down)
                layer.up = torch.nn.Parameter(torch.zeros(layer.out_features, self.config.rank))
                layer.register_forward_hook(self._hook())
                self._layers[name] = layer
        if self._saved is not None:
            with torch.no_grad():
                for name, parameter in self.trainable_parameters().items():
                    parameter.copy_(self._saved[name])

    def _hook(self) -> Callable[[Any, Any, Any], Tensor]:
        def add(layer: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            return self.added(layer, inputs[0], output) if self.on and not self._originals else output

        return add

    def added(self, layer: Any, x: Tensor, y: Tensor) -> Tensor:
        """Input (..., in) and output (..., out) of a layer -> its output with the change."""
        change: Tensor = (x @ layer.down.T) @ layer.up.T
        return y + change

    def trainable_parameters(self) -> Mapping[str, nn.Parameter]:
        pairs = ((name, layer) for name, layer in self._layers.items())
        return {f"{name}.{part}": getattr(layer, part) for name, layer in pairs for part in ("down", "up")}

    def merge(self) -> None:
        if self._originals:
            return
        for name, layer in self._layers.items():
            self._originals[name] = layer.weight.detach().clone()
            layer.weight.data += (layer.up @ layer.down).detach()

    def unmerge(self) -> None:
        for name, original in self._originals.items():
            self._layers[name].weight.data.copy_(original)
        self._originals = {}

    @contextmanager
    def disabled(self) -> Iterator[None]:
        self.on = False
        try:
            yield
        finally:
            self.on = True

    def save(self, directory: Path, /) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "adapter.json").write_text(json.dumps(dataclasses.asdict(self.config)), encoding="utf-8")
        tensors = {name: p.detach().contiguous() for name, p in self.trainable_parameters().items()}
        files.save_file(tensors, directory / "adapter.safetensors")

    @classmethod
    def load(cls, directory: Path, /) -> Self:
        options = json.loads((directory / "adapter.json").read_text(encoding="utf-8"))
        adapter = cls(TinyAdapterConfig(**options))
        adapter._saved = files.load_file(directory / "adapter.safetensors")
        return adapter
