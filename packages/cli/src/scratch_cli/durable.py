"""Files that are whole or absent: hashes, syncing to the disk, and replacing a file or a directory at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from scratch_cli.errors import CheckpointError

_TEMPORARY = ".tmp-"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def directory_hash(directory: Path) -> str:
    """SHA-256 over the names and contents of all files below `directory`, in hex.

    Raises OSError if a file cannot be read; CheckpointError for a link, which could lead out of the directory.
    """
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*"), key=lambda path: path.relative_to(directory).as_posix()):
        if path.is_symlink():
            raise CheckpointError(f"{path}: is a link; a saved part has only files of its own")
        if path.is_file():
            total.update(f"{path.relative_to(directory).as_posix()}\0{file_hash(path)}\n".encode())
    return total.hexdigest()


def sync_file(path: Path) -> None:
    """Return only when the file's content is on the disk."""
    # Windows syncs only what is open for writing; elsewhere a part may have saved files that are read-only.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Return only when names in the directory are on the disk. Windows cannot open directories, and needs it not."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the rename is then as safe as they make it
        pass
    finally:
        os.close(descriptor)


def temporary_directory(root: Path) -> Path:
    """A new directory in `root` that `clean` removes if this process dies before renaming it."""
    path = root / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    path.mkdir()
    return path


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that after a crash there is the old content or the new, never a half."""
    temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")
    try:
        temporary.write_bytes(data)
        sync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextlib.contextmanager
def refusals_of_the_disk(path: Path) -> Iterator[None]:
    """Raise OSError where safetensors, which writes in its own way, says in its own error that the disk refused."""
    try:
        yield
    except Exception as error:
        number = re.search(r"os error (\d+)", str(error))
        if type(error).__name__ != "SafetensorError" or number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from None


def write_directory(path: Path, save: Callable[[Path], object]) -> str:
    """Let `save(directory)` fill a new directory and put it at `path`, in place of what was there; return its hash."""
    temporary = temporary_directory(path.parent)
    try:
        fresh = temporary / path.name
        fresh.mkdir()
        with refusals_of_the_disk(fresh):
            save(fresh)
        digest = directory_hash(fresh)
        for file in fresh.rglob("*"):
            if file.is_file():
                sync_file(file)
            elif file.is_dir():
                sync_directory(file)
        sync_directory(fresh)
        if path.exists():
            os.rename(path, temporary / "replaced")
        os.rename(fresh, path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def clean(root: Path) -> None:
    """Remove what a killed writer left behind. Only for the process that holds the run's lock."""
    for orphan in root.glob(f"{_TEMPORARY}*"):
        if orphan.is_dir():
            shutil.rmtree(orphan, ignore_errors=True)
        else:
            orphan.unlink(missing_ok=True)
