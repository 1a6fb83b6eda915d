"""A small bidirectional transformer encoder, from scratch: one vector for a whole text.

Vaswani et al. 2017, "Attention Is All You Need", section 3.1, with the normalisation before each part (Xiong et al.
2020) and learned positions. Each position reads every real position on both sides, so the vector knows the whole text;
it is the mean over real positions. What is real is said by lengths, never by an id.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    """Ids (B, T) -> vectors (B, D)."""

    def __init__(
        self, *, vocab_size: int, n_layer: int, n_head: int, n_embd: int, max_length: int, dropout: float
    ) -> None:
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, max_length
        self.tokens = nn.Embedding(vocab_size, n_embd)
        self.positions = nn.Embedding(max_length, n_embd)
        self.blocks = nn.ModuleList(EncoderBlock(n_embd, n_head, dropout) for _ in range(n_layer))
        self.norm = nn.LayerNorm(n_embd)
        self.dropout = nn.Dropout(dropout)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Ids (B, T) padded on the right, `lengths` (B,) of them real -> (B, D)."""
        places = torch.arange(ids.shape[1], device=ids.device)  # (T,)
        real = places < lengths[:, None]  # (B, T)
        x = self.dropout(self.tokens(ids) + self.positions(places))  # (B, T, D)
        for block in self.blocks:
            x = block(x, real)
        pooled = self.norm(x).masked_fill(~real[:, :, None], 0).sum(1)  # (B, D)
        mean: Tensor = pooled / lengths[:, None]
        return mean


class EncoderBlock(nn.Module):
    """Attention among the real positions, then two layers for each position alone; both added to what came in."""

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.n_head, self.rate = n_head, dropout
        self.norm_attention, self.norm_mlp = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.qkv, self.out = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x (B, T, D), real (B, T) bool -> (B, T, D). Padded positions read the real ones and are read by none."""
        batch, width, n_embd = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(batch, width, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(  # (B, H, T, D/H)
            q, k, v, attn_mask=real[:, None, None, :], dropout_p=self.rate if self.training else 0.0
        )
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, width, n_embd)))
        hidden: Tensor = x + self.dropout(self.mlp(self.norm_mlp(x)))
        return hidden
