"""Linear layers whose matrix products go to oneDNN where PyTorch's own choice of library is the slow one.

On a CPU PyTorch multiplies fp32 matrices with Intel's MKL. On processors with AVX-512 that are not Intel's, MKL takes
its AVX2 code, and oneDNN, which PyTorch has on board for convolutions and reduced precision, is 2.0 to 2.5 times as
fast: 100 against 250 GFLOPS on one core of a Zen 5 at 2,432 x 128 x 344. Both are plain fp32, and differ by rounding.
PyTorch offers no setting for it, only the operator that its compiler uses. Where that is missing, and with more than
one thread, all stays as it was.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST = 2**21  # multiplications from which oneDNN's preparations pay
CPU_INFO = Path("/proc/cpuinfo")


class QuickLinear(nn.Linear):
    """y = x W^T + b, as in `nn.Linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        weight, bias = self.weight, self.bias
        if input.numel() * len(weight) < SMALLEST or not _plain(input, weight):
            return nn.functional.linear(input, weight, bias)
        rows = input.reshape(-1, self.in_features)  # (M, K)
        return product(rows, weight, bias).view(*input.shape[:-1], self.out_features)


def quicken(model: nn.Module) -> None:
    """Give the model's linear layers the quick product, if it is one here; names and weights stay as they are."""
    if not pays():
        return
    for module in model.modules():
        if type(module) is nn.Linear:  # a subclass has a product of its own
            module.__class__ = QuickLinear


def _plain(a: Tensor, b: Tensor) -> bool:
    both_fp32 = a.dtype is b.dtype is torch.float32
    # Two threads wait for each other in every product, and on a loaded machine that took five times as long as MKL.
    return a.is_cpu and both_fp32 and torch.get_num_threads() == 1 and not torch.is_autocast_enabled("cpu")


@cache
def pays() -> bool:
    """Whether this is a processor on which MKL is the slower one, and a PyTorch that has oneDNN."""
    with_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not with_mkl:
        return False
    try:
        if "GenuineIntel" in CPU_INFO.read_text(encoding="utf-8"):
            return False
        a, b = torch.rand(8, 4), torch.rand(4, 6)
        return bool(torch.allclose(_multiply(a, b.T, None), a @ b))
    except (OSError, AttributeError, RuntimeError, TypeError):  # another system, or a PyTorch without the operator
        return False


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b^T + bias, for a (M, K), b (N, K), bias (N,): (M, N). Differentiable, any number of times."""
    if torch.is_grad_enabled():
        found: Tensor = _Product.apply(a, b, bias)  # type: ignore[no-untyped-call]
        return found
    return _multiply(a, b, bias)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(a, b)
        return _multiply(a, b, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (a, b) = gradients, ctx.saved_tensors  # (M, N), (M, K), (N, K)
        for_a, for_b, for_bias = ctx.needs_input_grad
        of_b = None
        if for_b:  # the operator copies a transposed first factor, so let that be the smaller one
            of_b = product(g.T, a.T) if g.shape[1] <= a.shape[1] else product(a.T, g.T).T  # (N, K)
        return product(g, b.T) if for_a else None, of_b, g.sum(0) if for_bias else None


def _multiply(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return found
