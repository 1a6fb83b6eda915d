"""Refusing ids and lengths that make no sense, with the place and the limit, before a kernel crashes on them."""

from __future__ import annotations

import torch
from torch import Tensor


def check_ids(ids: Tensor, vocab_size: int, *, values: bool = True) -> None:
    """Ids must be (B, T), at least 1 x 1, integers in [0, vocab_size), padding included.

    Reading values back stalls an accelerator, so that callers may leave them out where ids come from a sampler.
    """
    if ids.dim() != 2 or ids.numel() == 0:
        raise ValueError(f"ids: got shape {tuple(ids.shape)}, must be (B, T) with at least one row and one position")
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"ids: got {ids.dtype}, must be int64")
    if not values or torch.compiler.is_compiling():
        return
    low, high = torch.aminmax(ids)
    if int(low) < 0 or int(high) >= vocab_size:
        row, position = ((ids < 0) | (ids >= vocab_size)).nonzero()[0].tolist()
        raise ValueError(
            f"ids: id {int(ids[row, position])} at row {row}, position {position} is not in the vocabulary, "
            f"whose ids go from 0 to {vocab_size - 1}"
        )


def check_lengths(lengths: Tensor, batch_size: int, width: int) -> None:
    """Lengths must be (B,), in [0, width]."""
    if lengths.shape != (batch_size,):
        raise ValueError(f"lengths: got shape {tuple(lengths.shape)}, must be ({batch_size},): one for each row")
    if torch.compiler.is_compiling():
        return
    low, high = torch.aminmax(lengths)
    if int(low) < 0 or int(high) > width:
        row = int(((lengths < 0) | (lengths > width)).nonzero()[0])
        raise ValueError(f"lengths: row {row} says {int(lengths[row])}, must be from 0 to {width}")
