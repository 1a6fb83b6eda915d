"""What TinyLoRA and LoRA-XS share: wrapping, and files that fit one base model only. `merging` has the rest.

The model stays the object it was; its linear layers are replaced by `FrameLinear` layers that hold them. Nothing else
of it changes, so `features`, `head`, caches and generation go on working.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from papers_scratch.adapter_files import ModuleRecord, SavedAdapter, read_adapter, write_adapter
from papers_scratch.config.frames import FrameConfig
from papers_scratch.errors import AdapterFileError, AdapterNotice, AdapterTargetError
from papers_scratch.fingerprint import tensor_sha256
from papers_scratch.frame_layer import FrameLinear, merged_weight
from papers_scratch.merging import MergingAdapter
from papers_scratch.singular import CLOSE, Directions, fingerprint, has_fingerprint, leading_directions
from papers_scratch.targets import all_of, choose_targets, directions_of, weight_matrix


class FrameAdapter(MergingAdapter):
    """Build it, or `load` it, then `wrap` a model. Subclasses make the layers and name what they train."""

    method: ClassVar[str]
    config_class: ClassVar[type[Any]]

    def __init__(self, config: Any, /) -> None:
        super().__init__()
        self.config: FrameConfig = config
        self.layers: dict[str, FrameLinear]
        self._records: list[ModuleRecord] = []
        self._saved: SavedAdapter | None = None

    # --- for subclasses --------------------------------------------------------------------------------------------

    def _make_layers(self, bases: Mapping[str, nn.Module], frames: Mapping[str, Frame]) -> dict[str, FrameLinear]:
        """A layer for each base layer, computing what it computes."""
        raise NotImplementedError

    def _values(self) -> dict[str, nn.Parameter]:
        """What is trained, by the names that the file has."""
        raise NotImplementedError

    def _projections_sha256(self, name: str) -> str:
        """Hash of what is fixed in a layer besides its frame; empty if nothing is."""
        return ""

    def _frozen(self, name: str) -> dict[str, Tensor]:
        """What `save_frames` writes of a layer."""
        layer = self.layers[name]
        return {"A": layer.A, "B": layer.B}

    # --- wrapping --------------------------------------------------------------------------------------------------

    def wrap(self, model: nn.Module, /) -> None:
        """Freeze `model` and put a `FrameLinear` around its linear layers, in place.

        Nothing is changed if this raises: AdapterTargetError (no layer to adapt, a weight that cannot be decomposed, a
        model that has an adapter), AdapterFileError (loaded adapter, other base model), RuntimeError (this adapter has
        a model).
        """
        if self.layers:
            raise RuntimeError("this adapter wraps a model already; build another adapter for another model")
        if any(isinstance(module, FrameLinear) or hasattr(module, "base_layer") for module in model.modules()):
            raise AdapterTargetError(
                f"{type(model).__name__} has an adapter already; two on one layer are not supported"
            )
        targets = choose_targets(model, self.config.target_modules)
        bases = {name: model.get_submodule(name) for name in targets}
        if self._saved is not None:
            self._saved.check_modules({name: tuple(weight_matrix(base).shape) for name, base in bases.items()})
            for name, base in bases.items():
                self._saved.check_weight(name, tensor_sha256(weight_matrix(base)))
        odd = _OddLayers()
        frames = {name: self._frame(name, base, odd) for name, base in bases.items()}
        odd.give_notice()
        self.layers = self._make_layers(bases, frames)
        try:
            self._restore()
        except AdapterFileError:
            self.layers = {}
            raise
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for name, layer in self.layers.items():
            layer.train(bases[name].training)
        made = {id(bases[name]): layer for name, layer in self.layers.items()}
        for place, module in list(model.named_modules(remove_duplicate=False)):  # a layer may stand in several
            if id(module) in made:
                parent, _, child = place.rpartition(".")
                setattr(model.get_submodule(parent), child, made[id(module)])
        self._records = [
            ModuleRecord(
                name=name,
                shape=(layer.out_features, layer.in_features),
                r=layer.r,
                weight_sha256=tensor_sha256(weight_matrix(layer.base_layer)),
                frame=fingerprint(layer.A, layer.B),
                projections_sha256=self._projections_sha256(name),
            )
            for name, layer in self.layers.items()
        ]

    def _frame(self, name: str, base: nn.Module, odd: _OddLayers) -> Frame:
        """A and B of a layer: from the file if they are there, otherwise from its weight, which `odd` then sees."""
        if self._saved is not None and (stored := self._saved.frame(name)) is not None:
            return stored
        matrix = weight_matrix(base)  # (out, in)
        try:
            directions = leading_directions(matrix, self.config.r)
        except ValueError as error:
            raise AdapterTargetError(f"{name}: {error}") from error
        odd.see(name, directions, self.config)
        return directions.frame(self.config.sigma)

    def _restore(self) -> None:
        """Take the numbers of a loaded adapter, if they mean here what they meant there."""
        saved = self._saved
        if saved is None:
            return
        for name, layer in self.layers.items():
            if not has_fingerprint(layer.A, layer.B, saved.record(name).frame):
                raise AdapterFileError(
                    f"{saved.directory}: {name}: this machine finds other singular directions in the same weight, in "
                    "which the saved numbers mean something else: save the adapter again with save_frames"
                )
        values = self._values()
        saved.check_values({key: tuple(parameter.shape) for key, parameter in values.items()})
        with torch.no_grad():
            for key, parameter in values.items():
                parameter.copy_(saved.values[key])

    # --- what is trained -------------------------------------------------------------------------------------------

    def trainable_parameters(self) -> Mapping[str, nn.Parameter]:
        """What is trained, by the names in the wrapped model; shared numbers once, under their first name."""
        self._wrapped()
        seen: dict[int, str] = {}
        found: dict[str, nn.Parameter] = {}
        for name, layer in self.layers.items():
            for own, parameter in layer.named_parameters(recurse=False):
                if id(parameter) not in seen:
                    seen[id(parameter)] = name
                    found[f"{name}.{own}"] = parameter
        return found

    def delta_weight(self, layer: str) -> Tensor:
        """scale B R A of one adapted layer, by name: (out, in), fp32 or more."""
        adapted: FrameLinear = self._wrapped()[layer]
        return adapted.delta_weight().detach()

    # --- merging: see `merging` ------------------------------------------------------------------------------------

    def _merge_layer(self, layer: FrameLinear) -> None:
        weight = merged_weight(layer)
        if not bool(weight.isfinite().all()):
            raise ValueError("not finite")
        base: Any = layer.base_layer
        base.weight.data = weight
        layer.active = False

    def _unmerge_layer(self, layer: FrameLinear) -> None:
        layer.active = not self._disabled

    def _switch(self, *, on: bool) -> None:
        for layer in self._wrapped().values():
            layer.active = on

    # --- files -----------------------------------------------------------------------------------------------------

    def save(self, directory: Path, /) -> None:
        """Write the trained numbers, what they mean, and fingerprints of what they mean it in; not the base model."""
        self._wrapped()
        frozen = {}
        if self.config.save_frames:
            frozen = {f"{name}.{key}": tensor for name in self.layers for key, tensor in self._frozen(name).items()}
        write_adapter(
            Path(directory),
            method=self.method,
            config=self.config,
            records=self._records,
            values=self._values(),
            frozen=frozen,
        )

    @classmethod
    def load(cls, directory: Path, /) -> Self:
        """Read what `save` wrote. `wrap` then gives a model that computes what the saved one computed.

        AdapterFileError names the file that is missing or damaged. No pickle is read, whatever the directory holds.
        """
        saved, config = read_adapter(Path(directory), method=cls.method, config_class=cls.config_class)
        return cls.from_saved(saved, config)

    @classmethod
    def from_saved(cls, saved: SavedAdapter, config: Any) -> Self:
        """An adapter that takes the numbers of `saved` when it wraps a model that they belong to."""
        adapter = cls(config)
        adapter._saved = saved
        return adapter

    @property
    def records(self) -> list[ModuleRecord]:
        """What the trained numbers belong to: one record a layer, in the order of `layers`."""
        self._wrapped()
        return list(self._records)


Frame = tuple[Tensor, Tensor]
"""A (r, in) and B (out, r)."""


class _OddLayers:
    """What a user should know of single layers, said once of all of them: a model may have hundreds."""

    def __init__(self) -> None:
        self.small: dict[str, int] = {}  # with how many directions
        self.zero: list[str] = []
        self.close: list[str] = []

    def see(self, name: str, directions: Directions, config: FrameConfig) -> None:
        if directions.r < config.r:
            self.small[name] = directions.r
        if not bool(directions.s.any()):
            self.zero.append(name)
        elif directions.gap < CLOSE and not config.save_frames:
            self.close.append(name)

    def give_notice(self) -> None:
        if self.small:
            _notice(f"{directions_of(self.small)}, so r is no more than that there")
        if self.zero:
            _notice(f"{all_of(self.zero)}: its weight is all zero, so the adapter can never act there")
        if self.close:
            _notice(
                f"{all_of(self.close)}: two singular values are within {CLOSE:.1%} of the largest, so another machine "
                "may see other directions: set save_frames to keep these in the file"
            )


def _notice(text: str) -> None:
    warnings.warn(text, AdapterNotice, stacklevel=4)
