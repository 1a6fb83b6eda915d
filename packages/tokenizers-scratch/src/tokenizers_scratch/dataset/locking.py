"""One writer a folder: a lock that the system takes back when its holder dies, so that a kill leaves none behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tokenizers_scratch.dataset.manifest import DatasetError

LOCK = "writing.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that exists. Raises DatasetError if another process or thread holds it."""
    path = folder / LOCK
    file = _opened(folder, path)
    try:
        yield
    finally:
        with suppress(OSError):  # some systems do not remove what is open; the lock is the system's, not the file
            path.unlink()
        os.close(file)


def _opened(folder: Path, path: Path) -> int:
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DatasetError(path, error.strerror or str(error)) from None
        try:
            if not _try_to_lock(file):
                raise DatasetError(folder, "is being written by another process")
            if os.path.exists(path) and os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # whoever held it has removed it in the meantime: it is a lock on nothing


if sys.platform == "win32":
    import msvcrt

    def _try_to_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_to_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
