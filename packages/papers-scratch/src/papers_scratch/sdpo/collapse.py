"""When self-distillation teaches a model to fail: the signs of it, in a trainer's own metrics.

A student that follows its teacher into wrong answers has a small loss, so the loss says nothing. What says it is that
fewer and fewer completions succeed while

- student and teacher agree: an average has followed the student, or neither knows what to do with what is shown;
- or completions are less than half as long as at first: the shortest success is the easiest to copy;
- or the average falls behind: its distance from the student grows.

Success alone can fall for other reasons (harder prompts, another reward), and each sign alone is harmless.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

WINDOW = 20
"""Steps over which something must hold."""
FEWER = 0.5
"""What is left of the best share of successes, at most."""
LEAST = 0.1
"""Best share of successes below which a fall is noise."""
AGREED = 0.1
"""What is left of the first divergence of student and teacher where they agree, at most."""
SHORTER = 0.5
"""What is left of the first length of completions, at most."""
GROWN = 1.2
"""How much farther the average is in the second half of the window than in the first, at least."""
REMEDY = "go on from an earlier checkpoint, with a smaller lr, or a teacher that stays (frozen)"

_SUCCESS = "self_distillation/success_sample_fraction"
_DIVERGENCE = "self_distillation/distillation_loss"
_LENGTH = "completions/mean_length"
_DISTANCE = "self_distillation/teacher_distance"
_KEYS = (_SUCCESS, _DIVERGENCE, _LENGTH, _DISTANCE)


class CollapseWatch:
    """Sees the metrics of each step. `average`: whether the teacher is one, so that its distance means something."""

    def __init__(self, *, average: bool) -> None:
        self.average = average
        self.recent: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self.first: dict[str, float] = {}
        """Means of the first window."""
        self.best, self.best_at = 0.0, 0
        """Highest share of successes in a window, and the step it ended with."""

    def see(self, metrics: Mapping[str, Any]) -> str | None:
        """What shows a collapse at this step, in one line with the numbers; None if nothing does."""
        self.recent.append({key: float(metrics[key]) for key in _KEYS if metrics[key] is not None})
        if len(self.recent) < WINDOW:
            return None
        now = {key: mean for key in _KEYS if (mean := self._mean(key)) is not None}
        if not self.first:
            self.first = now
        if now[_SUCCESS] > self.best:
            self.best, self.best_at = now[_SUCCESS], int(metrics["step"])
        if self.best < LEAST or now[_SUCCESS] > FEWER * self.best:
            return None
        signs = self._signs(now)
        if not signs:
            return None
        return (
            f"{now[_SUCCESS]:.1%} of the completions succeed in the {WINDOW} steps up to {metrics['step']}, "
            f"{self.best:.1%} up to step {self.best_at}, and {', '.join(signs)}"
        )

    def _signs(self, now: Mapping[str, float]) -> list[str]:
        found = []
        if _DIVERGENCE not in now:
            found.append("there is nothing to distil")
        elif now[_DIVERGENCE] <= AGREED * self.first.get(_DIVERGENCE, 0.0):
            found.append(f"student and teacher agree ({now[_DIVERGENCE]:.2g} nats a token apart)")
        if _LENGTH in now and now[_LENGTH] <= SHORTER * self.first.get(_LENGTH, 0.0):
            found.append(f"completions have {now[_LENGTH]:.1f} tokens, {self.first[_LENGTH]:.1f} at first")
        before, after = self._mean(_DISTANCE, first=0), self._mean(_DISTANCE, first=WINDOW // 2)
        if self.average and before and after and after >= GROWN * before:
            found.append(f"the average falls behind ({after:.2g} from the student, {before:.2g} before)")
        return found

    def _mean(self, key: str, first: int | None = None) -> float | None:
        """Over the window, or over half of it from row `first` on; None without a value."""
        rows = list(self.recent)
        if first is not None:
            rows = rows[first : first + WINDOW // 2]
        values = [row[key] for row in rows if key in row]
        return sum(values) / len(values) if values else None

    def state_dict(self) -> dict[str, Any]:
        return {"recent": [dict(row) for row in self.recent], "first": dict(self.first), "best": self.best,
                "best_at": self.best_at}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.recent = deque((dict(row) for row in state["recent"]), maxlen=WINDOW)
        self.first, self.best, self.best_at = dict(state["first"]), state["best"], state["best_at"]
