"""How the kernels are compiled: three decorators, and what is said while it takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numba

from tokenizers_scratch.kernels.disk import cache_directory, is_compiled, say_compiled

Function = TypeVar("Function", bound=Callable[..., Any])

_config: Any = numba.config

# Without numba's reference counts ("_nrt") a kernel allocates nothing, and pays nothing to pass an array on: that alone
# makes splitting eight times faster. All arrays come from Python, which also makes them larger.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def entry(function: Function) -> Function:
    """Compile a kernel that Python calls; its machine code, with that of all it calls, is kept on disk."""
    directory = cache_directory()
    before = _config.CACHE_DIR
    try:
        _config.CACHE_DIR = str(directory)  # read when a function is decorated; others' functions keep theirs
        return numba.njit(cache=directory is not None, **_OPTIONS)(function)  # type: ignore[no-any-return]
    finally:
        _config.CACHE_DIR = before


def part(function: Function) -> Function:
    """Compile a kernel that other kernels call."""
    return numba.njit(**_OPTIONS)(function)  # type: ignore[no-any-return]


def inlined(function: Function) -> Function:
    """Compile a kernel into those that call it: for what runs once a word or a pair, where a call costs more."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)  # type: ignore[no-any-return]


@contextmanager
def compilation(name: str, what: str) -> Iterator[None]:
    """Around the first calls of kernels: says so if they have to be compiled, and remembers when they are."""
    if is_compiled(name):
        yield
        return
    print(f"tokenizers-scratch: compiling {what}, once for this machine ...", file=sys.stderr, flush=True)
    yield
    say_compiled(name)
