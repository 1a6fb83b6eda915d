"""A linear layer with a small change inside the leading singular directions of its weight.

    h = W x + bias + scale B (R (A x)),    A (r, in) and B (out, r) frozen, R (r, r) trained.

The change of the weight, scale B R A, is never formed: A x has r numbers a token. How R comes from trained numbers is
what tells the adapters apart: LoRA-XS trains R itself, TinyLoRA a few numbers v with R = sum_i v_i P_i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers_scratch.targets import is_conv1d


class FrameLinear(nn.Module):
    """Stands where `base_layer` stood. Subclasses say what R is."""

    A: Tensor
    """(r, in), in the precision that the base weight had when it was wrapped."""
    B: Tensor
    """(out, r)."""

    def __init__(self, base_layer: nn.Module, a: Tensor, b: Tensor, scale: float) -> None:
        super().__init__()
        self.base_layer = base_layer
        weight: Tensor = base_layer.weight  # type: ignore[assignment]
        # Not in the state of the model: they follow from the base weight, which is.
        self.register_buffer("A", a.to(weight.device, weight.dtype), persistent=False)
        self.register_buffer("B", b.to(weight.device, weight.dtype), persistent=False)
        self.scale = scale
        self.active = True
        """False while merged or disabled: the layer is then its base layer."""

    @property
    def r(self) -> int:
        return len(self.A)

    @property
    def in_features(self) -> int:
        return self.A.shape[1]

    @property
    def out_features(self) -> int:
        return len(self.B)

    @property
    def weight(self) -> Any:
        """The base weight, for code that asks a linear layer for its precision or device."""
        return self.base_layer.weight

    @property
    def bias(self) -> Any:
        return self.base_layer.bias

    def core(self) -> Tensor:
        """R (r, r) in fp32 or more, differentiable in what is trained."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> h (..., out)."""
        h: Tensor = self.base_layer(x)  # (..., out)
        if not self.active:
            return h
        core = (self.scale * self.core()).to(x.dtype)  # (r, r)
        inner = F.linear(F.linear(x, self.A.to(x.dtype)), core)  # (..., r)
        if inner.dtype != h.dtype:
            return h + F.linear(inner, self.B.to(x.dtype))
        # One kernel instead of a product and a sum: no second tensor of the size of h.
        whole = torch.addmm(h.reshape(-1, h.shape[-1]), inner.reshape(-1, self.r), self.B.to(inner.dtype).T)
        return whole.view(h.shape)

    def delta_weight(self) -> Tensor:
        """scale B R A (out, in) in fp32, or in fp64 beside a weight in fp64."""
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        return self.B.to(dtype) @ (self.scale * self.core()).to(dtype) @ self.A.to(dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`model.bfloat16()` and the like cast the base layer. What is the adapter's moves along, but never to a lower
        precision: a step of 1e-5 on a bf16 number near 0.01 would be no step, and other P would mean another change."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.itemsize >= tensor.itemsize else tensor.to(moved.device)

        if recurse:
            for child in self.children():
                child._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(move, recurse=False)  # type: ignore[no-untyped-call,no-any-return]


class TinyLoRALinear(FrameLinear):
    """R = sum_i v_i P_i; v may be shared with other layers."""

    P: Tensor
    """(u, r, r), fp32 or more, frozen."""

    def __init__(
        self, base_layer: nn.Module, a: Tensor, b: Tensor, scale: float, *, projections: Tensor, v: nn.Parameter
    ) -> None:
        super().__init__(base_layer, a, b, scale)
        self.register_buffer("P", projections.to(self.A.device), persistent=False)
        self.tinylora_v = v  # (u,)

    def core(self) -> Tensor:
        return (self.tinylora_v @ self.P.flatten(1)).view(self.r, self.r)


class LoRAXSLinear(FrameLinear):
    """R is trained itself."""

    def __init__(self, base_layer: nn.Module, a: Tensor, b: Tensor, scale: float, *, r_matrix: Tensor) -> None:
        super().__init__(base_layer, a, b, scale)
        self.lora_xs_r = nn.Parameter(r_matrix.to(self.A.device))  # (r, r)

    def core(self) -> Tensor:
        return self.lora_xs_r


def merged_weight(layer: FrameLinear) -> Tensor:
    """The base weight plus the change, stored the way the base layer stores it, in its precision."""
    base: Tensor = layer.weight
    with torch.no_grad():
        delta = layer.delta_weight()  # (out, in), fp32 or fp64
        if is_conv1d(layer.base_layer):
            delta = delta.T
        return (base.to(delta.dtype) + delta.to(base.device)).to(base.dtype)
