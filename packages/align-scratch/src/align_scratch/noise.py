"""Noise on embeddings while a model learns: NEFTune (Jain et al. 2023, "Noisy Embeddings Improve Finetuning").

    x' = x + alpha / sqrt(L D) * u,   u uniform in [-1, 1],   L the row's real length, D the width   (algorithm 1)

It works with any model that looks its ids up in one module of its own, which is found by what it does: given ids, it
returns a vector for each. The noise is there for the length of a `with` block and nowhere else, so it can touch neither
evaluation nor sampling.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from align_scratch.errors import DoesNotFit
from align_scratch.protocols import Model


def find_embedding(model: Model) -> nn.Module:
    """The module whose (V, D) weight turns ids into vectors. Raises DoesNotFit if there is not exactly one.

    The model reads two ids once, in evaluation mode; no random state changes.
    """
    ids = torch.tensor([[1, 0, 1][: max(2, min(3, model.max_length or 3))]], device=next(model.parameters()).device)
    found: list[nn.Module] = []

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        same = bool(inputs) and isinstance(inputs[0], Tensor) and inputs[0].shape == ids.shape
        vectors = isinstance(output, Tensor) and output.shape[:-1] == ids.shape and output.is_floating_point()
        if same and vectors and torch.equal(inputs[0], ids) and module not in found:
            found.append(module)

    hooks = []
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2 and len(weight) >= model.vocab_size:
            hooks.append(module.register_forward_hook(look))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model.features(ids)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if len(found) != 1:
        raise DoesNotFit(
            f"neftune_alpha: the model has {len(found)} modules that look ids up in a table of {model.vocab_size} "
            "vectors, and noise can be added behind exactly one: leave the option out for this model"
        )
    return found[0]


def embedding_noise(lengths: Tensor, width: int, n_embd: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Noise (N, T, D) for rows of `lengths` (N,) and `width` T, drawn on the CPU; 0 behind a row's end."""
    u = torch.rand(len(lengths), width, n_embd, generator=generator) * 2 - 1  # (N, T, D)
    scale = alpha / (lengths.cpu().clamp(min=1) * n_embd).sqrt()  # (N,)
    real = torch.arange(width) < lengths.cpu()[:, None]  # (N, T)
    return u * scale[:, None, None] * real[:, :, None]


@contextlib.contextmanager
def noisy(embedding: nn.Module, noise: Tensor) -> Iterator[None]:
    """Inside the block, `embedding` adds `noise` (N, T, D) to what it returns for N rows of T ids."""

    def add(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + noise.to(device=output.device, dtype=output.dtype)

    hook = embedding.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
