"""The same function on many items in several processes, each result as soon as it is there.

Unlike the pools of the standard library it does both: notice that a worker was killed, and stop at once when the
caller stops.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, cast

from tokenizers_scratch.errors import TokenizerDataError

A = TypeVar("A")
R = TypeVar("R")


class WorkerError(RuntimeError):
    """A worker process failed in a way that is not the data's fault."""


def in_processes(function: Callable[[A], R], items: Iterable[A], workers: int) -> Iterator[R]:
    """Results in the order in which they are ready. With one worker: in this process, in the order of the items.

    Raises what `function` raises if that is a TokenizerDataError or OSError, else WorkerError with its traceback.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # Not forked: a fork of a process with threads, and numba or a progress bar has some, can lock up.
    context = multiprocessing.get_context("spawn")
    waiting = iter(items)
    running: dict[Connection, Any] = {}
    try:
        for item in islice(waiting, workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, function), daemon=True)
            process.start()
            theirs.close()
            running[ours] = process
            _send(ours, item)
        while running:
            for ready in cast("list[Connection]", wait(list(running))):
                result = _receive(ready, running[ready])
                rest = tuple(islice(waiting, 1))
                if rest:
                    _send(ready, rest[0])
                else:
                    ready.close()
                    running.pop(ready).join()
                yield result
    finally:
        for connection, process in running.items():
            process.terminate()
            process.join()
            connection.close()


def _send(connection: Connection, item: object) -> None:
    try:
        connection.send(item)
    except BrokenPipeError:
        pass  # it has died; `_receive` says so


def _receive(connection: Connection, process: Any) -> Any:
    try:
        succeeded, value = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        raise WorkerError(
            f"a worker process ended with code {process.exitcode}: out of memory, or killed; a script that uses "
            "several workers must start its work below `if __name__ == '__main__':`"
        ) from None
    if not succeeded:
        raise value
    return value


def _serve(connection: Connection, function: Callable[[Any], object]) -> None:
    """The work of one process: items in, results out, until nobody is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first of them stops the others
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer: tuple[bool, object] = (True, function(item))
        except (TokenizerDataError, OSError) as error:
            answer = (False, error)
        except Exception as error:
            failure = WorkerError(f"in a worker process: {type(error).__name__}: {error}")
            failure.add_note(traceback.format_exc())
            answer = (False, failure)
        try:
            connection.send(answer)
        except BrokenPipeError:
            return
