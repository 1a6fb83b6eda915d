"""TinyLoRA (arXiv:2602.04118) by PEFT's own implementation, to compare ours with.

`tinylora.py` has the claim. PEFT has half of the singular values on each side, P ~ N(0, 1/r) and no alpha, groups
`n (1 - weight_tying)` rounded, and signs of singular vectors as its linear algebra library gives them: its files
therefore hold the frames, 2.4 MB for 3,584 trained numbers in its own benchmark. `tinylora` with `tying = "peft"` and
`sigma = "sqrt"` computes the same from the same frames.

Departures: `save` always writes the projections, and half-precision models get v in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peft
from peft.tuners.tinylora.layer import TinyLoraLayer
from torch import Tensor, nn

from papers_scratch.config.peft_tinylora import PeftTinyLoRAConfig
from papers_scratch.peft_adapter import NAME, PeftAdapter
from papers_scratch.tying import groups

FROZEN = ("tinylora_A", "tinylora_B", "tinylora_P")
V_PREFIX = "base_model.tinylora_v."  # PEFT keeps v beside the model, one tensor a group


class PeftTinyLoRA(PeftAdapter):
    """Adapter `peft-tinylora`, for one model."""

    method = "peft-tinylora"
    config_class = PeftTinyLoRAConfig
    layer_class = TinyLoraLayer
    config: PeftTinyLoRAConfig

    def __init__(self, config: PeftTinyLoRAConfig, /) -> None:
        super().__init__(config)

    def trainable_parameters(self) -> Mapping[str, nn.Parameter]:
        """One v (u,) a group, by their names in the wrapped model: PEFT hangs all of them on every layer."""
        first, layer = next(iter(self._wrapped().items()))
        return {f"{first}.tinylora_v.{NAME}.{group}": v for group, v in layer.tinylora_v[NAME].items()}

    def _config_for_peft(self, targets: list[str] | str) -> Any:
        return peft.TinyLoraConfig(
            r=self.config.r,
            u=self.config.u,
            weight_tying=self.config.weight_tying,
            projection_seed=self.config.seed,
            tinylora_dropout=self.config.dropout,
            target_modules=targets,
            bias="none",
        )

    def _inject(self, peft_config: Any, model: nn.Module) -> None:
        # `inject_adapter_in_model` refuses adapters that share numbers between layers; this is what it would call.
        tuner: Any = peft.TinyLoraModel(model, peft_config, NAME)  # type: ignore[no-untyped-call]
        tuner._cast_adapter_dtype(NAME)  # as get_peft_model does
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for v in tuner.tinylora_v[NAME].values():
            v.requires_grad_(True)

    def _tensors(self) -> dict[str, Tensor]:
        layers = self._wrapped()
        found: dict[str, Tensor] = {
            f"{self._key(name)}.{part}": getattr(layer, part)[NAME] for name, layer in layers.items() for part in FROZEN
        }
        shared = next(iter(layers.values())).tinylora_v[NAME]
        return found | {f"{V_PREFIX}{group}": v for group, v in shared.items()}

    def _file_shapes(self, shapes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
        config = self.config
        found: dict[str, tuple[int, ...]] = {}
        for name, (out_features, in_features) in shapes.items():
            r = min(config.r, out_features, in_features)
            sizes = ((r, in_features), (out_features, r), (config.u, r, r))
            found |= {f"{self._key(name)}.{part}": size for part, size in zip(FROZEN, sizes, strict=True)}
        group = groups(list(shapes), tying="peft", n_tie=None, weight_tying=config.weight_tying)
        return found | {f"{V_PREFIX}{g}": (config.u,) for g in set(group)}
