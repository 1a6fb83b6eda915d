"""A nested state and its two files: a JSON tree, and one safetensors file for the tensors in it.

Dicts (keyed by text or integers, as an optimizer's state is), lists, tuples, numbers, text, torch tensors and numpy
arrays of any numeric type go in and come back as the same types, with the same bits. Torch is imported only if there is
a torch tensor to load; to find one when saving, its module is there already.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratch_cli.durable import refusals_of_the_disk
from scratch_cli.errors import RunFailed

if TYPE_CHECKING:
    import numpy as np
    import torch


STATE, TENSORS = "state.json", "tensors.safetensors"


class BadTree(ValueError):
    """A tree or tensor file that `encode` and `save_tensors` did not write."""


class Arrays:
    """The tensors met on the way down, by name; the same object met twice (tied weights) is stored once."""

    def __init__(self) -> None:
        self.by_name: dict[str, tuple[str, Any]] = {}
        self._names: dict[int, str] = {}

    def add(self, kind: str, value: Any) -> str:
        name = self._names.setdefault(id(value), str(len(self._names)))
        self.by_name[name] = (kind, value)  # holds the object, so that its id stays its own
        return name


def encode(value: Any, place: str, arrays: Arrays) -> Any:
    """Replace every tensor below `value` by a reference and collect it in `arrays`."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: encode(item, f"{place}.{key}", arrays) for key, item in value.items()}
        for key in value:  # an optimizer's state is keyed by integers, which JSON would turn into text
            if type(key) not in (int, str):
                raise RunFailed(f"state at {place}: keys must be str or int, got {type(key).__name__}")
        return {"$dict": [[key, encode(item, f"{place}.{key}", arrays)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [encode(item, f"{place}[{i}]", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise RunFailed(f"state at {place}: only dense tensors can be stored, got {value.layout}")
        kind = "torch"
    elif numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind in "biufc":
        kind = "numpy"
    elif numpy is not None and isinstance(value, numpy.generic) and value.dtype.kind in "biufc":
        kind, value = "numpy-scalar", numpy.asarray(value)
    else:
        raise RunFailed(
            f"state at {place}: {type(value).__name__} cannot be stored; "
            "state_dict() must hold dicts, lists, numbers, text, tensors or arrays"
        )
    return {"$tensor": arrays.add(kind, value), "kind": kind, **_raw_dtype(kind, value)}


def _raw_dtype(kind: str, value: Any) -> dict[str, Any]:
    """Types that safetensors has no name for are stored as bytes, with type and shape in the tree."""
    name = str(value.dtype).removeprefix("torch.")
    if name in _NATIVE[kind == "torch"]:
        return {}
    return {"dtype": name, "shape": list(value.shape)}


_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NUMPY_NATIVE = {"bool", "float16", "float32", "float64", "complex64", *_INTEGERS}
_NATIVE = {False: _NUMPY_NATIVE, True: _NUMPY_NATIVE | {"bfloat16", "float8_e4m3fn", "float8_e5m2"}}


def decode(value: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return _decode_tensor(value, tensors)
    if "$float" in value:
        if value["$float"] not in ("nan", "inf", "-inf"):
            raise BadTree(f"{STATE}: no number: {value['$float']!r}")
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(decode(value["$tuple"], tensors))
    if "$dict" in value:
        return {key: decode(item, tensors) for key, item in value["$dict"]}
    return {key: decode(item, tensors) for key, item in value.items()}


def _decode_tensor(value: Mapping[str, Any], tensors: Mapping[str, Any]) -> Any:
    name, kind = value["$tensor"], value.get("kind")
    if name not in tensors:
        raise BadTree(f"{TENSORS}: tensor {name!r} of {STATE} is not in it")
    array = tensors[name]
    if kind == "torch":
        import torch

        if "dtype" in value:
            dtype = getattr(torch, str(value["dtype"]), None)
            if not isinstance(dtype, torch.dtype):
                raise BadTree(f"{STATE}: unknown tensor type {value['dtype']!r}")
            array = array.view(dtype).reshape(value["shape"])
        return array
    import numpy

    if not isinstance(array, numpy.ndarray):
        array = array.numpy()
    if "dtype" in value:
        np_dtype = numpy.dtype(str(value["dtype"]))
        if np_dtype.kind not in "biufc":
            raise BadTree(f"{STATE}: unknown array type {value['dtype']!r}")
        array = array.view(np_dtype).reshape(value["shape"])
    return array[()] if kind == "numpy-scalar" else array


def _plain_numpy(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy

    array = numpy.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes scalars 1-d
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if str(array.dtype) in _NUMPY_NATIVE:
        return array.view(str(array.dtype))  # C's long long is int64 by another name, unknown to torch
    return array.reshape(-1).view(numpy.uint8)


def _plain_torch(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    tensor = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if str(tensor.dtype).removeprefix("torch.") not in _NATIVE[True]:
        return tensor.reshape(-1).view(torch.uint8).clone()
    # safetensors refuses tensors that share memory, and views would drag their whole storage along
    return tensor.clone()


def save_tensors(arrays: Mapping[str, tuple[str, Any]], path: Path) -> None:
    """Write one safetensors file. Raises OSError, as Python's own writing does, if the disk is full."""
    with refusals_of_the_disk(path):
        if any(kind == "torch" for kind, _ in arrays.values()):
            import torch
            from safetensors.torch import save_file

            save_file(
                {
                    name: _plain_torch(value) if kind == "torch" else torch.from_numpy(_plain_numpy(value).copy())
                    for name, (kind, value) in arrays.items()
                },
                path,
            )
        else:
            from safetensors.numpy import save_file as save_numpy

            save_numpy({name: _plain_numpy(value) for name, (_, value) in arrays.items()}, path)


def load_tensors(path: Path, *, with_torch: bool) -> Mapping[str, Any]:
    """Read one safetensors file whose hash has been verified."""
    from safetensors import SafetensorError

    try:
        if with_torch:
            from safetensors.torch import load_file

            return dict(load_file(path))
        from safetensors.numpy import load_file as load_numpy

        return dict(load_numpy(path))
    except SafetensorError as error:
        raise BadTree(f"{TENSORS}: {error}") from None
