"""Saved files that are whole: after a crash there is the old set of files or the new, or a mixture that is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def replace_files(directory: Path, save: Callable[[Path], None]) -> None:
    """Let `save` fill a folder inside `directory`, which is made if missing, and put its files in the place of theirs.

    If `save` raises, or the disk refuses, `directory` keeps what it had. Files take their place one by one, after all
    of them are on the disk: who reads them tells by the hash in one whether it belongs to the others.
    """
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = directory / f".tmp-{os.getpid()}"
    unfinished.mkdir(exist_ok=True)
    try:
        save(unfinished)
        files = sorted(unfinished.iterdir())
        for file in files:
            _sync(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # Windows syncs only what may be written to
        for file in files:
            os.replace(file, directory / file.name)
    finally:
        for file in unfinished.iterdir():
            file.unlink()
        unfinished.rmdir()
    if os.name != "nt":  # which opens no directories, and does not need it
        _sync(directory, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    """Return only when what is at `path` is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
