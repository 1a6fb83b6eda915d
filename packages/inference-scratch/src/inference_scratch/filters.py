"""Filters: pure functions from logits to logits that sharpen the distribution or mask ids with -inf.

The order is data, `FILTERS`, and is the order of transformers: temperature, top-k, top-p. Each filter sees the
distribution that the earlier ones left, so the order decides the result (llama.cpp, for one, puts temperature last).
All take logits (..., V) in fp32 or fp64, work along the last dimension and are differentiable in what they keep.
NaN and rows without any finite logit come out as NaN in the log-probabilities, never as a distribution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value` > 0: below 1 sharpens, above 1 flattens."""
    return logits if value == 1 else logits / value


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` largest logits and all that tie with the k-th; 0, or k >= V, keeps everything.

    Ties stay, as in transformers: which of two equal ids is dropped would be an accident of sorting.
    """
    if k == 0 or k >= logits.shape[-1]:
        return logits
    kth = logits.detach().topk(k, sorted=False).values.amin(-1, keepdim=True)  # (..., 1)
    return logits.masked_fill(logits < kth, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of ids whose probability reaches `p`, the id that crosses it included; 1 keeps everything.

    Nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751, section 3.1). Of equal logits at the border the
    smallest ids stay (transformers keeps as many of them, but which is left to an unstable sort).
    """
    if p == 1:
        return logits
    descending, order = logits.detach().sort(dim=-1, descending=True, stable=True)  # (..., V)
    at_or_below = descending.flip(-1).softmax(-1).cumsum(-1).flip(-1)  # (..., V)
    # An id goes if it and everything less probable fit into the tail 1 - p; the most probable one always stays.
    drop = at_or_below <= 1 - p
    drop[..., 0] = False
    return logits.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), -torch.inf)


FILTERS: tuple[tuple[str, Callable[[Tensor, float], Tensor] | Callable[[Tensor, int], Tensor]], ...] = (
    ("temperature", temperature),
    ("top_k", top_k),
    ("top_p", top_p),
)
"""Option name and filter, in the order in which they apply."""


def apply(logits: Tensor, config: object) -> Tensor:
    """Logits (..., V) -> fp32 (fp64 stays) logits after every filter whose option `config` has, in `FILTERS` order."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    for name, filter_ in FILTERS:
        if hasattr(config, name):
            logits = filter_(logits, getattr(config, name))
    return logits
