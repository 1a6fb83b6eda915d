"""A limit on how long a task's own code may look at one completion, as far as there can be one inside a process.

The code runs in a thread of its own, and after its time nobody waits for it any more. Python cannot end a thread, so it
goes on in the background until it is done or the process ends; with three of them the evaluation stops. Code that holds
the interpreter's lock, such as `re` on a catastrophic pattern, cannot even be left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from scratch_cli.errors import RunFailed

T = TypeVar("T")

SECONDS = 30.0
"""That one completion may take: what trainers of this family grant. A checker takes microseconds."""
MOST_ABANDONED = 3
_abandoned: list[threading.Thread] = []


def call_within(seconds: float, call: Callable[[], T]) -> T:
    """What `call()` returns or raises. TimeoutError after `seconds`; RunFailed if it is the third call to go on."""
    returned: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # handed over to the thread that waits
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True, name="checker")
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if returned:
        return returned[0]
    _abandoned[:] = [left for left in (*_abandoned, thread) if left.is_alive()]
    if len(_abandoned) >= MOST_ABANDONED:
        raise RunFailed(
            f"the task's checker did not come back within {seconds:g} seconds from {len(_abandoned)} completions, and "
            "nothing can end those calls: give it a time limit of its own"
        )
    raise TimeoutError(f"the checker did not come back within {seconds:g} seconds")
