"""Which linear layers of a model an adapter changes.

By default all `nn.Linear` layers, and `Conv1D` layers as GPT-2 has them in transformers, except
- the output head, which turns features into logits: what it learns is rarely what an adapter is for, and it is often
  the biggest matrix of a small model;
- layers whose weight is shared with another module (tied embeddings): changing one would not change the other;
- layers inside `nn.MultiheadAttention`, which reads their weights past their `forward`: an adapter there has no effect.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from papers_scratch.errors import AdapterNotice, AdapterTargetError


def is_conv1d(layer: nn.Module) -> bool:
    """GPT-2's layer in transformers, a linear layer whose weight is stored as (in, out). Known without importing it."""
    return type(layer).__name__ == "Conv1D" and isinstance(getattr(layer, "nf", None), int)


def weight_matrix(layer: nn.Module) -> torch.Tensor:
    """The weight of a linear layer as (out, in), whichever way round the layer stores it."""
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    return weight.T if is_conv1d(layer) else weight


def linear_layers(model: nn.Module) -> dict[str, Any]:
    """Every layer that an adapter can act on, by name, in the order of the model."""
    fused = tuple(f"{name}." for name, m in model.named_modules() if isinstance(m, nn.MultiheadAttention))
    return {
        name: module
        for name, module in model.named_modules()
        if name and (isinstance(module, nn.Linear) or is_conv1d(module)) and not name.startswith(fused)
    }


def tied_layers(model: nn.Module) -> set[str]:
    """Names of linear layers whose weight is also a parameter of another module."""
    owners = Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    return {name for name, layer in linear_layers(model).items() if owners[id(layer.weight)] > 1}


def head_layers(model: nn.Module) -> set[str]:
    """Names of the linear layers of the output head; empty if the model does not tell what its head is.

    A transformers model tells by `get_output_embeddings()`. A model with `features(ids)` and `head(features)` is asked
    by running both on one token and watching which layers `head` calls: the name of a layer proves nothing.
    """
    layers = linear_layers(model)
    get_output_embeddings = getattr(model, "get_output_embeddings", None)
    if callable(get_output_embeddings):
        output = get_output_embeddings()
        return {name for name, layer in layers.items() if layer is output}
    head = getattr(model, "head", None)
    if isinstance(head, nn.Module):
        inside = {id(m) for m in head.modules()}
        return {name for name, layer in layers.items() if id(layer) in inside}
    features = getattr(model, "features", None)
    if callable(head) and callable(features):
        return _called_by_head(model, layers, features, head)
    return set()


def _called_by_head(
    model: nn.Module, layers: dict[str, Any], features: Callable[..., Any], head: Callable[..., Any]
) -> set[str]:
    called: set[str] = set()
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    model.eval()  # nothing random, no running statistics: the probe leaves no trace
    try:
        with torch.no_grad():
            read_by_head = features(torch.zeros(1, 1, dtype=torch.long, device=device))  # (1, 1, D)
            hooks = [
                layer.register_forward_pre_hook(lambda _module, _args, name=name: called.add(name))
                for name, layer in layers.items()
            ]
            try:
                head(read_by_head)
            finally:
                for hook in hooks:
                    hook.remove()
    finally:
        for module, training in modes.items():
            module.training = training
    return called


def bare_prefix(model: nn.Module) -> str:
    """What stands in front of the names that PEFT knows: a model that holds another library's model says where."""
    inner = getattr(model, "bare_name", None)
    return f"{inner}." if isinstance(inner, str) else ""


def choose_targets(model: nn.Module, target_modules: Sequence[str] = ()) -> list[str]:
    """Full names of the layers to adapt.

    A target is a full name or the last parts of one, as in PEFT: `fc` finds `blocks.0.fc` and `blocks.1.fc`.
    Every target must find something. AdapterTargetError lists what there is.
    """
    layers = linear_layers(model)
    if not layers:
        raise AdapterTargetError(f"{type(model).__name__} has no nn.Linear layer, so there is nothing to adapt")
    if target_modules:
        chosen = set()
        for target in target_modules:
            found = {name for name in layers if name == target or name.endswith(f".{target}")}
            if not found:
                raise AdapterTargetError(
                    f"target_modules: {target!r} names no linear layer of {type(model).__name__}; "
                    f"it has {listing(layers)}"
                )
            chosen |= found
    else:
        chosen = set(layers) - head_layers(model) - tied_layers(model)
        if not chosen:
            raise AdapterTargetError(
                f"{type(model).__name__} has no linear layer besides its output head and tied weights: "
                f"{listing(layers)}; "
                "name one in target_modules to adapt it all the same"
            )
        stacks = [name for name, parameter in model.named_parameters() if parameter.dim() == 3]
        if stacks:
            warnings.warn(
                f"{type(model).__name__}: {listing(stacks)}: weights of several matrices each, as experts are, which "
                "adapters here leave as they are",
                AdapterNotice,
                stacklevel=3,
            )
    for name in chosen:
        _refuse_unusable(name, layers[name].weight)
    return [name for name in layers if name in chosen]


def _refuse_unusable(name: str, weight: torch.Tensor) -> None:
    if weight.is_meta:
        raise AdapterTargetError(f"{name}: its weight is on the meta device; load the weights before wrapping")
    if not weight.is_floating_point():
        raise AdapterTargetError(f"{name}: its weight is quantised ({weight.dtype}); merging exactly is not possible")
    if not torch.isfinite(weight).all():
        raise AdapterTargetError(f"{name}: its weight has infinite or NaN values; the base model is broken")


def all_of(layers: Sequence[str]) -> str:
    """A layer by its name, or several with their number: `8 layers (blocks.*.fc (x4), blocks.*.proj (x4))`."""
    return layers[0] if len(layers) == 1 else f"{len(layers)} layers ({listing(layers)})"


def directions_of(layers: Mapping[str, int]) -> str:
    """Says of layers by name that each has so many singular directions."""
    least, most = min(layers.values()), max(layers.values())
    between = f"{least}" if least == most else f"{least} to {most}"
    return f"{all_of(list(layers))}: {'has' if len(layers) == 1 else 'have'} {between} singular directions"


def listing(layers: Iterable[str]) -> str:
    """Names with the repeated block numbers folded: `blocks.*.c_attn (x4)`."""
    folded = Counter(re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "*", name) for name in layers)
    return ", ".join(name if count == 1 else f"{name} (x{count})" for name, count in folded.items())
