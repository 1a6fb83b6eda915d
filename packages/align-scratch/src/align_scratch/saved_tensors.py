"""Two files that belong together: JSON that says what something is, and safetensors with its numbers. No pickle.

The JSON holds the hash of the other, so that files of two runs cannot be mixed unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from align_scratch.errors import DataError

FOLDER = "trainer"  # where a run keeps the files of its trainer
FORMAT = 1
_LARGEST_ABOUT = 2**20  # bytes


def write(about_path: Path, weights_path: Path, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors`, and `about` with the format and their hash."""
    about_path.parent.mkdir(parents=True, exist_ok=True)
    weights = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    whole = {"format": FORMAT, **about, "weights": sha256(weights).hexdigest()}
    weights_path.write_bytes(weights)
    about_path.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_about(path: Path, what: str) -> dict[str, Any]:
    """Raises DataError if it is damaged or of another format; `what` it should describe stands in the message."""
    try:
        raw = path.read_bytes()
        if len(raw) > _LARGEST_ABOUT:
            raise ValueError(f"{len(raw)} bytes are too many")
        about = json.loads(raw)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise DataError(f"{path}: describes no {what} of format {FORMAT}")
    return about


def read_into(places: Mapping[str, Tensor], path: Path, about: Mapping[str, Any]) -> None:
    """Copy what `write` wrote into tensors of these names and shapes; none is touched unless all fit.

    Raises DataError, naming the file, if it is not the one that `about` belongs to or does not fit.
    """
    try:
        raw = path.read_bytes()
        if sha256(raw).hexdigest() != about.get("weights"):
            raise ValueError("its content is not what was saved")
        found = load_tensors(raw)
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{path}: not readable: {error}") from None
    if found.keys() != places.keys():
        odd = sorted(found.keys() ^ places.keys())
        raise DataError(f"{path}: has other tensors than such a model: {', '.join(odd[:3])}")
    for name, tensor in found.items():
        if tensor.shape != places[name].shape or tensor.is_floating_point() != places[name].is_floating_point():
            raise DataError(
                f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, must be {tuple(places[name].shape)}"
            )
        if not bool(tensor.isfinite().all()):
            raise DataError(f"{path}: {name} has numbers that are not finite")
    with torch.no_grad():
        for name, tensor in found.items():
            places[name].copy_(tensor)
