"""LoRA-XS: low-rank adaptation with r^2 numbers a layer (Balazy et al. 2024, arXiv:2405.17604).

The change of each weight W = U S V^T, truncated to r directions, is

    W' = W + alpha / r (U S) R V^T,                                                           (section 3, eq. 2)

with R (r, r) trained and everything else frozen.

The claim: as good as LoRA with a hundredth of its trained numbers in models of 7 B, since their count does not depend
on the width of the model. What of it is seen here is in the README.

Departures: R starts at 0, so that wrapping changes nothing (the authors draw it from N(0, 1e-10); `init_std` 1e-5
is theirs), and the decomposition is exact where theirs is randomised.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from papers_scratch.config.frames import LoRAXSConfig
from papers_scratch.frame_adapter import Frame, FrameAdapter
from papers_scratch.frame_layer import FrameLinear, LoRAXSLinear


class LoRAXS(FrameAdapter):
    """Adapter `lora-xs`."""

    method = "lora-xs"
    config_class = LoRAXSConfig
    config: LoRAXSConfig

    def __init__(self, config: LoRAXSConfig, /) -> None:
        super().__init__(config)

    def _make_layers(self, bases: Mapping[str, nn.Module], frames: Mapping[str, Frame]) -> dict[str, FrameLinear]:
        config = self.config
        layers: dict[str, FrameLinear] = {}
        for number, (name, (a, b)) in enumerate(frames.items()):
            r = len(a)
            generator = torch.Generator().manual_seed(config.seed + number)
            start = config.init_std * torch.randn(r, r, generator=generator)  # (r, r)
            layers[name] = LoRAXSLinear(bases[name], a, b, config.scale, r_matrix=start)
        return layers

    def _values(self) -> dict[str, nn.Parameter]:
        found = {}
        for name, layer in self.layers.items():
            assert isinstance(layer, LoRAXSLinear)
            found[f"R.{name}"] = layer.lora_xs_r
        return found
