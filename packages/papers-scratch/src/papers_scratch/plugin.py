"""What this package offers to `scratch`. Imports only pluggy: torch and peft load when a part is first used."""

from __future__ import annotations

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("scratch")


@hookimpl
def register_adapters(register: Any) -> None:
    register(
        "lora",
        "papers_scratch.lora:LoRA",
        config="papers_scratch.config:LoRAConfig",
        summary="PEFT's LoRA around the linear layers of any model",
        provides=("adapter",),
        needs={"model": ["linear-layers"]},
        smoke={"r": 2},
    )
