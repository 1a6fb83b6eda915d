"""A table of vectors for the ids of any tokenizer, as the first layer of a model, with a row for padding.

The row of the padding id is zero and gets no gradient, so padded places add nothing to a sum and learn nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenEmbeddingLayer(nn.Module):
    """Ids to vectors. `weight` (V, D) is the table; rows start normal with variance 1 / D, so vectors have length 1."""

    def __init__(self, vocab_size: int, embed_dim: int = 128, pad_token_id: int | None = 0) -> None:
        """`pad_token_id`: the id whose row is zero, or None if there is no padding. ValueError for what cannot be."""
        super().__init__()
        for name, value in (("vocab_size", vocab_size), ("embed_dim", embed_dim)):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name}: got {value!r}, must be a whole number from 1 up: it is a size of the table")
        if pad_token_id is not None and not 0 <= pad_token_id < vocab_size:
            raise ValueError(
                f"pad_token_id: got {pad_token_id}, must be from 0 to {vocab_size - 1}, or None: it is an id"
            )
        self.vocab_size = vocab_size
        self.embed_dim = embed_dim
        self.pad_token_id = pad_token_id
        self.weight = nn.Parameter(torch.empty(vocab_size, embed_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew from torch's generator."""
        nn.init.normal_(self.weight, std=self.embed_dim**-0.5)
        if self.pad_token_id is not None:
            with torch.no_grad():
                self.weight[self.pad_token_id] = 0

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (...) -> vectors (..., D).

        IndexError for an id that has no row, named on the CPU only: elsewhere to look would stop the device.
        TypeError for ids that are no integers.
        """
        if ids.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"ids: got {ids.dtype}, must be int64 or int32: they are numbers of rows")
        if ids.device.type == "cpu" and ids.numel():
            least, most = (int(value) for value in ids.aminmax())
            if least < 0 or most >= self.vocab_size:
                wrong = least if least < 0 else most
                raise IndexError(f"ids: got {wrong}, must be from 0 to {self.vocab_size - 1}: there is no such row")
        return F.embedding(ids, self.weight, padding_idx=self.pad_token_id)

    def extra_repr(self) -> str:
        return f"{self.vocab_size}, {self.embed_dim}, pad_token_id={self.pad_token_id}"
