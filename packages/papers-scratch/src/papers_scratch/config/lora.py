"""Options of the adapters. Importing this file imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """The change of a weight is `scale * B @ A` (Hu et al. 2021, arXiv:2106.09685, section 4.1)."""

    r: int = field(default=8, metadata={"help": "rank of the change: A is (r, in), B is (out, r)"})
    alpha: float = field(default=16.0, metadata={"help": "scale of the change: alpha / r times B @ A"})
    dropout: float = field(default=0.0, metadata={"help": "dropout on the input of A while training"})
    target_modules: tuple[str, ...] = field(
        default=(),
        metadata={"help": "names or last parts of names of the linear layers to adapt; empty: all but the output head"},
    )
    rslora: bool = field(default=False, metadata={"help": "scale by alpha / sqrt(r) instead of alpha / r"})

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(f"r: got {self.r}, must be at least 1: rank 0 leaves nothing to train")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"alpha: got {self.alpha}, must be positive: at 0 the adapter can never act")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout: got {self.dropout}, must be at least 0 and below 1: at 1 nothing is learnt")
        if isinstance(self.target_modules, str) or not all(self.target_modules):
            raise ValueError(
                f"target_modules: got {self.target_modules!r}, must be a list of names: "
                "one layer name, or the last part of it, in each entry"
            )

    @property
    def scale(self) -> float:
        """The factor in front of B @ A."""
        return self.alpha / (math.sqrt(self.r) if self.rslora else self.r)
