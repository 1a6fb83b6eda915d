"""Decorators for kernels, and what is said while they are compiled.

Importing a kernel imports no numba. When an `entry` is first called, it looks for machine code on disk, and only if
there is none, numba compiles the function with all it calls (`machine_code.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from importlib import import_module
from threading import Lock
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tokenizers_scratch.kernels.disk import say_compiled

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.machine_code import MachineCode

Function = TypeVar("Function", bound=Callable[..., Any])

PARTS: dict[Callable[..., Any], Callable[[], Any]] = {}
"""What kernels call, by the Python function, and how numba makes it callable for them."""

_LOADING = Lock()
_PACKAGE = __name__.rpartition(".")[0]

# Without numba's reference counts ("_nrt") a kernel allocates nothing, and pays nothing to pass an array on: that alone
# makes splitting eight times faster. All arrays come from Python, which also makes them larger.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


class _Entry:
    """A kernel that Python calls, with arguments of the same types every time."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self._code: MachineCode | None = None
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        if self._code is None:
            with _LOADING:
                if self._code is None:
                    from tokenizers_scratch.kernels.machine_code import load_or_compile

                    self._code = load_or_compile(self.function, arguments, _for_numba)
        return self._code(arguments)


def entry(function: Function) -> Function:
    """A kernel that Python calls: with arrays, integers, floats and tuples of them, for an integer, a float or None."""
    return cast("Function", _Entry(cast("FunctionType", function)))


def part(function: Function) -> Function:
    """A kernel that other kernels call."""
    PARTS[function] = lambda: _njit(function)
    return function


def inlined(function: Function) -> Function:
    """A kernel that is compiled into those that call it: for what runs once a word or a pair."""
    PARTS[function] = lambda: _njit(function, forceinline=True)
    return function


def instruction(function: Function) -> Function:
    """What `intrinsics.py` has under the same name, for kernels to call."""
    PARTS[function] = lambda: getattr(import_module(f"{_PACKAGE}.intrinsics"), function.__name__)
    return function


def _njit(function: Callable[..., Any], **options: Any) -> Any:
    import numba

    return numba.njit(**_OPTIONS, **options)(function)


def _for_numba(function: FunctionType) -> Any:
    """The function as numba compiles it. What it calls is first replaced, in all modules, by what numba can call."""
    announce()
    made = {python: make() for python, make in PARTS.items()}
    PARTS.clear()
    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGE):
            for key, value in list(vars(module).items()):
                if isinstance(value, FunctionType) and value in made:
                    setattr(module, key, made[value])
    return _njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


_what = ["a kernel"]
_announced: set[str] = set()


@contextmanager
def compilation(name: str, what: str) -> Iterator[None]:
    """Around the first calls of kernels: what to call them if they have to be compiled; remembers that they are now."""
    _what.append(what)
    try:
        yield
    finally:
        _what.pop()
    say_compiled(name)


def announce() -> None:
    """One line, before kernels are compiled: it takes seconds."""
    what = _what[-1]
    if what not in _announced:
        _announced.add(what)
        print(f"tokenizers-scratch: compiling {what}, once for this machine ...", file=sys.stderr, flush=True)
