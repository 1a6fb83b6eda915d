"""LoRA, the baseline that small adapters are compared with, by PEFT's own implementation.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, section 4.1, eq. 3:
`h = W x + scale * B A x`, with W frozen, B zero at the start, and scale = alpha / r.

The claim: as good as full fine-tuning with a small share of its trained numbers, and merged, as fast as the base model.

Departures: alpha is 16 and all linear layers but the output head are adapted, where PEFT's defaults are 8 and some
layers of attention; A and B are in fp32 also on a half-precision model; one adapter on a model.
`peft_adapter.py` says what is PEFT's and what is ours around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peft
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from papers_scratch.config.lora import LoRAConfig
from papers_scratch.peft_adapter import NAME, PeftAdapter


class LoRA(PeftAdapter):
    """Adapter `lora`, for one model."""

    method = "lora"
    config_class = LoRAConfig
    layer_class = LoraLayer
    config: LoRAConfig

    def __init__(self, config: LoRAConfig, /) -> None:
        super().__init__(config)

    def trainable_parameters(self) -> Mapping[str, nn.Parameter]:
        """A (r, in) and B (out, r) of every adapted layer, by their names in the wrapped model."""
        return {
            f"{name}.{part}.{NAME}.weight": getattr(layer, part)[NAME].weight
            for name, layer in self._wrapped().items()
            for part in ("lora_A", "lora_B")
        }

    def _config_for_peft(self, targets: list[str] | str) -> Any:
        return peft.LoraConfig(
            r=self.config.r,
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]  # annotated int, used as a number
            lora_dropout=self.config.dropout,
            use_rslora=self.config.rslora,
            target_modules=targets,
            bias="none",
        )

    def _inject(self, peft_config: Any, model: nn.Module) -> None:
        peft.inject_adapter_in_model(peft_config, model, adapter_name=NAME)

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{self._key(name)}.{part}.weight": getattr(layer, part)[NAME].weight
            for name, layer in self._wrapped().items()
            for part in ("lora_A", "lora_B")
        }

    def _file_shapes(self, shapes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
        r = self.config.r
        found: dict[str, tuple[int, ...]] = {}
        for name, (out_features, in_features) in shapes.items():
            found[f"{self._key(name)}.lora_A.weight"] = (r, in_features)
            found[f"{self._key(name)}.lora_B.weight"] = (out_features, r)
        return found
