"""LoRA, the baseline that small adapters are compared with, by PEFT's own implementation.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, section 4.1, eq. 3:
`h = W x + scale * B A x`, with W frozen, B zero at the start, and scale = alpha / r.

What is PEFT's: the layers, their initialisation, the merged weight, the files. What is ours around it:
- the model stays the object it was (`inject_adapter_in_model`), so `features`, `head` and caches go on working;
- `unmerge` puts the original weight tensors back; subtracting the change, as PEFT does, leaves rounding errors;
- a saved adapter knows the hash of the weights it was trained on, and refuses any other base model.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import peft
import safetensors.torch
import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from torch import Tensor, nn

from papers_scratch.config.lora import LoRAConfig
from papers_scratch.errors import AdapterFileError, AdapterTargetError
from papers_scratch.fingerprint import file_sha256, weights_fingerprint
from papers_scratch.targets import choose_targets, is_conv1d, weight_matrix

NAME = "default"  # PEFT's name for the only adapter of a model
WEIGHTS_FILE = "adapter_model.safetensors"  # PEFT's
BASE_FILE = "scratch_adapter.json"  # ours: options, hash of the base weights, hash of WEIGHTS_FILE
PEFT_PREFIX = "base_model.model."  # PEFT names parameters as its own wrapper class would see them


class LoRA:
    """A LoRA adapter for one model. Build it, or `load` it, then `wrap` a model."""

    def __init__(self, config: LoRAConfig, /) -> None:
        self.config = config
        self._peft_config: Any = None  # a peft.LoraConfig once a model is wrapped
        self._layers: dict[str, Any] = {}
        self._base_sha256 = ""
        self._saved: _Saved | None = None
        self._originals: dict[str, nn.Parameter] = {}  # the base weights, while merged
        self._disabled = False

    def wrap(self, model: nn.Module, /) -> None:
        """Freeze `model` and put a LoRA layer around its linear layers, in place.

        Nothing is changed if this raises: AdapterTargetError (no layer to adapt, or a model that has an adapter),
        AdapterFileError (loaded adapter, other base model), RuntimeError (this adapter has a model).
        """
        if self._peft_config is not None:
            raise RuntimeError("this adapter wraps a model already; build another adapter for another model")
        if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
            raise AdapterTargetError(
                f"{type(model).__name__} has an adapter already; two on one layer are not supported"
            )
        targets = choose_targets(model, self.config.target_modules)
        base_sha256 = weights_fingerprint(model)
        if self._saved is not None:
            self._saved.check(model, targets, base_sha256, self.config.r)

        modes = {name: model.get_submodule(name).training for name in targets}
        peft_config = self._config_for_peft(model, targets)
        with warnings.catch_warnings():
            # A tied head is adapted only if the user names it, and our merge unties it for as long as it is merged.
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
            # PEFT finds out for itself which layers store their weight the other way round, and says that it did.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            peft.inject_adapter_in_model(peft_config, model, adapter_name=NAME)
        self._peft_config = peft_config
        self._base_sha256 = base_sha256
        self._layers = {name: model.get_submodule(name) for name in targets}
        adapted = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
        if adapted != targets:
            raise RuntimeError(f"peft adapted {adapted} where {targets} was asked for")
        for name, layer in self._layers.items():
            layer.train(modes[name])  # new modules start in training mode, and dropout would act in an evaluated model
        for parameter in self.trainable_parameters().values():
            if parameter.dtype in (torch.bfloat16, torch.float16):
                parameter.data = parameter.data.float()  # a small step on a half-precision number rounds to no step
        if self._saved is not None:
            with torch.no_grad():
                for key, parameter in self._peft_named_parameters().items():
                    parameter.copy_(self._saved.tensors[key])

    def trainable_parameters(self) -> Mapping[str, nn.Parameter]:
        """A (r, in) and B (out, r) of every adapted layer, by their names in the wrapped model."""
        return {
            f"{name}.{part}.{NAME}.weight": getattr(layer, part)[NAME].weight
            for name, layer in self._wrapped().items()
            for part in ("lora_A", "lora_B")
        }

    def delta_weight(self, layer: str) -> Tensor:
        """scale * B @ A of one adapted layer, by name: (out, in)."""
        adapted = self._wrapped()[layer]
        delta: Tensor = adapted.get_delta_weight(NAME).detach()
        return delta.T if is_conv1d(adapted.get_base_layer()) else delta

    # --- merging ---------------------------------------------------------------------------------------------------

    @property
    def merged(self) -> bool:
        return bool(self._originals)

    def merge(self) -> None:
        """Fold the change into the base weights, so that the model runs at its old speed. A second call does nothing.

        Each weight becomes a new tensor and the old one is kept, also for tied weights, which are thereby untied until
        `unmerge`. Raises ValueError, with nothing merged, if a merged weight would not be finite.
        """
        layers = self._wrapped()
        if self._disabled:
            raise RuntimeError("merge() inside disabled(): leave the block first")
        if self.merged:
            return
        try:
            for name, layer in layers.items():
                base = layer.get_base_layer()
                self._originals[name] = base.weight
                base.weight = nn.Parameter(base.weight.detach().clone(), requires_grad=False)
                layer.merge(safe_merge=True, adapter_names=[NAME])
        except ValueError as error:
            name = list(self._originals)[-1]
            self._give_back()
            raise ValueError(f"{name}: the merged weight is not finite, so nothing was merged ({error})") from error

    def unmerge(self) -> None:
        """Put the base weights back, bit for bit: they are the very tensors that were there before `merge`."""
        self._wrapped()
        self._give_back()

    def _give_back(self) -> None:
        for name, original in self._originals.items():
            layer = self._layers[name]
            base = layer.get_base_layer()
            original.data = original.data.to(base.weight.device)  # the model may have moved meanwhile
            base.weight = original
            layer.merged_adapters.clear()
        self._originals = {}

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside the block the model computes with the very base weights, and nothing else. May be nested. A merged
        adapter is merged again at the end."""
        layers = self._wrapped().values()
        if self._disabled:
            yield
            return
        was_merged = self.merged
        self._give_back()  # PEFT would un-merge by subtraction in the first forward
        requires_grad = {p: p.requires_grad for p in self.trainable_parameters().values()}
        for layer in layers:
            layer.enable_adapters(False)
        self._disabled = True
        try:
            yield
        finally:
            self._disabled = False
            for layer in layers:
                layer.enable_adapters(True)
            for parameter, flag in requires_grad.items():  # PEFT's switch sets them all to True
                parameter.requires_grad_(flag)
            if was_merged:
                self.merge()

    # --- files -----------------------------------------------------------------------------------------------------

    def save(self, directory: Path, /) -> None:
        """Write the adapter alone: PEFT's two files, which PEFT reads, and one of ours with the base model's hash."""
        self._wrapped()
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        config = copy.copy(self._peft_config)
        config.inference_mode = True  # what PEFT itself saves: a loaded adapter is for use unless training is asked for
        if not isinstance(config.target_modules, str):
            config.target_modules = sorted(config.target_modules)  # a set in PEFT: the file would differ by chance
        config.save_pretrained(str(directory))
        tensors = {key: p.detach().cpu().contiguous() for key, p in self._peft_named_parameters().items()}
        safetensors.torch.save_file(tensors, directory / WEIGHTS_FILE, metadata={"format": "pt"})
        description = {
            "adapter": "lora",
            "config": asdict(self.config),
            "base_weights_sha256": self._base_sha256,
            "adapter_sha256": file_sha256(directory / WEIGHTS_FILE),
        }
        text = json.dumps(description, indent=2) + "\n"
        (directory / BASE_FILE).write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, directory: Path, /) -> Self:
        """Read what `save` wrote. `wrap` then gives a model that computes what the saved one computed.

        AdapterFileError names the file that is missing or damaged. No pickle is read, whatever the directory holds.
        """
        saved, config = _read(Path(directory))
        adapter = cls(config)
        adapter._saved = saved
        return adapter

    # --- inside ----------------------------------------------------------------------------------------------------

    def _wrapped(self) -> dict[str, Any]:
        if self._peft_config is None:
            raise RuntimeError("this adapter wraps no model yet; call wrap(model) first")
        return self._layers

    def _peft_named_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters by the keys of PEFT's file, which leave the adapter's name out."""
        return {
            PEFT_PREFIX + name.removesuffix(f".{NAME}.weight") + ".weight": parameter
            for name, parameter in self.trainable_parameters().items()
        }

    def _config_for_peft(self, model: nn.Module, targets: list[str]) -> peft.LoraConfig:
        others = {name for name, _ in model.named_modules()} - set(targets)
        return peft.LoraConfig(
            r=self.config.r,
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]  # annotated int, used as a number
            lora_dropout=self.config.dropout,
            use_rslora=self.config.rslora,
            target_modules=_peft_targets(targets, others),
            bias="none",
        )


def _peft_targets(targets: list[str], others: set[str]) -> list[str] | str:
    """PEFT also matches by the last parts of a name: `fc` would find `head.fc`. A pattern then says it exactly."""
    suffixes = tuple(f".{name}" for name in targets)
    if any(name.endswith(suffixes) for name in others):
        return "|".join(re.escape(name) for name in targets)
    return targets


class _Saved:
    """A saved adapter that has not met its model yet."""

    def __init__(self, directory: Path, tensors: dict[str, Tensor], base_sha256: str) -> None:
        self.directory = directory
        self.tensors = tensors
        self.base_sha256 = base_sha256

    def check(self, model: nn.Module, targets: list[str], base_sha256: str, r: int) -> None:
        if base_sha256 != self.base_sha256:
            raise AdapterFileError(
                f"{self.directory}: trained on base weights with SHA-256 {self.base_sha256}, but this "
                f"{type(model).__name__} has {base_sha256}; wrap the model that it was trained on"
            )
        shapes: dict[str, tuple[int, ...]] = {}
        for name in targets:
            out_features, in_features = weight_matrix(model.get_submodule(name)).shape
            shapes[f"{PEFT_PREFIX}{name}.lora_A.weight"] = (r, in_features)
            shapes[f"{PEFT_PREFIX}{name}.lora_B.weight"] = (out_features, r)
        found = {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}
        wrong = sorted(key for key in shapes.keys() | found.keys() if shapes.get(key) != found.get(key))
        if wrong:
            key = wrong[0]
            raise AdapterFileError(
                f"{self.directory / WEIGHTS_FILE}: {len(wrong)} tensors do not fit the model, first {key!r}: "
                f"shape {found.get(key, 'missing')}, expected {shapes.get(key, 'none')}"
            )


def _read(directory: Path) -> tuple[_Saved, LoRAConfig]:
    for name in (BASE_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise AdapterFileError(f"{directory / name}: not found; a directory that LoRA.save wrote has it")
    try:
        description = json.loads((directory / BASE_FILE).read_text(encoding="utf-8"))
        options = dict(description["config"])
        config = LoRAConfig(**{**options, "target_modules": tuple(options["target_modules"])})
        base_sha256, adapter_sha256 = str(description["base_weights_sha256"]), str(description["adapter_sha256"])
    except (ValueError, TypeError, KeyError) as error:
        raise AdapterFileError(f"{directory / BASE_FILE}: damaged, or of another version: {error}") from error
    found = file_sha256(directory / WEIGHTS_FILE)
    if found != adapter_sha256:
        raise AdapterFileError(
            f"{directory / WEIGHTS_FILE}: damaged: SHA-256 {found}, but {adapter_sha256} was written; "
            "take another copy of the directory"
        )
    try:
        tensors = safetensors.torch.load_file(directory / WEIGHTS_FILE, device="cpu")
    except SafetensorError as error:
        raise AdapterFileError(f"{directory / WEIGHTS_FILE}: not a safetensors file: {error}") from error
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise AdapterFileError(f"{directory / WEIGHTS_FILE}: infinite or NaN values in {broken[0]!r}")
    return _Saved(directory, tensors, base_sha256), config
