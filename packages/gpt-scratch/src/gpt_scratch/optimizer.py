"""AdamW (Loshchilov & Hutter 2019) over named parameters, with a state that a file can hold.

Matrices decay, vectors do not: pulling a gain or a bias towards zero regularises nothing. A tied matrix has two names
in the model, but is listed, and decays, once. Embeddings are matrices here and decay, as in nanoGPT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gpt_scratch.errors import StateError


def decay_groups(parameters: Mapping[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: matrices with decay, everything else without."""
    matrices = [p for p in parameters.values() if p.dim() >= 2]
    others = [p for p in parameters.values() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def moments(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, dict[str, Tensor]]:
    """What the optimizer remembers of each parameter, under the parameter's name. Copies."""
    return {
        name: {key: value.detach().clone() for key, value in optimizer.state[parameter].items()}
        for name, parameter in parameters.items()
        if parameter in optimizer.state
    }


def load_moments(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put back what `moments` gave, or raise StateError and change nothing.

    Hyper-parameters are not part of it: they come from the configuration.
    """
    loaded: dict[Tensor, dict[str, Tensor]] = {}
    for name, saved in state.items():
        if name not in parameters:
            raise StateError(f"the saved optimizer knows {name!r}, which this model does not train")
        parameter = parameters[name]
        for key, value in saved.items():
            if value.dim() > 0 and value.shape != parameter.shape:
                raise StateError(f"{name}.{key}: saved {tuple(value.shape)}, this model has {tuple(parameter.shape)}")
        loaded[parameter] = {
            key: value.clone() if value.dim() == 0 else value.to(parameter, copy=True) for key, value in saved.items()
        }
    optimizer.state.clear()
    optimizer.state.update(loaded)
