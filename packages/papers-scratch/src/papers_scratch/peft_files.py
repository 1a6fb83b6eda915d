"""The files of an adapter by PEFT: two that PEFT reads, and one of ours that says which base model they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from papers_scratch.errors import AdapterFileError
from papers_scratch.fingerprint import file_sha256
from papers_scratch.whole_files import replace_files

CONFIG_FILE = "adapter_config.json"  # PEFT's
WEIGHTS_FILE = "adapter_model.safetensors"  # PEFT's
BASE_FILE = "scratch_adapter.json"  # ours: options, hash of the base weights, hash of WEIGHTS_FILE
LONGEST_JSON = 100 * 2**20


class SavedPeft:
    """A saved adapter that has not met its model yet."""

    def __init__(self, directory: Path, tensors: dict[str, Tensor], base_sha256: str) -> None:
        self.directory, self.tensors, self.base_sha256 = directory, tensors, base_sha256

    def check_base(self, model: nn.Module, base_sha256: str) -> None:
        if base_sha256 != self.base_sha256:
            raise AdapterFileError(
                f"{self.directory}: trained on base weights with SHA-256 {self.base_sha256}, but this "
                f"{type(model).__name__} has {base_sha256}; wrap the model that it was trained on"
            )

    def check_tensors(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        found = {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}
        wrong = sorted(key for key in shapes.keys() | found.keys() if shapes.get(key) != found.get(key))
        if wrong:
            key = wrong[0]
            raise AdapterFileError(
                f"{self.directory / WEIGHTS_FILE}: {len(wrong)} tensors do not fit the model, first {key!r}: "
                f"shape {found.get(key, 'missing')}, expected {shapes.get(key, 'none')}"
            )


def write_folder(directory: Path, tensors: Mapping[str, Tensor], peft_config: Any) -> None:
    """Write PEFT's two files, or, if that fails, neither."""
    replace_files(directory, partial(_save_for_peft, tensors=tensors, peft_config=peft_config))


def write_saved(
    directory: Path, *, method: str, config: Any, peft_config: Any, tensors: Mapping[str, Tensor], base_sha256: str
) -> None:
    """Write all three files, or, if that fails, none: a saved adapter that was there stays as it was."""

    def save(folder: Path) -> None:
        _save_for_peft(folder, tensors, peft_config)
        description = {
            "adapter": method,
            "config": asdict(config),
            "base_weights_sha256": base_sha256,
            "adapter_sha256": file_sha256(folder / WEIGHTS_FILE),
        }
        text = json.dumps(description, indent=2) + "\n"
        (folder / BASE_FILE).write_text(text, encoding="utf-8", newline="\n")

    replace_files(directory, save)


def _save_for_peft(folder: Path, tensors: Mapping[str, Tensor], peft_config: Any) -> None:
    plain = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    safetensors.torch.save_file(plain, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    peft_config.save_pretrained(str(folder))


def read_saved(directory: Path, *, method: str, config_class: type[Any]) -> tuple[SavedPeft, Any]:
    """What `write_saved` wrote. Raises AdapterFileError naming the file and what is wrong with it."""
    for name in (BASE_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise AdapterFileError(f"{directory / name}: not found; a directory that a {method} adapter wrote has it")
    path = directory / BASE_FILE
    description = read_json(path)
    try:
        if description["adapter"] != method:
            raise AdapterFileError(f"{path}: holds a {description['adapter']} adapter, not {method}")
        options = dict(description["config"])
        config = config_class(**{**options, "target_modules": tuple(options["target_modules"])})
        base_sha256, adapter_sha256 = str(description["base_weights_sha256"]), str(description["adapter_sha256"])
    except AdapterFileError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise AdapterFileError(f"{path}: damaged, or of another version: {error}") from error
    found = file_sha256(directory / WEIGHTS_FILE)
    if found != adapter_sha256:
        raise AdapterFileError(
            f"{directory / WEIGHTS_FILE}: damaged: SHA-256 {found}, but {adapter_sha256} was written; "
            "take another copy of the directory"
        )
    return SavedPeft(directory, read_tensors(directory), base_sha256), config


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file. AdapterFileError if it is not there, damaged, or larger than any such file is."""
    if not path.is_file():
        raise AdapterFileError(f"{path}: not found")
    if path.stat().st_size > LONGEST_JSON:
        raise AdapterFileError(f"{path}: larger than {LONGEST_JSON // 2**20} MB, which no adapter's description is")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise AdapterFileError(f"{path}: damaged, or of another version: {error}") from error
    if not isinstance(found, dict):
        raise AdapterFileError(f"{path}: damaged, or of another version: holds no object")
    return found


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """All tensors of WEIGHTS_FILE, finite floating-point numbers. Reads no pickle."""
    path = directory / WEIGHTS_FILE
    if not path.is_file():
        raise AdapterFileError(f"{path}: not found")
    try:
        tensors = safetensors.torch.load_file(path, device="cpu")
    except SafetensorError as error:
        raise AdapterFileError(f"{path}: not a safetensors file: {error}") from error
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise AdapterFileError(f"{path}: {key!r} holds {tensor.dtype}, expected floating-point numbers")
        if not torch.isfinite(tensor).all():
            raise AdapterFileError(f"{path}: infinite or NaN values in {key!r}")
    return tensors
