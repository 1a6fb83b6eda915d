"""TinyLoRA: learning to reason in 13 parameters (arXiv:2602.04118).

The claim: reinforcement learning of a large model needs so few numbers that a handful of them, shared by all layers,
gives most of what full fine-tuning gives. The change of each weight W = U S V^T, truncated to r directions, is

    W' = W + alpha (U S) (sum_i v_i P_i) V^T,                                                 (section 3)

with P_1 .. P_u fixed and random, one set a layer, and v (u,) trained and shared by `n_tie` layers: u x groups numbers
in all. A gradient reaches v_i as <P_i, B^T G A^T>, G the gradient of the change; the change has rank r at most.

Departures and what the paper leaves open: P is N(0, 1/r) as in PEFT (options: unit norm, or the basis that makes it
LoRA-XS), v starts at 0, alpha is 1; singular values stand left, as in the paper, or half on each side, as in PEFT; v is
kept in fp32, because at a learning rate of 1e-5 a bf16 number near 0.01 never moves. What was learnt with it here, and
what not, is in the README: at this scale imitation gains as much from 12 numbers as reinforcement does.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from papers_scratch.config.frames import TinyLoRAConfig
from papers_scratch.errors import AdapterFileError, AdapterNotice
from papers_scratch.fingerprint import tensor_sha256
from papers_scratch.frame_adapter import Frame, FrameAdapter
from papers_scratch.frame_layer import FrameLinear, TinyLoRALinear
from papers_scratch.projections import projections
from papers_scratch.tying import groups


class TinyLoRA(FrameAdapter):
    """Adapter `tinylora`."""

    method = "tinylora"
    config_class = TinyLoRAConfig
    config: TinyLoRAConfig

    def __init__(self, config: TinyLoRAConfig, /) -> None:
        super().__init__(config)
        self.v: list[nn.Parameter] = []
        """The trained numbers: one vector (u,) a group."""

    def _make_layers(self, bases: Mapping[str, nn.Module], frames: Mapping[str, Frame]) -> dict[str, FrameLinear]:
        config = self.config
        # A loaded adapter keeps the order of its file: numbers and projections belong to names, not to places.
        names = list(bases) if self._saved is None else list(self._saved.records)
        group = groups(names, tying=config.tying, n_tie=config.n_tie, weight_tying=config.weight_tying)
        self._give_counting_notice(len(names), max(group) + 1)
        self.v = [
            nn.Parameter(torch.zeros(config.u, device=_device(bases, names, group, g))) for g in range(max(group) + 1)
        ]
        layers: dict[str, FrameLinear] = {}
        for number, name in enumerate(names):
            a, b = frames[name]
            fixed = self._saved.projections(name) if self._saved is not None else None
            if fixed is None:
                fixed = projections(config.projection, u=config.u, r=len(a), seed=config.seed, layer=number)
            if self._saved is not None and tensor_sha256(fixed) != self._saved.record(name).projections_sha256:
                raise AdapterFileError(
                    f"{self._saved.directory}: {name}: other fixed matrices P than the adapter was trained with: "
                    "the seed was changed, or this torch draws other numbers; save it again with save_frames"
                )
            layers[name] = TinyLoRALinear(bases[name], a, b, config.scale, projections=fixed, v=self.v[group[number]])
        return {name: layers[name] for name in bases}

    def _give_counting_notice(self, n: int, n_groups: int) -> None:
        config = self.config
        if config.n_tie is not None and config.n_tie > n:
            _notice(f"n_tie: {config.n_tie} is more than the {n} layers there are, so all of them share one v")
        expressible = config.r**2 * (n // n_groups if n_groups < n else 1)
        if config.u > expressible:
            _notice(
                f"u: {config.u} numbers a group, but r {config.r} can express {expressible} there: the rest are "
                "redundant; lower u or raise r"
            )

    def _values(self) -> dict[str, nn.Parameter]:
        return {f"v.{number}": v for number, v in enumerate(self.v)}

    def _projections_sha256(self, name: str) -> str:
        layer = self.layers[name]
        assert isinstance(layer, TinyLoRALinear)
        return tensor_sha256(layer.P)

    def _frozen(self, name: str) -> dict[str, Tensor]:
        layer = self.layers[name]
        assert isinstance(layer, TinyLoRALinear)
        return {**super()._frozen(name), "P": layer.P.float()}  # as drawn, also where the model was made fp64 since


def _device(bases: Mapping[str, nn.Module], names: list[str], group: list[int], g: int) -> torch.device:
    """Where the first layer of group `g` is."""
    weight: Tensor = bases[names[group.index(g)]].weight  # type: ignore[assignment]
    return weight.device


def _notice(text: str) -> None:
    warnings.warn(text, AdapterNotice, stacklevel=5)
