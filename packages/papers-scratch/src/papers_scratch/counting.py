"""How much of a model is trained: the number that papers on small adapters compare."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


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
