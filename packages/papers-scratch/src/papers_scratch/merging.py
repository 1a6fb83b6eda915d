"""What all adapters share: folding the change into the base weights, taking it out again, and switching it off.

`unmerge` puts the very tensors back that were there before: subtracting the change, as PEFT does, leaves rounding
errors. A merged layer is its base layer, so nothing of the adapter can learn from what it computes. That is said by the
backward pass, where torch would say that some tensor does not require grad, or, if something else is trained too,
nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class MergingAdapter:
    """An adapter whose `layers` stand around base layers with a `weight`. Subclasses say how one layer is merged."""

    def __init__(self) -> None:
        self.layers: dict[str, Any] = {}
        """The adapted layers by full name, in the order of the model; empty before `wrap`."""
        self._originals: dict[str, nn.Parameter] = {}  # base weights, while merged
        self._hooks: list[RemovableHandle] = []  # on merged layers
        self._disabled = False

    # --- for subclasses --------------------------------------------------------------------------------------------

    def _merge_layer(self, layer: Any) -> None:
        """Add the change to the base weight, a copy that may be written to, and stop adding it to the output.

        Raises ValueError if the sum is not finite.
        """
        raise NotImplementedError

    def _unmerge_layer(self, layer: Any) -> None:
        """The base weight is the old one again: go on adding the change to the output, unless disabled."""
        raise NotImplementedError

    def _switch(self, *, on: bool) -> None:
        """Make all layers, none of which is merged, compute with their change, or as their base layers do."""
        raise NotImplementedError

    # --- merging ---------------------------------------------------------------------------------------------------

    @property
    def merged(self) -> bool:
        return bool(self._originals)

    def merge(self) -> None:
        """Fold the change into the base weights, so that the model runs at its old speed. A second call does nothing.

        Each weight becomes a new tensor and the old one is kept, also for tied weights, which are thereby untied until
        `unmerge`. While merged, a backward pass through the model raises RuntimeError, and `save` still writes the
        adapter, not the merged weights. Raises ValueError, with nothing merged, if a merged weight would not be finite.
        """
        layers = self._wrapped()
        if self._disabled:
            raise RuntimeError("merge() inside disabled(): leave the block first")
        if self.merged:
            return
        for name, layer in layers.items():
            base = layer.base_layer
            self._originals[name] = base.weight
            base.weight = nn.Parameter(base.weight.detach().clone(), requires_grad=False)
            try:
                self._merge_layer(layer)
            except ValueError as error:
                self.unmerge()
                raise ValueError(f"{name}: the merged weight is not finite, so nothing was merged") from error
        self._hooks = [layer.register_forward_hook(_refuse_training) for layer in layers.values()]

    def unmerge(self) -> None:
        """Put the base weights back, bit for bit: they are the very tensors that were there before `merge`."""
        layers = self._wrapped()
        for hook in self._hooks:
            hook.remove()
        for name, original in self._originals.items():
            base = layers[name].base_layer
            original.data = original.data.to(base.weight)  # the model may have been moved or cast meanwhile
            base.weight = original
            self._unmerge_layer(layers[name])
        self._originals, self._hooks = {}, []

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside the block the model computes with the very base weights, and nothing else. May be nested. A merged
        adapter is merged again at the end."""
        self._wrapped()
        if self._disabled:
            yield
            return
        was_merged = self.merged
        self.unmerge()  # PEFT would do so by subtraction in the first forward
        self._disabled = True
        self._switch(on=False)
        try:
            yield
        finally:
            self._disabled = False
            self._switch(on=True)
            if was_merged:
                self.merge()

    def _wrapped(self) -> dict[str, Any]:
        if not self.layers:
            raise RuntimeError("this adapter wraps no model yet; call wrap(model) first")
        return self.layers


class _NoGradient(torch.autograd.Function):
    """The identity; asked for a gradient, it says why there is none."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, _anything_that_requires_grad: Tensor) -> Tensor:
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError(
            "the adapter is merged into the base weights, so nothing in it can be trained: call adapter.unmerge() "
            "before the forward pass of a training step, and merge() again afterwards"
        )


def _refuse_training(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return output
    found: Tensor = _NoGradient.apply(output, torch.zeros((), requires_grad=True))  # type: ignore[no-untyped-call]
    return found
