"""What the adapters by PEFT's own code share: wrapping, and files that PEFT reads. `merging` has the rest.

What is PEFT's: the layers, their initialisation, the merged weight, the files. What is ours around it:
- the model stays the object it was, so `features`, `head` and caches go on working;
- `unmerge` puts the original weight tensors back;
- a saved adapter knows the hash of the weights it was trained on, and refuses any other base model.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from papers_scratch.errors import AdapterNotice, AdapterTargetError
from papers_scratch.fingerprint import weights_fingerprint
from papers_scratch.merging import MergingAdapter
from papers_scratch.peft_files import SavedPeft, read_saved, write_saved
from papers_scratch.targets import bare_prefix, choose_targets, directions_of, is_conv1d, weight_matrix

NAME = "default"  # PEFT's name for the only adapter of a model
PEFT_PREFIX = "base_model.model."  # PEFT names parameters as its own wrapper class would see them


class PeftAdapter(MergingAdapter):
    """Build it, or `load` it, then `wrap` a model. Subclasses say which of PEFT's layers, and what its file holds."""

    method: ClassVar[str]
    config_class: ClassVar[type[Any]]
    layer_class: ClassVar[type[Any]]

    def __init__(self, config: Any, /) -> None:
        super().__init__()
        self.config = config
        self._peft_config: Any = None  # PEFT's own options once a model is wrapped
        self._prefix = ""  # of the layers' names, where the model holds the one that PEFT knows
        self._file_targets: list[str] | str = []  # the layers as PEFT's file names them
        self._base_sha256 = ""
        self._saved: SavedPeft | None = None

    # --- for subclasses --------------------------------------------------------------------------------------------

    def _config_for_peft(self, targets: list[str] | str) -> Any:
        """PEFT's options for these layers: a list of names or a pattern."""
        raise NotImplementedError

    def _inject(self, peft_config: Any, model: nn.Module) -> None:
        """Put PEFT's layers into `model`."""
        raise NotImplementedError

    def trainable_parameters(self) -> Mapping[str, nn.Parameter]:
        """What is trained, by the names in the wrapped model."""
        raise NotImplementedError

    def _tensors(self) -> dict[str, Tensor]:
        """What the file holds, by its keys: the very tensors of the model."""
        raise NotImplementedError

    def _file_shapes(self, shapes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
        """Keys and shapes that a file must have for layers of these names and (out, in)."""
        raise NotImplementedError

    # --- wrapping --------------------------------------------------------------------------------------------------

    def wrap(self, model: nn.Module, /) -> None:
        """Freeze `model` and put PEFT's layers around its linear layers, in place.

        Nothing is changed if this raises: AdapterTargetError (no layer to adapt, or a model that has an adapter),
        AdapterFileError (loaded adapter, other base model), RuntimeError (this adapter has a model).
        """
        if self._peft_config is not None:
            raise RuntimeError("this adapter wraps a model already; build another adapter for another model")
        if any(isinstance(module, BaseTunerLayer) or hasattr(module, "base_layer") for module in model.modules()):
            raise AdapterTargetError(
                f"{type(model).__name__} has an adapter already; two on one layer are not supported"
            )
        targets = choose_targets(model, self.config.target_modules)
        base_sha256 = weights_fingerprint(model)
        self._prefix = bare_prefix(model)
        if self._saved is not None:
            self._saved.check_base(model, base_sha256)
            shapes = {name: weight_matrix(model.get_submodule(name)).shape for name in targets}
            self._saved.check_tensors(self._file_shapes({name: (out, inner) for name, (out, inner) in shapes.items()}))
        self._give_notice(model, targets)

        modes = {name: model.get_submodule(name).training for name in targets}
        owner = {id(model.get_submodule(name)): name for name in targets}
        places = [(p, owner[id(m)]) for p, m in model.named_modules(remove_duplicate=False) if id(m) in owner]
        others = {name for name, _ in model.named_modules()} - set(targets)
        bare_others = {name.removeprefix(self._prefix) for name in others}
        self._file_targets = peft_targets([name.removeprefix(self._prefix) for name in targets], bare_others)
        peft_config = self._config_for_peft(peft_targets(targets, others))
        with warnings.catch_warnings():
            # A tied head is adapted only if the user names it, and our merge unties it for as long as it is merged.
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
            # PEFT finds out for itself which layers store their weight the other way round, and says that it did.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            self._inject(peft_config, model)
        self._peft_config = peft_config
        self._base_sha256 = base_sha256
        self.layers = {name: model.get_submodule(name) for name in targets}
        for place, name in places:  # PEFT changes a layer only in the first of the places where it stands
            parent, _, child = place.rpartition(".")
            setattr(model.get_submodule(parent), child, self.layers[name])
        adapted = [name for name, module in model.named_modules() if isinstance(module, self.layer_class)]
        if adapted != targets:
            raise RuntimeError(f"peft adapted {adapted} where {targets} was asked for")
        for name, layer in self.layers.items():
            layer.train(modes[name])  # new modules start in training mode, and dropout would act in an evaluated model
        for parameter in self.trainable_parameters().values():
            if parameter.dtype in (torch.bfloat16, torch.float16):
                parameter.data = parameter.data.float()  # a small step on a half-precision number rounds to no step
        if self._saved is not None:
            with torch.no_grad():
                for key, tensor in self._tensors().items():
                    tensor.copy_(self._saved.tensors[key])

    def _give_notice(self, model: nn.Module, targets: list[str]) -> None:
        r = self.config.r
        ranks = {name: min(weight_matrix(model.get_submodule(name)).shape) for name in targets}
        small = {name: most for name, most in ranks.items() if r > most}
        if small:
            warnings.warn(
                f"{directions_of(small)}, so r {r} can do no more there than they", AdapterNotice, stacklevel=3
            )

    def delta_weight(self, layer: str) -> Tensor:
        """The change of one adapted layer's weight, by name: (out, in)."""
        adapted = self._wrapped()[layer]
        delta: Tensor = adapted.get_delta_weight(NAME).detach()
        return delta.T if is_conv1d(adapted.get_base_layer()) else delta

    # --- merging: see `merging` ------------------------------------------------------------------------------------

    def _merge_layer(self, layer: Any) -> None:
        layer.merge(safe_merge=True, adapter_names=[NAME])  # ValueError if the sum is not finite

    def _unmerge_layer(self, layer: Any) -> None:
        layer.merged_adapters.clear()

    def _switch(self, *, on: bool) -> None:
        requires_grad = {p: p.requires_grad for p in self.trainable_parameters().values()}
        for layer in self._wrapped().values():
            layer.enable_adapters(on)
        for parameter, flag in requires_grad.items():  # PEFT's switch sets them as it is set
            parameter.requires_grad_(flag)

    # --- files -----------------------------------------------------------------------------------------------------

    def save(self, directory: Path, /) -> None:
        """Write the adapter alone: PEFT's two files, which PEFT reads, and one of ours with the base model's hash."""
        self._wrapped()
        config = copy.copy(self._peft_config)
        config.inference_mode = True  # what PEFT itself saves: a loaded adapter is for use unless training is asked for
        named = self._file_targets
        config.target_modules = named if isinstance(named, str) else sorted(named)
        write_saved(
            Path(directory),
            method=self.method,
            config=self.config,
            peft_config=config,
            tensors=self._tensors(),
            base_sha256=self._base_sha256,
        )

    @classmethod
    def load(cls, directory: Path, /) -> Self:
        """Read what `save` wrote. `wrap` then gives a model that computes what the saved one computed.

        AdapterFileError names the file that is missing or damaged. No pickle is read, whatever the directory holds.
        """
        saved, config = read_saved(Path(directory), method=cls.method, config_class=cls.config_class)
        return cls.from_saved(saved, config)

    @classmethod
    def from_saved(cls, saved: SavedPeft, config: Any) -> Self:
        """An adapter that takes the numbers of `saved` when it wraps a model that they fit."""
        adapter = cls(config)
        adapter._saved = saved
        return adapter

    # --- inside ----------------------------------------------------------------------------------------------------

    def _key(self, layer: str) -> str:
        """A layer's name in PEFT's file."""
        return PEFT_PREFIX + layer.removeprefix(self._prefix)


def peft_targets(targets: list[str], others: set[str]) -> list[str] | str:
    """PEFT also matches by the last parts of a name: `fc` would find `head.fc`. A pattern then says it exactly."""
    suffixes = tuple(f".{name}" for name in targets)
    if any(name.endswith(suffixes) for name in others):
        return "|".join(re.escape(name) for name in targets)
    return targets
