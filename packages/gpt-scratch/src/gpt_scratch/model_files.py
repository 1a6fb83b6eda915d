"""A model as two files: config.json and model.safetensors. No pickle.

config.json holds one object, `scratch`, with everything needed to build the model again: its name, its configuration,
the size of its vocabulary and the SHA-256 of the weights. A GPT whose function GPT-2 can express, which needs biases,
gets in addition the fields that transformers reads, so that `GPT2LMHeadModel.from_pretrained(directory)` opens the same
directory. For that the tensors have GPT-2's names and layout: the prefix `transformer.`, and the four matrices of a
block stored as (in, out). A tied head is not stored.

Reading is strict: whatever is missing, extra, of another shape or not what `save_module` would have written is refused
with a `ModelFileError` that names it, before memory for the weights is set aside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from gpt_scratch.config import BigramConfig, GPTConfig
from gpt_scratch.errors import ModelFileError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1
MAX_CONFIG_BYTES = 1_000_000
MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 100_000
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # GPT-2 keeps these as (in, out)
JSON_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}

Config = GPTConfig | BigramConfig


class Saveable(Protocol):
    """What is needed of a module to save it."""

    @property
    def config(self) -> Config: ...
    @property
    def vocab_size(self) -> int: ...
    def state_dict(self) -> dict[str, Any]: ...


M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", GPTConfig, BigramConfig)


def describe(config: Config, vocab_size: int, sha256: str) -> dict[str, Any]:
    """The whole of config.json."""
    own = {
        "scratch": {
            "format": FORMAT,
            "model": "gpt" if isinstance(config, GPTConfig) else "bigram",
            "vocab_size": vocab_size,
            "config": asdict(config),
            "sha256": sha256,
        }
    }
    if not (isinstance(config, GPTConfig) and config.bias):
        return own
    return own | {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocab_size,
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "tie_word_embeddings": config.tie_weights,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def save_module(module: Saveable, directory: Path) -> None:
    """Write both files into `directory`, made if missing. The configuration, with the hash, comes last."""
    config = module.config
    tensors = {}
    for name, tensor in module.state_dict().items():
        if name == "lm_head.weight" and isinstance(config, GPTConfig) and config.tie_weights:
            continue
        tensors[_stored_name(name)] = _flip(name, tensor.detach()).contiguous()
    data = save_tensors(tensors, metadata={"format": "pt"})
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / WEIGHTS).write_bytes(data)
    document = describe(config, module.vocab_size, hashlib.sha256(data).hexdigest())
    (directory / CONFIG).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load_module(cls: type[M], config_cls: type[C], directory: Path) -> M:
    """Build `cls(config, vocab_size=...)` from what `save_module` wrote. Draws no random numbers."""
    directory = Path(directory)
    config, vocab_size, sha256 = _read_config(directory / CONFIG, config_cls)
    path = directory / WEIGHTS
    data = _read_bytes(path)
    stored = _read_header(path, data)
    n_layer = getattr(config, "n_layer", 0)
    if n_layer > len(stored):
        raise ModelFileError(f"{path}: {len(stored)} tensors cannot hold the {n_layer} layers that {CONFIG} says")

    try:
        with torch.device("meta"):
            module: Any = cls(config, vocab_size=vocab_size)  # shapes without memory
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(f"{directory / CONFIG}: no model has these sizes: {error}") from error
    shapes = {name: tuple(_flip(name, tensor).shape) for name, tensor in module.state_dict().items()}
    if getattr(config, "tie_weights", False):
        del shapes["lm_head.weight"]
    _check_tensors(path, stored, {_stored_name(name): shape for name, shape in shapes.items()})
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelFileError(f"{path}: SHA-256 is {found}, but {CONFIG} says {sha256}: the file is damaged or foreign")

    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise ModelFileError(f"{path}: {error}") from error
    # Copies, because what safetensors returns may share the bytes of the file.
    state = {
        name: _flip(name, tensors[_stored_name(name)]).clone(memory_format=torch.contiguous_format) for name in shapes
    }
    module.load_state_dict(state, strict=False, assign=True)
    if isinstance(config, GPTConfig):
        module._tie_weights()
    result: M = module
    return result


def _stored_name(name: str) -> str:
    return name if name.startswith(("lm_head.", "table.")) else f"transformer.{name}"


def _flip(name: str, tensor: Tensor) -> Tensor:
    return tensor.t() if name.endswith(TRANSPOSED) else tensor


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(
            f"{path}: no such file; a saved model is a directory with {CONFIG} and {WEIGHTS}"
        ) from None
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}") from error


def _read_config(path: Path, config_cls: type[C]) -> tuple[C, int, str]:
    data = _read_bytes(path)
    if len(data) > MAX_CONFIG_BYTES:
        raise ModelFileError(f"{path}: {len(data)} bytes, more than the {MAX_CONFIG_BYTES} that a config may have")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: no JSON: {error}") from error
    own = document.get("scratch") if isinstance(document, dict) else None
    if not isinstance(own, dict):
        raise ModelFileError(f"{path}: has no object `scratch`, so it was not saved by this package")
    name = "gpt" if config_cls is GPTConfig else "bigram"
    _check_keys(path, "scratch", own, {"format", "model", "vocab_size", "config", "sha256"})
    if own["format"] != FORMAT:
        raise ModelFileError(f"{path}: scratch.format is {own['format']!r}, this version reads {FORMAT}")
    if own["model"] != name:
        raise ModelFileError(f"{path}: scratch.model is {own['model']!r}, expected {name!r}")
    vocab_size, sha256, values = own["vocab_size"], own["sha256"], own["config"]
    if type(vocab_size) is not int or vocab_size < 1:
        raise ModelFileError(f"{path}: scratch.vocab_size is {vocab_size!r}, must be a whole number above 0")
    if not isinstance(values, dict):
        raise ModelFileError(f"{path}: scratch.config is {values!r}, must be an object")
    _check_keys(path, "scratch.config", values, {field.name for field in fields(config_cls)})
    for field in fields(config_cls):
        if type(values[field.name]) not in JSON_TYPES[str(field.type)]:
            raise ModelFileError(f"{path}: scratch.config.{field.name} is {values[field.name]!r}, must be {field.type}")
    try:
        config = config_cls(**values)
    except ValueError as error:
        raise ModelFileError(f"{path}: scratch.config.{error}") from error

    # The fields for other readers repeat our own. Where they differ, somebody changed one of the two.
    expected = describe(config, vocab_size, str(sha256))
    _check_keys(path, "", document, set(expected))
    for key, value in expected.items():
        if document[key] != value:
            raise ModelFileError(f"{path}: {key} is {document[key]!r}, but {value!r} follows from `scratch`")
    return config, vocab_size, str(sha256)


def _check_keys(path: Path, where: str, found: Mapping[str, Any], expected: set[str]) -> None:
    prefix = f"{where}." if where else ""
    for key in sorted(found.keys() - expected):
        raise ModelFileError(f"{path}: unknown field {prefix}{key}; ignoring it could change what the model computes")
    for key in sorted(expected - found.keys()):
        raise ModelFileError(f"{path}: field {prefix}{key} is missing")


def _read_header(path: Path, data: bytes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the stored tensors."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > MAX_HEADER_BYTES or size > len(data) - 8:
        raise ModelFileError(f"{path}: {len(data)} bytes with a header of {size} are no safetensors file, or a cut one")
    try:
        header = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path}: the header is damaged: {error!r}") from error
    if len(shapes) > MAX_TENSORS:
        raise ModelFileError(f"{path}: {len(shapes)} tensors, more than the {MAX_TENSORS} that a model may have")
    return shapes


def _check_tensors(path: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name in sorted(expected.keys() - stored.keys()):
        raise ModelFileError(f"{path}: tensor {name} is missing")
    for name in sorted(stored.keys() - expected.keys()):
        raise ModelFileError(f"{path}: tensor {name} is not part of this model")
    for name, shape in expected.items():
        if stored[name] != shape:
            raise ModelFileError(f"{path}: tensor {name} has shape {stored[name]}, but {CONFIG} says {shape}")
