"""A limit on how long Python code that nobody here wrote may take, as far as there can be one inside a process.

The code runs in a thread of its own, and after its time nobody waits for it any more. Python cannot end a thread, so it
goes on in the background, and slows everything down, until it is done or the process ends; after three such threads
the run stops. Code that holds the interpreter's lock, such as `re` on a catastrophic pattern, cannot even be left:
use the reward `Pattern` for regular expressions, whose matcher stops itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from align_scratch.errors import CheckerFailed

MOST_ABANDONED = 3
_abandoned: list[threading.Thread] = []


def call_within(seconds: float | None, name: str, call: Callable[[], Any]) -> Any:
    """What `call()` returns or raises. TimeoutError after `seconds`; CheckerFailed if three calls still go on."""
    if seconds is None:
        return call()
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["value"] = call()
        except BaseException as error:  # handed over to the thread that waits
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True, name=name)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        give_up(thread, name, seconds)
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def give_up(thread: threading.Thread, name: str, seconds: float) -> None:
    """Leave a thread to itself. Raises TimeoutError, or CheckerFailed if it is one too many."""
    _abandoned[:] = [left for left in (*_abandoned, thread) if left.is_alive()]
    if len(_abandoned) >= MOST_ABANDONED:
        raise CheckerFailed(
            f"{name}: {len(_abandoned)} calls took more than {seconds:g} seconds and still go on in the background, "
            "where nothing can end them: give this code a time limit of its own"
        )
    raise TimeoutError(f"{name}: no result within {seconds:g} seconds")
