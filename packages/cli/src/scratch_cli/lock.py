"""One process a run: a lock file with the holder's process id and host.

The operating system's own file lock decides, because it ends with its process: what a killed run leaves behind is
taken over without guessing whether a process id is still the same process. Where the file system has no locks, the
process id decides. The text in the file is for the message, and for a run directory shared between machines.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scratch_cli.errors import UsageError

_FAR = 1 << 30  # Windows refuses reading a locked byte, so the byte that is locked lies beyond the text


class Lock:
    """A context manager that holds `path` for this process.

    Raises UsageError, naming the holder, if another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._take(descriptor)
                if _same_file(descriptor, self.path):  # else its last holder removed it between open and lock
                    self._descriptor = descriptor
            finally:
                if self._descriptor is None:
                    os.close(descriptor)
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            if os.name == "nt":  # an open file cannot be removed there
                os.ftruncate(descriptor, 0)
            else:
                self.path.unlink(missing_ok=True)
        except OSError:  # a read-only directory: the lock ends with the descriptor all the same
            pass
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        holder = _holder(descriptor)
        name = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
        try:
            taken = _system_lock(descriptor)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise
            raise UsageError(
                f"{self.path.parent}: is in use by {name}; wait for it to end, or choose another directory"
            ) from None
        if holder and holder.get("host") != socket.gethostname():
            raise UsageError(
                f"{self.path.parent}: was in use by {name}, which cannot be seen from here; "
                f"if it no longer runs, delete {self.path}"
            )
        if not taken and holder and _alive(holder.get("pid")):
            raise UsageError(f"{self.path.parent}: is in use by {name}; wait for it to end, or delete {self.path}")


def _system_lock(descriptor: int) -> bool:
    """Take the operating system's lock; False if there is none on this file system. Raises OSError if it is held."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL):
            return False
        raise
    return True


def _holder(descriptor: int) -> dict[str, Any]:
    """What the last holder wrote; empty if there was none, or what it wrote is not readable."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(descriptor, 1000))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _alive(pid: Any) -> bool:
    if type(pid) is not int or pid <= 0:
        return False
    if sys.platform == "win32":  # there, os.kill ends the process instead of asking; the system's lock decided already
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
