"""Having a task mark completions, whatever its checker does: it may raise, give nonsense, or never come back.

Each of these costs the completion its mark, a NaN reward that trainers count and leave out, and not the run. The
marks are made in a thread that is watched. One that makes no progress for `SECONDS` is left behind and another goes on
with the next completion; see `rewards/time_limit.py` for what that cannot do: nothing ends the thread that hangs, and
code that holds the interpreter's lock cannot be left at all.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from align_scratch.errors import CheckerFailed
from align_scratch.protocols import Example, Score, Task
from align_scratch.rewards.time_limit import call_within, give_up
from align_scratch.tasks.problems import Score as Mark

SECONDS = 30.0
"""That one completion may take. A checker takes microseconds; this is for slow and busy machines."""
BATCH_SECONDS = 300.0
"""That a task may take which marks a whole batch at once, by `check_all(examples, completions)`."""

CHECKER = "checker"
"""What a checker that fails as a whole is counted as, in the place of a part's name."""

UNMARKED = Mark(reward=math.nan, correct=False)
"""Of a completion that nobody has marked."""


def mark_all(
    task: Task,
    examples: Sequence[Example],
    completions: Sequence[str],
    *,
    group_size: int = 1,
    seconds: float | None = None,
) -> list[Score]:
    """One score a completion; row i belongs to example i // group_size. seconds: `SECONDS`, if None.

    A task that has `check_all` is asked once for all of them, each with its example.
    Raises CheckerFailed if the task raises it, which is what says that no other completion will fare better, or if
    several calls of the checker hang.
    """
    if hasattr(task, "check_all") and completions:
        return _mark_batch(task, [examples[row // group_size] for row in range(len(completions))], completions, seconds)
    marks: list[Score] = []
    while len(marks) < len(completions):
        worker = _Worker(task, examples, completions, group_size, start=len(marks))
        try:
            marks.extend(worker.marks_within(SECONDS if seconds is None else seconds))
        except TimeoutError as error:
            marks.extend(worker.done_so_far)
            marks.append(_unmarked(f"the checker did not come back: {error}", kind="timeouts"))
    return marks


class _Worker:
    """A thread that marks rows from `start` on, one after another."""

    def __init__(
        self, task: Task, examples: Sequence[Example], completions: Sequence[str], group_size: int, *, start: int
    ) -> None:
        self._rows = range(start, len(completions))
        self._done: list[Score] = []
        self._failure: BaseException | None = None

        def work() -> None:
            try:
                for row in self._rows:
                    example, completion = examples[row // group_size], completions[row]
                    self._done.append(_mark(partial(task.check, example, completion)))
            except BaseException as error:  # handed over to the thread that waits
                self._failure = error

        self._thread = threading.Thread(target=work, daemon=True, name="checker")
        self.done_so_far: list[Score] = []

    def marks_within(self, seconds: float) -> list[Score]:
        """All marks. TimeoutError if one takes more than `seconds` (and up to twice that is waited)."""
        self._thread.start()
        while True:
            before = len(self._done)
            self._thread.join(seconds)
            if not self._thread.is_alive():
                break
            if len(self._done) == before:
                self.done_so_far = self._done[:before]  # what comes later comes too late
                give_up(self._thread, "checker", seconds)
        if self._failure is not None:
            raise self._failure
        return self._done


def _mark_batch(
    task: Any, examples: Sequence[Example], completions: Sequence[str], seconds: float | None
) -> list[Score]:
    limit = BATCH_SECONDS if seconds is None else seconds
    try:
        scores = call_within(limit, "checker", lambda: task.check_all(examples, completions))
    except CheckerFailed:
        raise
    except TimeoutError as error:  # all rows together lose their marks; with nothing to learn from, the run ends
        return [_unmarked(f"the checker did not come back: {error}", kind="timeouts")] * len(completions)
    except Exception as error:
        return [_unmarked(f"the checker failed: {type(error).__name__}: {error}")] * len(completions)
    if len(scores) != len(completions):
        raise CheckerFailed(f"task: check_all gave {len(scores)} scores for {len(completions)} completions")
    return [_mark(partial(_given, score)) for score in scores]


def _given(score: Score) -> Score:
    return score


def _mark(check: Callable[[], Score]) -> Score:
    try:
        score = check()
        known = math.isfinite(score.reward)
        for name, value in score.parts.items():
            if not hasattr(value, "__float__"):
                return _unmarked(f"the checker gave the part {name!r} the value {value!r:.40}, which is no number")
        if known:
            return score
        told: Any = score.explanation
        told = f"the checker gave the reward {score.reward}: {told}".removesuffix(": ")
        return _unmarked(told, score.parts, counts=getattr(score, "counts", None))
    except CheckerFailed:
        raise
    except TimeoutError as error:
        return _unmarked(f"the checker gave up: {error}", kind="timeouts")
    except Exception as error:  # a task's own code, fed with text that nobody has seen before
        return _unmarked(f"the checker failed: {type(error).__name__}: {error}")


def _unmarked(explanation: str, parts: Any = None, *, counts: Any = None, kind: str = "errors") -> Mark:
    """counts: what the checker itself has counted, which says more than that it failed."""
    counts = dict(counts or {f"{CHECKER}/{kind}": 1})
    return Mark(reward=math.nan, correct=False, parts=dict(parts or {}), explanation=explanation[:500], counts=counts)
