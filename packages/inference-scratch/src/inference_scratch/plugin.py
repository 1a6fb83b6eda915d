"""What this package offers to `scratch`: names and import strings, resolved at first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("scratch")


@hookimpl
def register_samplers(register: Callable[..., Any]) -> None:
    register(
        "greedy",
        "inference_scratch.samplers:Greedy",
        config="inference_scratch.config:GreedyConfig",
        summary="the most probable id, ties to the smallest",
        provides=("deterministic",),
    )
    register(
        "multinomial",
        "inference_scratch.samplers:Multinomial",
        config="inference_scratch.config:MultinomialConfig",
        summary="the model's own distribution, with a temperature",
        provides=("full-support",),
    )
    register(
        "top-k",
        "inference_scratch.samplers:TopK",
        config="inference_scratch.config:TopKConfig",
        summary="among the k most probable ids",
        smoke={"top_k": 4},
    )
    register(
        "top-p",
        "inference_scratch.samplers:TopP",
        config="inference_scratch.config:TopPConfig",
        summary="among the fewest ids that hold a share p of the probability (nucleus sampling)",
    )
