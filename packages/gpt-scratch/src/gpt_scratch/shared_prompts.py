"""Attention for several continuations of each prompt, with gradients: a prompt is computed once, however many it has.

The layers that work on one position at a time see all positions as one row: those of the prompts (P, S), then those of
the continuations (N, T). Only attention has to know which is which. A prompt sees itself; a continuation sees its
prompt and itself. So a group of G continuations costs S + G T positions where rows of their own would cost G (S + T),
in the forward and in the backward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class SharedPrompts:
    """What takes the place of a cache's `Append` in `CausalSelfAttention`."""

    generating = False

    def __init__(
        self, *, prompt_shape: tuple[int, int], shape: tuple[int, int], prompt_of: Tensor, prompt_lengths: Tensor
    ) -> None:
        """Shapes (P, S) and (N, T). Row n continues prompt `prompt_of[n]`; `prompt_lengths` (P,) counts real ids."""
        self.prompt_shape, self.shape, self.prompt_of = prompt_shape, shape, prompt_of
        self.split = prompt_shape[0] * prompt_shape[1]
        S, T = prompt_shape[1], shape[1]
        device = prompt_of.device
        own = torch.ones(T, T, dtype=torch.bool, device=device).tril()  # (T, T)
        if bool((prompt_lengths == S).all()):
            self.visible = torch.cat((own.new_ones(T, S), own), 1)  # (T, S + T)
        else:
            real = torch.arange(S, device=device) < prompt_lengths[prompt_of, None]  # (N, S)
            rows = len(prompt_of)
            self.visible = torch.cat((real[:, None].expand(rows, T, S), own.expand(rows, T, T)), 2)[:, None]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0) -> Tensor:
        """Queries, keys and values (1, H, P S + N T, D) of one layer -> (1, H, P S + N T, D)."""

        def rows(x: Tensor, shape: tuple[int, int]) -> Tensor:
            return x.view(x.shape[1], *shape, x.shape[3]).transpose(0, 1)  # (B, H, T, D)

        q, k, v = (rows(x[:, :, : self.split], self.prompt_shape) for x in (query, key, value))  # (P, H, S, D)
        in_prompts = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        own_q, own_k, own_v = (rows(x[:, :, self.split :], self.shape) for x in (query, key, value))  # (N, H, T, D)
        behind = F.scaled_dot_product_attention(
            own_q,
            torch.cat((k.index_select(0, self.prompt_of), own_k), 2),  # (N, H, S + T, D)
            torch.cat((v.index_select(0, self.prompt_of), own_v), 2),
            attn_mask=self.visible,
            dropout_p=dropout,
        )
        both = [y.transpose(1, 2).flatten(0, 1) for y in (in_prompts, behind)]  # (P S, H, D), (N T, H, D)
        return torch.cat(both).transpose(0, 1)[None]
