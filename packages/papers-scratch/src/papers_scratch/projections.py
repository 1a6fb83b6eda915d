"""The fixed matrices P_1 .. P_u of a TinyLoRA layer, which turn u trained numbers into R = sum_i v_i P_i.

The paper (arXiv:2602.04118, section 3) calls them fixed random matrices and says no more. Each layer has its own, from
torch's generator on the CPU and a seed plus the layer's number, which is what PEFT does: the same on every machine, and
never from the global random state.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def projections(kind: str, *, u: int, r: int, seed: int, layer: int) -> Tensor:
    """P (u, r, r) in fp32 of layer number `layer` = 0, 1, ... in the order of the model.

    normal: N(0, 1/r), bit for bit PEFT's. unit: each P_i scaled to a Frobenius norm of 1. basis: the unit matrices
    E_jk in row-major order, repeated if u > r^2; with u = r^2 that is LoRA-XS.
    """
    if kind == "basis":
        basis = torch.eye(r * r).view(r * r, r, r)
        return basis[torch.arange(u) % (r * r)].clone()
    if kind not in ("normal", "unit"):
        raise ValueError(f"projection: got {kind!r}, must be normal, unit or basis")
    generator = torch.Generator().manual_seed(seed + layer)
    drawn = torch.normal(0.0, 1 / math.sqrt(r), (u, r, r), generator=generator)
    return drawn if kind == "normal" else drawn / drawn.flatten(1).norm(dim=1)[:, None, None]
