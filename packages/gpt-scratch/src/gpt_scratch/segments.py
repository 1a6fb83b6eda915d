"""Several texts in one row, kept apart: what packed training reads (Krell et al. 2021, arXiv:2107.02027, section 3.2).

Each position attends to those before it in its own text only, and counts its place from that text's start. Features and
gradients are then those of the texts in rows of their own, up to rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Segments:
    """The texts of rows, as the blocks of a model need them."""

    generating = False

    def __init__(self, segments: Tensor) -> None:
        """`segments` (B, T), int64: which text a position belongs to; equal numbers of a row stand side by side."""
        T = segments.shape[1]
        place = torch.arange(T, device=segments.device)  # (T,)
        begins = torch.ones_like(segments, dtype=torch.bool)
        begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        start = torch.where(begins, place, 0).cummax(dim=1).values  # (B, T)
        self.positions = place - start  # (B, T)
        self.seen = (start[:, :, None] == start[:, None, :]).tril()[:, None]  # (B, 1, T, T): query, key

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """(B, H, T, D) each -> (B, H, T, D)."""
        return F.scaled_dot_product_attention(query, key, value, attn_mask=self.seen, dropout_p=dropout)
