"""What closed forms of losses are held to, and batches to hold them on."""

from __future__ import annotations

import torch
from torch import Tensor


def close(got: Tensor, wanted: Tensor | list[float] | float, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=got.dtype), atol=tolerance, rtol=tolerance)


def batch(b: int = 6, t: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-ratios (B, T) on both sides of both bounds, advantages (B,), lengths (B,), mask (B, T)."""
    generator = torch.Generator().manual_seed(seed)
    log_ratio = torch.randn(b, t, generator=generator) * 0.4
    advantages = torch.randn(b, generator=generator)
    lengths = torch.randint(1, t + 1, (b,), generator=generator)
    return log_ratio, advantages, lengths, torch.arange(t) < lengths[:, None]
