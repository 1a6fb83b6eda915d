"""How much of a model is trained: the number that papers on small adapters compare.

`adapter_numbers` counts from shapes alone, so that a table of published models needs no weights: build a model of
transformers under `torch.device("meta")`, or write the shapes down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from papers_scratch.targets import head_layers, linear_layers, tied_layers, weight_matrix
from papers_scratch.tying import groups


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """Numbers (not tensors) of a model. A parameter shared by several modules counts once."""

    trainable: int
    frozen: int

    @property
    def total(self) -> int:
        return self.trainable + self.frozen

    @property
    def fraction(self) -> float:
        """Trainable part of all numbers, 0..1; 0 for a model without parameters."""
        return self.trainable / self.total if self.total else 0.0

    @property
    def bytes_fp32(self) -> int:
        """Size of the trainable numbers at 4 bytes each, without file headers."""
        return 4 * self.trainable

    @property
    def bytes_bf16(self) -> int:
        """Size of the trainable numbers at 2 bytes each, without file headers."""
        return 2 * self.trainable

    def __str__(self) -> str:
        return (
            f"{self.trainable:,} of {self.total:,} numbers trained ({self.fraction:.2%}): "
            f"{self.bytes_fp32:,} bytes in fp32, {self.bytes_bf16:,} in bf16"
        )


def count_trainable_params(model: nn.Module) -> ParameterCount:
    """Count what `model` trains and what it keeps frozen, by `requires_grad`."""
    trainable = frozen = 0
    for parameter in model.parameters():  # yields a shared parameter once
        if parameter.requires_grad:
            trainable += parameter.numel()
        else:
            frozen += parameter.numel()
    return ParameterCount(trainable=trainable, frozen=frozen)


def adapted_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """(out, in) of each layer that adapters change by default, in the order of the model.

    Weights may be on `meta` if the model says what its head is (`get_output_embeddings`); others are asked by running
    them on one token.
    """
    left_out = head_layers(model) | tied_layers(model)
    found = {}
    for name, layer in linear_layers(model).items():
        if name not in left_out:
            out_features, in_features = weight_matrix(layer).shape
            found[name] = (out_features, in_features)
    return found


def adapter_numbers(
    shapes: Mapping[str, tuple[int, int]],
    method: Literal["tinylora", "lora-xs", "lora"],
    *,
    r: int = 2,
    u: int = 1,
    n_tie: int | None = 1,
    tying: str = "tiled",
    weight_tying: float = 0.0,
) -> int:
    """How many numbers an adapter trains on layers of these names and shapes (out, in), in the order of the model.

    tinylora: u for each group; r does not matter. lora-xs: r^2 a layer. lora: r (in + out) a layer.
    """
    if not shapes:
        return 0
    if method == "tinylora":
        return u * len(set(groups(list(shapes), tying=tying, n_tie=n_tie, weight_tying=weight_tying)))
    if method == "lora-xs":
        return sum(min(r, *shape) ** 2 for shape in shapes.values())
    return sum(r * sum(shape) for shape in shapes.values())
