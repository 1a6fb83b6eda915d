"""Options of the adapters that act inside the leading singular directions of a weight: TinyLoRA and LoRA-XS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from papers_scratch.config.checks import at_least, check_targets, one_of, option, positive, refuse, within

TARGETS_HELP = "names or last parts of names of the linear layers to adapt; empty: all but the output head"


@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """What both share: which layers, how many singular directions, how strong, what is saved."""

    r: int = option(2, "singular directions of each weight that the change lives in")
    alpha: float = option(1.0, "scale of the change")
    target_modules: tuple[str, ...] = option((), TARGETS_HELP)
    sigma: Literal["left", "sqrt"] = option(
        "left", "singular values: left = all in B, as the papers have it; sqrt = half in A and half in B, as PEFT"
    )
    save_frames: bool = option(False, "save singular directions and projections too, not only the trained numbers")

    def __post_init__(self) -> None:
        at_least(self, 1, "r", why="rank 0 leaves nothing to train")
        positive(self, "alpha", why="at 0 the adapter can never act")
        check_targets(self)
        one_of(self, "sigma", "left", "sqrt")

    @property
    def scale(self) -> float:
        """The factor in front of B R A."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TinyLoRAConfig(FrameConfig):
    """The change of a weight is `alpha U S (sum_i v_i P_i) V^T` (TinyLoRA, arXiv:2602.04118)."""

    u: int = option(1, "trained numbers in a group of layers: the length of v")
    n_tie: int | None = option(1, "layers that share one v, by groups of this many; none = all layers share one")
    tying: Literal["tiled", "structured", "peft"] = option(
        "tiled",
        "who shares: tiled = neighbours in the model, structured = the same kind of layer, peft = PEFT's groups",
    )
    weight_tying: float = option(0.0, "with tying = peft: 0 = a v for each layer, 1 = one v for all")
    projection: Literal["normal", "unit", "basis"] = option(
        "normal", "fixed matrices P: normal = N(0, 1/r), unit = of norm 1, basis = unit matrices, which gives LoRA-XS"
    )
    seed: int = option(42, "decides the fixed matrices P; the saved file repeats it")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "u", "n_tie", why="it is a count")
        within(self, 0.0, 1.0, "weight_tying", why="it is a share")
        within(self, 0, 2**62, "seed", why="a negative seed draws what another draws")
        one_of(self, "tying", "tiled", "structured", "peft")
        one_of(self, "projection", "normal", "unit", "basis")
        if self.tying == "peft" and self.n_tie != 1:
            refuse("n_tie", self.n_tie, "1 with tying peft", "its groups are those of weight_tying")
        if self.tying != "peft" and self.weight_tying != 0:
            refuse("weight_tying", self.weight_tying, "0 unless tying is peft", "n_tie says how many layers share")

    @property
    def scale(self) -> float:
        return self.alpha


@dataclass(frozen=True, kw_only=True)
class LoRAXSConfig(FrameConfig):
    """The change of a weight is `alpha / r U S R V^T` with R trained (LoRA-XS, arXiv:2405.17604)."""

    init_std: float = option(0.0, "standard deviation of R at the start; 0 = the adapter changes nothing at first")
    seed: int = option(0, "decides R at the start where init_std is not 0")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "init_std", why="it cannot be negative")
        within(self, 0, 2**62, "seed", why="a negative seed draws what another draws")

    @property
    def scale(self) -> float:
        return self.alpha / self.r
