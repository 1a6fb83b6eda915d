"""Where the machine code of the kernels is kept.

The first of these folders that can be written to is used: `NUMBA_CACHE_DIR` if that is set, else `__pycache__` beside
this file, else the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`, `%LOCALAPPDATA%`).
Without any, every process compiles anew. Within it, the name of a folder is a hash of the sources of all kernels and of
the versions of what compiles them, so an edit or an update never meets old code.

What lies there is run as it is, like the `.pyc` and `.so` files of any package; no folder that others write to is used.
Imports neither numba nor numpy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def cache_directory() -> Path | None:
    """The folder for exactly these kernels, made if need be; None if there can be none."""
    for parent in _parents():
        directory = parent / f"tokenizers-scratch-{_fingerprint()}"
        probe = directory / f"probe-{os.getpid()}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError:
            continue
        return directory
    return None


def is_compiled(name: str) -> bool:
    """Whether the kernels of this name have been compiled, by this machine or one that shares the folder."""
    directory = cache_directory()
    return directory is not None and (directory / f"{name}-compiled").exists()


def say_compiled(name: str) -> None:
    """Remember that."""
    directory = cache_directory()
    if directory is not None:
        try:
            (directory / f"{name}-compiled").touch()
        except OSError:
            return  # then small jobs keep to plain Python


def _parents() -> Iterator[Path]:
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        yield Path(chosen)
    yield Path(__file__).parent / "__pycache__"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        user = Path(local) if local else Path("~/AppData/Local")
    elif sys.platform == "darwin":
        user = Path("~/Library/Caches")
    else:
        user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        yield user.expanduser()
    except RuntimeError:  # there is no home
        return


def _fingerprint() -> str:
    import hashlib  # these three take longer than all of this package, which seldom needs them
    import platform
    from importlib.metadata import version

    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    versions = [version(name) for name in ("numba", "llvmlite", "numpy", "regex")]
    digest.update("\0".join((sys.version, platform.machine(), *versions)).encode())
    return digest.hexdigest()[:16]
