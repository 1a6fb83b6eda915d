"""TinyLoRA and LoRA-XS as folders that PEFT reads, and PEFT's folders as adapters of ours.

A folder is `adapter_config.json` and `adapter_model.safetensors`, with names of the bare model: what a `transformers`
model of ours holds, not what holds it.

PEFT's TinyLoRA has half of the singular values on each side and no alpha. From our form

    A' = S^1/2 V^T,    B' = U S^1/2,    P_i' = alpha S^1/2 P_i S^-1/2    (sigma = "left"; alpha P_i with "sqrt"),

and v as it is. LoRA gets A and scale B R. Both fold what we keep apart, so a folder is for use elsewhere, and
`save` is for coming back.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers_scratch.adapter_files import ModuleRecord, SavedAdapter
from papers_scratch.config.frames import TinyLoRAConfig
from papers_scratch.config.lora import LoRAConfig
from papers_scratch.config.peft_tinylora import PeftTinyLoRAConfig
from papers_scratch.conversions import frame_record
from papers_scratch.errors import AdapterFileError, AdapterNotice
from papers_scratch.fingerprint import weights_fingerprint
from papers_scratch.frame_layer import FrameLinear, TinyLoRALinear
from papers_scratch.lora import LoRA
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.peft_adapter import PEFT_PREFIX, PeftAdapter, peft_targets
from papers_scratch.peft_files import CONFIG_FILE, WEIGHTS_FILE, SavedPeft, read_json, read_tensors, write_folder
from papers_scratch.peft_tinylora import V_PREFIX, PeftTinyLoRA
from papers_scratch.projections import projections
from papers_scratch.targets import bare_prefix, is_conv1d, linear_layers, weight_matrix
from papers_scratch.tinylora import TinyLoRA
from papers_scratch.tying import groups

# Options of PEFT that change what a LoRA computes, or what else its file holds.
REFUSED = (
    "alora_invocation_tokens", "alpha_pattern", "layer_replication", "lora_bias", "modules_to_save", "rank_pattern",
    "target_parameters", "trainable_token_indices", "use_dora", "use_qalora",
)  # fmt: skip
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")  # of A and B; others change the base weight too


ENDINGS = {
    "LORA": (".lora_A.weight", ".lora_B.weight"),
    "TINYLORA": (".tinylora_A", ".tinylora_B", ".tinylora_P"),
}  # of keys, behind the name of a layer


# --- to PEFT -------------------------------------------------------------------------------------------------------


def to_peft_tinylora(
    adapter: TinyLoRA | LoRAXS, model: nn.Module, directory: Path, *, base_model: str | None = None, untie: bool = True
) -> None:
    """Write `adapter`, which wraps `model`, as a folder of PEFT's TinyLoRA.

    base_model: name or path of the bare model, for `adapter_config.json`.
    untie: PEFT shares numbers by a formula of its own. Other groups are written as a copy of their numbers for each
        layer, with an AdapterNotice: the function is the same, the count is not. False: ValueError instead.
    """
    layers = adapter.layers
    cores = {name: _mapped(layer, *_numbers(adapter, name), adapter.config.sigma) for name, layer in layers.items()}
    group = _groups(adapter)
    n, count = len(layers), max(group) + 1
    weight_tying = 1 - count / n
    if group != groups(list(layers), tying="peft", n_tie=None, weight_tying=weight_tying):
        text = f"{count} groups of {n} layers, tied in a way that PEFT's weight_tying cannot say"
        if not untie:
            raise ValueError(f"{text}: export with untie, or tie by tying = peft")
        u = len(next(iter(cores.values())).v)
        warnings.warn(
            f"{text}: exported untied, as {u * n} numbers instead of {u * count}", AdapterNotice, stacklevel=2
        )
        group, weight_tying = list(range(n)), 0.0
    tensors: dict[str, Tensor] = {}
    for (name, core), g in zip(cores.items(), group, strict=True):
        bare = name.removeprefix(bare_prefix(model))
        tensors |= {f"{PEFT_PREFIX}{bare}.tinylora_{part}": getattr(core, part) for part in ("A", "B", "P")}
        tensors[f"{V_PREFIX}{g}"] = core.v
    config = peft.TinyLoraConfig(
        r=adapter.config.r,
        u=len(next(iter(cores.values())).v),
        weight_tying=weight_tying,
        projection_seed=getattr(adapter.config, "seed", 0),
        save_projection=True,
        **_shared_options(adapter, model, base_model),
    )
    write_folder(Path(directory), tensors, config)


def to_peft_lora(
    adapter: TinyLoRA | LoRAXS, model: nn.Module, directory: Path, *, base_model: str | None = None
) -> None:
    """Write `adapter`, which wraps `model`, as a folder of PEFT's LoRA of the same rank: A, and scale B R as its B.

    Every library that reads LoRA can use it. What it was trained with is no longer in it.
    """
    r = adapter.config.r
    tensors: dict[str, Tensor] = {}
    for name, layer in adapter.layers.items():
        key = PEFT_PREFIX + name.removeprefix(bare_prefix(model))
        product = layer.B.float() @ (layer.scale * layer.core().detach().float())  # (out, r)
        missing = r - layer.r  # directions that the weight does not have
        tensors[f"{key}.lora_A.weight"] = F.pad(layer.A.float(), (0, 0, 0, missing))  # (r, in)
        tensors[f"{key}.lora_B.weight"] = F.pad(product, (0, missing))  # (out, r)
    config = peft.LoraConfig(r=r, lora_alpha=r, lora_dropout=0.0, **_shared_options(adapter, model, base_model))
    write_folder(Path(directory), tensors, config)


class _Mapped:
    """A layer as PEFT's TinyLoRA has it: A (r, in), B (out, r), P (u, r, r), v (u,), in fp32."""

    def __init__(self, a: Tensor, b: Tensor, p: Tensor, v: Tensor) -> None:
        self.A, self.B, self.P, self.v = a, b, p, v


def _mapped(layer: FrameLinear, p: Tensor, v: Tensor, sigma: str) -> _Mapped:
    a, b = layer.A.float(), layer.B.float()
    root = torch.ones(layer.r, device=a.device)  # (r,)
    if sigma == "left":
        root = b.norm(dim=0).sqrt()  # the columns of U S are as long as S
        root = torch.where(root > 0, root, 1.0)  # a direction of no strength stays as it is
    return _Mapped(root[:, None] * a, b / root, layer.scale * root[:, None] * p / root, v)


def _numbers(adapter: TinyLoRA | LoRAXS, name: str) -> tuple[Tensor, Tensor]:
    """P (u, r, r) and v (u,) of a layer, in fp32; LoRA-XS is TinyLoRA on the basis."""
    layer = adapter.layers[name]
    if isinstance(layer, TinyLoRALinear):
        return layer.P.float(), layer.tinylora_v.detach().float()
    r, u = layer.r, adapter.config.r**2
    matrix = layer.core().detach().float()
    v = F.pad(matrix.flatten(), (0, u - r * r))
    return projections("basis", u=u, r=r, seed=0, layer=0).to(v.device), v


def _groups(adapter: TinyLoRA | LoRAXS) -> list[int]:
    """The group of each layer, numbered as they come."""
    owners = [
        id(layer.tinylora_v) if isinstance(layer, TinyLoRALinear) else id(layer) for layer in adapter.layers.values()
    ]
    number = {owner: g for g, owner in enumerate(dict.fromkeys(owners))}
    return [number[owner] for owner in owners]


def _shared_options(adapter: TinyLoRA | LoRAXS, model: nn.Module, base_model: str | None) -> dict[str, Any]:
    prefix = bare_prefix(model)
    names = [name.removeprefix(prefix) for name in adapter.layers]
    others = {name.removeprefix(prefix) for name, _ in model.named_modules()} - set(names)
    named = peft_targets(names, others)
    return {
        "target_modules": named,
        "fan_in_fan_out": all(is_conv1d(layer.base_layer) for layer in adapter.layers.values()),
        "bias": "none",
        "inference_mode": True,
        "base_model_name_or_path": base_model,
        "task_type": "CAUSAL_LM" if callable(getattr(model, "get_output_embeddings", None)) else None,
    }


# --- from PEFT -----------------------------------------------------------------------------------------------------


def from_peft(directory: Path, model: nn.Module, *, own_tinylora: bool = True) -> LoRA | TinyLoRA | PeftTinyLoRA:
    """Wrap `model` with the adapter in a folder of PEFT's LoRA or TinyLoRA, and return it.

    The frames and projections in the file are taken as they are; nothing is decomposed. PEFT does not write down which
    weights an adapter was trained on: that they are those of `model` is for the caller to know.

    own_tinylora: a TinyLoRA becomes ours; False: PEFT's own behind our contract.
    Raises AdapterFileError, with `model` as it was: files missing or damaged, keys missing or in excess, wrong shapes,
    no finite floating-point numbers, layers that the model does not have, options that we have no counterpart of.
    """
    directory = Path(directory)
    path = directory / CONFIG_FILE
    options = read_json(path)
    kind = options.get("peft_type")
    if kind not in ("LORA", "TINYLORA"):
        raise AdapterFileError(f"{path}: peft_type is {kind!r}, but only LORA and TINYLORA can be read")
    _refuse_unsupported(path, options)
    tensors = read_tensors(directory)
    names = _layer_names(directory / WEIGHTS_FILE, tensors, model, ENDINGS[kind])
    saved = SavedPeft(directory, tensors, weights_fingerprint(model))
    try:
        if kind == "LORA":
            config: Any = LoRAConfig(
                r=int(options["r"]),
                alpha=float(options["lora_alpha"]),
                dropout=float(options.get("lora_dropout", 0.0)),
                rslora=bool(options.get("use_rslora", False)),
                target_modules=tuple(names),
            )
        else:
            config = PeftTinyLoRAConfig(
                r=int(options["r"]),
                u=int(options["u"]),
                weight_tying=float(options.get("weight_tying", 0.0)),
                seed=int(options.get("projection_seed", 42)),
                dropout=float(options.get("tinylora_dropout", 0.0)),
                target_modules=tuple(names),
            )
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterFileError(f"{path}: damaged, or of another version: {error}") from error
    if kind == "TINYLORA":
        _add_projections(saved, config, names, model)
        if own_tinylora:
            return _our_tinylora(saved, config, names, model)
    adapter: PeftAdapter = (LoRA if kind == "LORA" else PeftTinyLoRA).from_saved(saved, config)
    adapter.wrap(model)
    assert isinstance(adapter, LoRA | PeftTinyLoRA)
    return adapter


def _refuse_unsupported(path: Path, options: Mapping[str, Any]) -> None:
    set_ = [name for name in REFUSED if options.get(name)]
    if options.get("bias", "none") != "none":
        set_.append("bias")
    if options.get("init_lora_weights", True) not in PLAIN_STARTS:
        set_.append("init_lora_weights")
    if set_:
        raise AdapterFileError(f"{path}: uses {', '.join(set_)}, which adapters here have no counterpart of")


def _layer_names(path: Path, tensors: Mapping[str, Tensor], model: nn.Module, endings: tuple[str, ...]) -> list[str]:
    """The layers that the file is about, by their names in `model` and in its order."""
    prefix = bare_prefix(model)
    found = {
        prefix + key.removeprefix(PEFT_PREFIX).removesuffix(ending)
        for key in tensors
        for ending in endings
        if key.endswith(ending)
    }
    layers = linear_layers(model)
    unknown = sorted(found - layers.keys())
    if unknown or not found:
        what = f"{unknown[0]!r} is no linear layer of" if unknown else "holds nothing for"
        raise AdapterFileError(f"{path}: {what} {type(model).__name__}; it has {', '.join(list(layers)[:8])}, ...")
    return [name for name in layers if name in found]


def _add_projections(saved: SavedPeft, config: PeftTinyLoRAConfig, names: Sequence[str], model: nn.Module) -> None:
    """Draw the projections that a file without them leaves to the seed."""
    if any(key.endswith(".tinylora_P") for key in saved.tensors):
        return
    prefix = bare_prefix(model)
    for number, name in enumerate(names):
        r = min(config.r, *weight_matrix(model.get_submodule(name)).shape)
        key = f"{PEFT_PREFIX}{name.removeprefix(prefix)}.tinylora_P"
        saved.tensors[key] = projections("normal", u=config.u, r=r, seed=config.seed, layer=number)


def _our_tinylora(saved: SavedPeft, theirs: PeftTinyLoRAConfig, names: Sequence[str], model: nn.Module) -> TinyLoRA:
    weights = {name: weight_matrix(model.get_submodule(name)) for name in names}
    twin = PeftTinyLoRA(theirs)
    twin._prefix = bare_prefix(model)
    saved.check_tensors(twin._file_shapes({name: (w.shape[0], w.shape[1]) for name, w in weights.items()}))
    if theirs.dropout:
        warnings.warn(f"dropout {theirs.dropout} is left out: `tinylora` has none", AdapterNotice, stacklevel=3)
    config = TinyLoRAConfig(
        r=theirs.r,
        u=theirs.u,
        tying="peft",
        weight_tying=theirs.weight_tying,
        sigma="sqrt",
        seed=theirs.seed,
        target_modules=theirs.target_modules,
        save_frames=True,
    )
    records: list[ModuleRecord] = []
    frozen: dict[str, Tensor] = {}
    for name, weight in weights.items():
        parts = {part: saved.tensors[f"{twin._key(name)}.tinylora_{part}"].float() for part in ("A", "B", "P")}
        frozen |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
        records.append(frame_record(name, weight, (parts["A"], parts["B"]), parts["P"]))
    values = {
        f"v.{key.removeprefix(V_PREFIX)}": v.float() for key, v in saved.tensors.items() if key.startswith(V_PREFIX)
    }
    adapter = TinyLoRA.from_saved(SavedAdapter(saved.directory, records, values, frozen), config)
    adapter.wrap(model)
    return adapter
