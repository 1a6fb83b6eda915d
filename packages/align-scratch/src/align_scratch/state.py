"""What the trainers here share in state: an optimizer over what is trainable, and everything a resumed run needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from align_scratch.config.optimizer import OptimizerConfig
from align_scratch.errors import DoesNotFit, TrainingDiverged
from align_scratch.protocols import Model
from align_scratch.schedule import learning_rate


def trainable(model: Model) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name. Raises DoesNotFit if there are none."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not named:
        raise DoesNotFit("model: every parameter is frozen, so there is nothing to train")
    return named


def adamw(named: Mapping[str, nn.Parameter], config: OptimizerConfig, *, eps: float = 1e-8) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) with decay on matrices only: biases and norms have no direction to shrink."""
    groups = [
        {"params": [p for p in named.values() if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in named.values() if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in named.values())
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=eps, fused=fused)


def current_lr(config: OptimizerConfig, step: int) -> float:
    """The learning rate of `step` 1, 2, ..., `config.steps`."""
    return learning_rate(
        step, steps=config.steps, lr=config.lr, warmup_steps=config.warmup_steps, min_lr_ratio=config.min_lr_ratio
    )


def update(
    optimizer: torch.optim.Optimizer,
    named: Mapping[str, nn.Parameter],
    *,
    loss: float,
    lr: float,
    grad_clip: float | None,
    where: str,
) -> float:
    """One optimizer step on the gradients at hand, which are then cleared: the gradient's norm before clipping.

    A group of parameters with an `lr_scale` learns at that multiple of `lr`.

    Raises TrainingDiverged before touching a weight if the loss or the gradient is not finite.
    """
    # Clipping first is harmless: a gradient that is not finite is thrown away just below.
    norm = nn.utils.clip_grad_norm_(named.values(), math.inf if grad_clip is None else grad_clip)
    if not (math.isfinite(loss) and bool(norm.isfinite())):
        optimizer.zero_grad(set_to_none=True)
        raise TrainingDiverged(
            f"{where}: loss {loss}, gradient norm {float(norm)}: not finite, so the step was not taken; "
            "a lower learning rate is the first thing to try"
        )
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)


# --- everything that training changes ------------------------------------------------------------------------------


def model_places(model: Model) -> dict[str, Tensor]:
    """What is trainable, and the persistent buffers, by name: the tensors themselves."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}  # all names of tied ones
    places: dict[str, Tensor] = dict(trainable(model))
    return places | {name: tensor for name, tensor in model.state_dict().items() if name not in parameters}


def model_state(model: Model) -> dict[str, Tensor]:
    """What is trainable, and the persistent buffers: copies, by name."""
    return {name: tensor.detach().clone() for name, tensor in model_places(model).items()}


def load_model_state(model: Model, state: Mapping[str, Tensor]) -> None:
    """Copy a state in place. Raises ValueError if names or shapes differ from what the model has."""
    _copy(model_places(model), state, "model")


def _copy(places: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str) -> None:
    if places.keys() != state.keys():
        odd = sorted(places.keys() ^ state.keys())
        raise ValueError(f"{what}: the state has other names than this model: {', '.join(odd[:3])}")
    with torch.no_grad():
        for name, place in places.items():
            if place.shape != state[name].shape:
                raise ValueError(
                    f"{what}: {name} has shape {tuple(state[name].shape)} in the state, {tuple(place.shape)} here"
                )
            place.copy_(state[name])


def optimizer_state(optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]) -> dict[str, dict[str, Any]]:
    """The moments of each parameter, by the parameter's name; empty before the first step."""
    return {
        name: {key: value.clone() if isinstance(value, Tensor) else value for key, value in optimizer.state[p].items()}
        for name, p in named.items()
        if optimizer.state.get(p)
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter], state: Mapping[str, Mapping[str, Any]]
) -> None:
    if not state.keys() <= named.keys():
        odd = sorted(state.keys() - named.keys())
        raise ValueError(f"optimizer: the state has parameters that this model has not: {', '.join(odd[:3])}")
    optimizer.state.clear()
    for name, moments in state.items():
        parameter = named[name]
        optimizer.state[parameter] = {
            # Moments live beside their parameter; the count of steps does so only where the fused kernel reads it.
            key: value.clone().to(parameter.device if key != "step" or optimizer.defaults["fused"] else "cpu")
            if isinstance(value, Tensor)
            else value
            for key, value in moments.items()
        }


def random_state(device: torch.device, generator: torch.Generator) -> dict[str, Tensor]:
    """Torch's global generators, from which dropout draws, and the trainer's own."""
    state = {"torch": torch.get_rng_state(), "own": generator.get_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def load_random_state(device: torch.device, generator: torch.Generator, state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    if device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())
    generator.set_state(state["own"].cpu())


# --- all of it at once ---------------------------------------------------------------------------------------------


def training_state(
    model: Model, optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter], generator: torch.Generator
) -> dict[str, Any]:
    """What every trainer's state holds: copies of the model, the moments of `named`, and all random states."""
    return {
        "model": model_state(model),
        "optimizer": optimizer_state(optimizer, named),
        "random": random_state(generator.device, generator),
    }


def load_training_state(
    model: Model,
    optimizer: torch.optim.Optimizer,
    named: Mapping[str, nn.Parameter],
    generator: torch.Generator,
    state: Mapping[str, Any],
) -> None:
    """Put `training_state` back. Raises ValueError if it is of another model."""
    load_model_state(model, state["model"])
    load_optimizer_state(optimizer, named, state["optimizer"])
    load_random_state(generator.device, generator, state["random"])
