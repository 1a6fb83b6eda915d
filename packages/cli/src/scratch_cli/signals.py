"""Ctrl-C and SIGTERM: end after the current step, with a checkpoint; a second Ctrl-C ends at once.

While steps are driven (`with stop.between_steps()`), a signal only sets `requested`, which the driver looks at after
each step. At any other time, when there is nothing to finish, it raises `Interrupted` where it arrives.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal that arrived while nothing was being stepped. No `Exception`, so that no part swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


class StopSignals:
    """A context manager that handles the two signals inside of it. Does nothing outside of the main thread.

    announce: told, inside of the signal handler, what the first signal does; so it must not wait for a lock that the
        interrupted code may hold.
    """

    def __init__(self, announce: Callable[[str], None] | None = None) -> None:
        self.requested: int | None = None
        self._announce = announce or tell_at_once
        self._stepping = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous.clear()

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """Inside, a signal waits until the code asks for `requested`."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._stepping:
            raise Interrupted(number)
        if self.requested is not None and number == signal.SIGINT:
            tell_at_once("stopped at once; the newest checkpoint is intact")
            os._exit(128 + number)
        if self.requested is None:
            self.requested = number
            self._announce("stopping after this step, with a checkpoint; Ctrl-C again stops at once")


def tell_at_once(line: str) -> None:
    """Write past all buffers and locks, which the interrupted code may hold; and show the cursor a bar has hidden."""
    text = f"\n{line}\n"
    try:
        if sys.stderr is not None and sys.stderr.isatty():
            text = "\x1b[?25h" + text
        os.write(2, text.encode())
    except (OSError, ValueError):  # nobody reads it any more
        pass
