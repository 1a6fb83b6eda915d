"""Machine code of kernels: made by numba, kept in object files, loaded by llvmlite alone.

Importing numba and preparing it to run what it compiled earlier takes half a second; llvmlite loads the same code in a
hundredth. An object file holds one kernel with all it calls, for one kind of processor and one set of argument types; a
JSON file beside it says which, with a hash of the code.

numba's functions take plain numbers: a place for the result, a place for an exception, then of each array two pointers
that are not used here, its number of items, their size, the address, the shape and the strides (numba's own "numba
architecture" page, and `numba.core.callconv`, `datamodel`). A tuple is what it holds, one after the other. That numba
still has it so is checked for every kernel that is compiled.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numpy as np

from tokenizers_scratch.kernels.disk import cache_directory

Value = TypeVar("Value")

_RESULTS: dict[str, Any] = {"none": ctypes.c_int64, "int64": ctypes.c_int64, "float64": ctypes.c_double}
_NUMBERS = {"i": (ctypes.c_int64, "i64"), "f": (ctypes.c_double, "double")}


class MachineCode:
    """A kernel that is ready to be called; other threads of Python run meanwhile."""

    def __init__(self, address: int, kinds: list[str], result: str, keep: Any) -> None:
        types = [number for kind in kinds for number in _types(kind)]
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *types)
        self._call = prototype(address)
        self._kinds = kinds
        self._result = _RESULTS[result]
        self._has_result = result != "none"
        self._keep = keep

    def __call__(self, arguments: Iterable[Any]) -> Any:
        kinds: list[str] = []
        numbers: list[float] = []
        _flatten(arguments, kinds, numbers)
        if kinds != self._kinds:
            raise TypeError(f"a kernel for {self._kinds} was called with {kinds}")
        result, exception = self._result(), ctypes.c_void_p()
        if self._call(ctypes.addressof(result), ctypes.addressof(exception), *numbers) != 0:
            raise RuntimeError("a kernel failed, which none can")
        return result.value if self._has_result else None


def fixed(value: Value) -> Value:
    """An argument of kernels whose arrays stay where they are, taken apart once: each address takes a microsecond."""
    return cast("Value", _Fixed(value))


class _Fixed:
    def __init__(self, value: Any) -> None:
        self.value = value
        self.kinds: list[str] = []
        self.numbers: list[float] = []
        _flatten((value,), self.kinds, self.numbers)

    def __reduce__(self) -> tuple[type[_Fixed], tuple[Any]]:
        return _Fixed, (self.value,)  # a copy has addresses of its own


def _flatten(arguments: Iterable[Any], kinds: list[str], numbers: list[float]) -> None:
    """What kind each argument is, and the numbers that a kernel takes for it."""
    for value in arguments:
        if isinstance(value, _Fixed):
            kinds += value.kinds
            numbers += value.numbers
        elif isinstance(value, np.ndarray):
            flags = value.flags
            if not (flags.c_contiguous and flags.aligned):
                raise TypeError("a kernel was called with an array that is not contiguous")
            kinds.append(f"{value.dtype.char}{value.ndim}")
            numbers += (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)
        elif isinstance(value, tuple):
            _flatten(value, kinds, numbers)
        elif isinstance(value, bool | np.bool_):
            raise TypeError("a kernel was called with a bool: pass 0 or 1")
        elif isinstance(value, int | np.integer):
            kinds.append("i")
            numbers.append(int(value))
        elif isinstance(value, float):
            kinds.append("f")
            numbers.append(value)
        else:
            raise TypeError(f"a kernel was called with a {type(value).__name__}")


def _types(kind: str) -> list[Any]:
    if kind in _NUMBERS:
        return [_NUMBERS[kind][0]]
    n_dimensions = int(kind[1])
    return [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p] + [ctypes.c_int64] * (2 * n_dimensions)


def load_or_compile(
    function: FunctionType, arguments: tuple[Any, ...], for_numba: Callable[[FunctionType], Any]
) -> MachineCode:
    """The machine code of a kernel, for arguments like these: from disk, or else compiled now and then kept."""
    kinds: list[str] = []
    _flatten(arguments, kinds, [])
    path = _path(function)
    found = _read(path, kinds) if path else None
    if found is None:
        found = _compile(function, arguments, kinds, for_numba)
        if path:
            _write(path, *found)
    return _load(*found)


def _path(function: FunctionType) -> Path | None:
    directory = cache_directory()
    if directory is None:
        return None
    try:
        processor = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    except RuntimeError:  # LLVM does not know the features of every processor
        processor = llvm.get_host_cpu_name()
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
    return directory / f"{name}-{hashlib.sha256(processor.encode()).hexdigest()[:12]}.json"


def _read(path: Path, kinds: list[str]) -> tuple[dict[str, Any], bytes] | None:
    """What `_write` wrote; None if that is not there, not whole, for other types, or needs what is not there."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        code = path.with_suffix(".o").read_bytes()
    except (OSError, ValueError):
        return None
    if not isinstance(about, dict) or about.get("kinds") != kinds:
        return None
    if about.get("sha256") != hashlib.sha256(code).hexdigest():
        return None
    return (about, code) if all(llvm.address_of_symbol(name) is not None for name in about["needs"]) else None


def _write(path: Path, about: dict[str, Any], code: bytes) -> None:
    for target, content in ((path.with_suffix(".o"), code), (path, json.dumps(about, indent=1).encode())):
        unfinished = target.with_suffix(f"{target.suffix}.{os.getpid()}")
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, target)
        except OSError:
            unfinished.unlink(missing_ok=True)
            return


def _compile(
    function: FunctionType, arguments: tuple[Any, ...], kinds: list[str], for_numba: Callable[[FunctionType], Any]
) -> tuple[dict[str, Any], bytes]:
    import numba

    dispatcher = for_numba(function)
    values = (argument.value if isinstance(argument, _Fixed) else argument for argument in arguments)
    dispatcher.compile(tuple(map(numba.typeof, values)))
    [compiled] = dispatcher.overloads.values()
    symbol, library = compiled.fndesc.llvm_func_name, compiled.library
    module = llvm.parse_assembly(library.get_llvm_str())
    expected = ["ptr", "ptr", *(word for kind in kinds for word in _words(kind))]
    found = [str(argument.type) for argument in module.get_function(symbol).arguments]
    if found != expected:
        raise NotImplementedError(f"this numba passes arguments in another way: {found} instead of {expected}")
    needs = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    about = {"symbol": symbol, "kinds": kinds, "result": str(compiled.signature.return_type), "needs": needs}
    code = library._get_compiled_object()
    return about | {"sha256": hashlib.sha256(code).hexdigest()}, code


def _words(kind: str) -> list[str]:
    if kind in _NUMBERS:
        return [_NUMBERS[kind][1]]
    return ["ptr", "ptr", "i64", "i64", "ptr", *["i64"] * (2 * int(kind[1]))]


def _load(about: dict[str, Any], code: bytes) -> MachineCode:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return MachineCode(engine.get_function_address(about["symbol"]), about["kinds"], about["result"], engine)
