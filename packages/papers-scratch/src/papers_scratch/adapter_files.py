"""A saved adapter of ours: a few numbers, and enough to refuse them where they would mean something else.

`adapter.json` holds the method, the options and, for each adapted layer in order, its shape, the SHA-256 of its weight
and of its fixed projections, and a fingerprint of its singular directions. `adapter.safetensors` holds the trained
numbers, and with `save_frames` the frames and projections too. No pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from papers_scratch.errors import AdapterFileError
from papers_scratch.fingerprint import file_sha256
from papers_scratch.whole_files import replace_files

JSON_FILE = "adapter.json"
TENSOR_FILE = "adapter.safetensors"
FORMAT = 1
LONGEST_HEADER = 100 * 2**20
VALUES, FROZEN = "trained/", "frozen/"  # key prefixes in TENSOR_FILE


@dataclass(frozen=True, kw_only=True)
class ModuleRecord:
    """What must be the same for the numbers to mean the same."""

    name: str
    shape: tuple[int, int]
    """(out, in)."""
    r: int
    weight_sha256: str
    frame: list[float]
    """`singular.fingerprint` of A and B."""
    projections_sha256: str


class SavedAdapter:
    """A saved adapter that has not met its model yet."""

    def __init__(
        self, directory: Path, records: Sequence[ModuleRecord], values: dict[str, Tensor], frozen: dict[str, Tensor]
    ) -> None:
        self.directory, self.values, self._frozen = directory, values, frozen
        self.records = {record.name: record for record in records}

    def record(self, name: str) -> ModuleRecord:
        return self.records[name]

    def frame(self, name: str) -> tuple[Tensor, Tensor] | None:
        """A and B of a layer if the file has them; AdapterFileError if it has one, or they are of another shape."""
        a, b = (self._frozen.get(f"{name}.{part}") for part in "AB")
        if a is None and b is None:
            return None
        (out_features, in_features), r = self.records[name].shape, self.records[name].r
        for part, tensor, shape in (("A", a, (r, in_features)), ("B", b, (out_features, r))):
            found = "missing" if tensor is None else tuple(tensor.shape)
            if found != shape:
                raise AdapterFileError(
                    f"{self.directory / TENSOR_FILE}: {name}: frame {part} has shape {found}, expected {shape}"
                )
        return None if a is None or b is None else (a, b)

    def projections(self, name: str) -> Tensor | None:
        return self._frozen.get(f"{name}.P")

    def check_modules(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """The model's layers to adapt are those of the file, in any order."""
        found = {name: record.shape for name, record in self.records.items()}
        wrong = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
        if wrong:
            name = wrong[0]
            raise AdapterFileError(
                f"{self.directory}: {len(wrong)} layers do not fit the model, first {name!r}: shape "
                f"{found.get(name, 'missing')} in the file, {shapes.get(name, 'none')} in the model"
            )

    def check_values(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """The trained numbers are those that the adapter has a place for."""
        found = {key: tuple(tensor.shape) for key, tensor in self.values.items()}
        wrong = sorted(key for key in shapes.keys() | found.keys() if shapes.get(key) != found.get(key))
        if wrong:
            key = wrong[0]
            raise AdapterFileError(
                f"{self.directory / TENSOR_FILE}: {key!r} has shape {found.get(key, 'missing')}, expected "
                f"{shapes.get(key, 'none')}"
            )

    def check_weight(self, name: str, sha256: str) -> None:
        expected = self.records[name].weight_sha256
        if sha256 != expected:
            raise AdapterFileError(
                f"{self.directory}: {name}: trained on a weight with SHA-256 {expected[:16]}..., but this model's has "
                f"{sha256[:16]}...; wrap the model that it was trained on"
            )


def write_adapter(
    directory: Path,
    *,
    method: str,
    config: Any,
    records: Sequence[ModuleRecord],
    values: Mapping[str, Tensor],
    frozen: Mapping[str, Tensor],
) -> None:
    """Write both files, or, if that fails, neither: a saved adapter that was there stays as it was."""
    tensors = {VALUES + key: value for key, value in values.items()}
    tensors |= {FROZEN + key: value for key, value in frozen.items()}
    plain = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}

    def save(folder: Path) -> None:
        safetensors.torch.save_file(plain, folder / TENSOR_FILE)
        description = {
            "format": FORMAT,
            "adapter": method,
            "config": asdict(config),
            "modules": [asdict(record) for record in records],
            "adapter_sha256": file_sha256(folder / TENSOR_FILE),
        }
        text = json.dumps(description, indent=1) + "\n"
        (folder / JSON_FILE).write_text(text, encoding="utf-8", newline="\n")

    replace_files(directory, save)


def read_adapter(directory: Path, *, method: str, config_class: type[Any]) -> tuple[SavedAdapter, Any]:
    """What `write_adapter` wrote. Raises AdapterFileError naming the file and what is wrong with it."""
    for name in (JSON_FILE, TENSOR_FILE):
        if not (directory / name).is_file():
            raise AdapterFileError(f"{directory / name}: not there, so this is no saved {method} adapter")
    path = directory / JSON_FILE
    if path.stat().st_size > LONGEST_HEADER:
        raise AdapterFileError(f"{path}: larger than {LONGEST_HEADER // 2**20} MB, which no adapter's description is")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["adapter"] != method:
            raise AdapterFileError(f"{path}: holds a {description['adapter']} adapter, not {method}")
        if description["format"] != FORMAT:
            raise AdapterFileError(f"{path}: format {description['format']}, but this version reads {FORMAT}")
        options = dict(description["config"])
        known = {field.name for field in fields(config_class)}
        config = config_class(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        )
        if options.keys() != known:
            raise ValueError(f"options {sorted(options.keys() ^ known)}")
        records = [ModuleRecord(**{**record, "shape": tuple(record["shape"])}) for record in description["modules"]]
        sha256 = str(description["adapter_sha256"])
        if not all(math.isfinite(number) for record in records for number in record.frame):
            raise AdapterFileError(f"{path}: damaged: a fingerprint is not finite")
    except AdapterFileError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise AdapterFileError(f"{path}: damaged, or of another version: {error}") from error
    path = directory / TENSOR_FILE
    found = file_sha256(path)
    if found != sha256:
        raise AdapterFileError(
            f"{path}: damaged: SHA-256 {found}, but {sha256} was written; take another copy of the directory"
        )
    try:
        tensors = safetensors.torch.load_file(path, device="cpu")
    except SafetensorError as error:
        raise AdapterFileError(f"{path}: not a safetensors file: {error}") from error
    odd = [f"{key!r} ({tensor.dtype})" for key, tensor in tensors.items() if not tensor.is_floating_point()]
    if odd:
        raise AdapterFileError(f"{path}: holds {odd[0]}, expected floating-point numbers")
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise AdapterFileError(f"{path}: infinite or NaN values in {broken[0]!r}")
    values = {key.removeprefix(VALUES): t for key, t in tensors.items() if key.startswith(VALUES)}
    frozen = {key.removeprefix(FROZEN): t for key, t in tensors.items() if key.startswith(FROZEN)}
    return SavedAdapter(directory, records, values, frozen), config
