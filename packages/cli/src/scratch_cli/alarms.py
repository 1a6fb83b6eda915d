"""What goes wrong in reinforcement learning without an error: found in the metrics, said once, in one line.

Rules look at metrics under the names that trainers share (TRL's), so they hold for any trainer that reports them. Each
is a pure function of a `History`; a metric that a trainer does not report raises no alarm. Trouble is told from success
by `accuracy`: a task that is solved also has equal rewards in most groups and next to no entropy.

Departures from what is often shown instead: a loss near zero is no alarm, it is how these losses are made.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Row = Mapping[str, Any]

WINDOW = 20
"""Steps over which something must hold."""
START = 10
"""Rows that say how things were at the start; of the first WINDOW steps, however few of them are logged."""
LAST = 5
"""Rows that say how things are now, where a whole window would be told too late."""
SOLVED = 0.8
"""Share of right completions from which equal rewards and little entropy are success."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One thing that goes wrong. `since` is the first step of what it was seen in, `step` the one that raised it."""

    name: str
    step: int
    since: int
    text: str
    """What, since when, and what to try; without line breaks."""

    def row(self, stage: str) -> dict[str, Any]:
        """As metrics.jsonl records it."""
        values = asdict(self)
        return {"stage": stage, "step": values.pop("step"), "alarm": values.pop("name"), **values}


@dataclass
class History:
    """The rows of one stage so far, as far as the rules look back."""

    first: list[Row] = field(default_factory=list)
    recent: deque[Row] = field(default_factory=deque)
    """Those of the last WINDOW steps, the newest included."""
    known: set[str] = field(default_factory=set)
    """Metrics that have had a value."""
    best: float = -math.inf
    """Highest mean reward of START rows in a row."""
    best_at: int = 0

    def add(self, row: Row) -> None:
        if len(self.first) < START and (not self.first or row["step"] < self.first[0]["step"] + WINDOW):
            self.first.append(row)
        self.recent.append(row)
        while self.recent[0]["step"] <= row["step"] - WINDOW:
            self.recent.popleft()
        self.known.update(key for key, value in row.items() if _number(value) is not None)
        now = self.now("reward", START)
        if now is not None and now > self.best and (len(self.recent) >= LAST or self.full):
            self.best, self.best_at = now, row["step"]

    @property
    def step(self) -> int:
        return int(self.recent[-1]["step"])

    @property
    def full(self) -> bool:
        """Whether WINDOW steps have been seen."""
        return self.step - int(self.first[0]["step"]) >= WINDOW - 1

    @property
    def since(self) -> int:
        return int(self.recent[0]["step"])

    def now(self, key: str, rows: int = WINDOW) -> float | None:
        """The mean over the newest rows of the window, at most `rows`; None if there is no value."""
        return _mean(key, list(self.recent)[-rows:])

    def then(self, key: str) -> float | None:
        """The mean over the first rows."""
        return _mean(key, self.first)

    def gain(self, key: str) -> float | None:
        """How much the mean of the window is above that of the first rows."""
        then, now = self.then(key), self.now(key)
        return None if then is None or now is None else now - then

    @property
    def solved(self) -> bool:
        accuracy = self.now("accuracy", START)
        return accuracy is not None and accuracy >= SOLVED


class Watchman:
    """Raises each alarm once. One for each stage."""

    def __init__(self) -> None:
        self.history = History()
        self.raised: set[str] = set()

    def see(self, row: Row) -> list[Alarm]:
        """The alarms that this row, the next one of `train()`, raises."""
        if not isinstance(row.get("step"), int):
            return []
        self.history.add(row)
        found = []
        for name, rule in RULES.items():
            if name not in self.raised and (said := rule(self.history)) is not None:
                self.raised.add(name)
                since, text = said
                found.append(Alarm(name=name, step=self.history.step, since=since, text=text))
        return found


def alarms(rows: Iterable[Row]) -> Iterator[Alarm]:
    """The alarms in the rows that a trainer's `train()` yields, in order, each once."""
    watchman = Watchman()
    for row in rows:
        yield from watchman.see(row)


# --- the rules: (first step of the trouble, what to say) or None -----------------------------------------------------


def not_finite(h: History) -> tuple[int, str] | None:
    """A metric that is NaN or infinite; reward, KL and entropy also when they were numbers and are None."""
    row = h.recent[-1]
    keys = [key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    keys += [key for key in ("reward", "kl", "entropy") if key in h.known and key in row and row[key] is None]
    if not keys:
        return None
    return h.step, (
        f"not finite: {', '.join(keys)} at step {h.step}; try a smaller trainer.lr, and look at what was sampled "
        f"with `scratch rollouts`"
    )


def checker_errors(h: History) -> tuple[int, str] | None:
    """Completions that the task's checker, or a part of the reward, could not judge."""
    row = h.recent[-1]
    errors = _number(row.get("reward/errors"))
    kinds = ("/errors", "/timeouts")
    failed = {key: _number(row[key]) for key in row if key.startswith("rewards/") and key.endswith(kinds)}
    parts = ", ".join(f"{key.removeprefix('rewards/')} {count:.0f}" for key, count in sorted(failed.items()) if count)
    if errors:
        return h.step, (
            f"checker errors: {errors:.0f} completions of step {h.step} could not be judged and were left out"
            + (f" ({parts})" if parts else "")
            + "; their `explanation` in rollouts.jsonl says why: repair the task's check"
        )
    if parts:
        return h.step, (
            f"checker errors: parts of the reward failed at step {h.step} ({parts}), which cost no completion its "
            f"reward, but says nothing of it either: repair that part, or leave it out"
        )
    return None


def zero_variance(h: History) -> tuple[int, str] | None:
    """Half of the groups or more have equal rewards, and not because all of them are right."""
    share = h.now("frac_reward_zero_std")
    if not h.full or share is None or share < 0.5 or h.solved:
        return None
    nothing_right = (h.now("accuracy") or 0.0) < 0.1
    remedy = (
        "almost nothing is right: try an easier task, a longer warm start, or a reward in parts"
        if nothing_right
        else "try a larger trainer.group_size, or problems that are neither too easy nor too hard"
    )
    return h.since, (
        f"no variance: {share:.0%} of the groups had equal rewards, which teach nothing, in steps {h.since} to "
        f"{h.step}; {remedy}"
    )


def kl_blow_up(h: History) -> tuple[int, str] | None:
    """The divergence is above one nat a token, and five times what it was a window ago; or above two."""
    rows = LAST if len(h.recent) >= 2 * LAST else max(1, len(h.recent) // 2)  # fewer are logged with run.log_every
    now = h.now("kl", rows)
    if (len(h.recent) < LAST and not h.full) or now is None or now < 1.0:
        return None
    before = _mean("kl", list(h.recent)[:rows])
    grown = before is not None and h.full and now > 5 * max(before, 1e-3)
    if not grown and now < 2.0:
        return None
    return h.since, (
        f"KL blow-up: {now:.2f} nats a token from the starting model at step {h.step}"
        + (f", {before:.2f} around step {h.since}" if before is not None else "")
        + "; try a smaller trainer.lr, or a larger weight of the KL"
    )


def length_drift(h: History) -> tuple[int, str] | None:
    """Completions are more than twice, or less than half, as long as at the start."""
    key = "completions/mean_length"
    then, now = h.then(key), h.now(key)
    if not h.full or h.step < WINDOW + START or then is None or now is None or abs(now - then) < 2.0:
        return None
    if then / 2 <= now <= then * 2:
        return None
    clipped = h.now("completions/clipped_ratio")
    cut = f", {clipped:.0%} of them cut off" if clipped else ""
    return h.since, (
        f"length drift: completions have {now:.1f} tokens in steps {h.since} to {h.step}{cut}, {then:.1f} at first; "
        f"try a normaliser that does not depend on length (trainer.loss_type), or a reward that does not pay for it"
    )


def entropy_collapse(h: History) -> tuple[int, str] | None:
    """A tenth of the first entropy is left of a policy that learns from rewards, and the task is not solved.

    In supervised training entropy falls because something is learned.
    """
    then, now = h.then("entropy"), h.now("entropy", START)
    if not h.full or "reward" not in h.known or then is None or now is None or then <= 0 or now > 0.1 * then:
        return None
    if h.solved or ("accuracy" not in h.known and (h.now("reward") or 0.0) > (h.then("reward") or 0.0)):
        return None
    return h.since, (
        f"entropy collapse: {now:.2g} nats a token around step {h.step}, {then:.2g} at the start, so the policy has "
        f"stopped trying; try a smaller trainer.lr, a wider upper clip, or an entropy bonus"
    )


def one_part(h: History) -> tuple[int, str] | None:
    """The reward rises through one of its parts while no more completions are right, or hardly more.

    A reward model's scale is its own, so a rise of the reward cannot ask for more than a few points of accuracy.
    """
    parts = [key for key in h.known if key.startswith("rewards/") and key.endswith("/mean")]
    gain, accuracy = h.gain("reward"), h.gain("accuracy")
    if h.step < WINDOW + START or not parts or gain is None or accuracy is None:
        return None
    gains = {key: h.gain(key) or 0.0 for key in parts}
    largest = max(parts, key=lambda key: (gains[key], key))
    total = sum(value for value in gains.values() if value > 0)
    spread = h.then("reward_std") or 0.0
    if gain < max(0.05, spread / 4) or accuracy > min(gain / 5, 0.05) or gains[largest] < 0.8 * total:
        return None
    name = largest.removeprefix("rewards/").removesuffix("/mean")
    return h.since, (
        f"one part: the reward rose by {gain:.2f} up to step {h.step}, almost all of it in its part {name!r}, while "
        f"{accuracy:+.1%} more completions are right; look at `scratch rollouts --best`, and pay less for that part"
    )


def reward_fell(h: History) -> tuple[int, str] | None:
    """Less than half of the best mean reward is left, and the fall is no noise beside how far rewards differ."""
    now = h.now("reward", START)
    if not h.full or now is None or h.best <= 0 or now >= h.best / 2:
        return None
    if h.best - now < (h.then("reward_std") or 0.0) / 4:
        return None
    return h.best_at, (
        f"reward fell: {now:.3f} around step {h.step}, {h.best:.3f} around step {h.best_at}; go back to an earlier "
        f"model with a smaller trainer.lr, or fewer updates a batch"
    )


def collapse(h: History) -> tuple[int, str] | None:
    """A trainer that distils from itself says that it teaches itself to fail."""
    row = h.recent[-1]
    if not row.get("self_distillation/collapsed"):
        return None
    share = _number(row.get("self_distillation/success_sample_fraction"))
    return h.since, (
        f"collapse: {'few' if share is None else f'{share:.1%}'} of the completions succeed at step {h.step}, less "
        "than half of the best, and student and teacher agree, completions are short or the teacher's average falls "
        "behind; go back to an earlier model with a smaller trainer.lr or trainer.teacher=frozen"
    )


RULES: dict[str, Callable[[History], tuple[int, str] | None]] = {
    "not finite": not_finite,
    "checker errors": checker_errors,
    "no variance": zero_variance,
    "KL blow-up": kl_blow_up,
    "length drift": length_drift,
    "entropy collapse": entropy_collapse,
    "one part": one_part,
    "reward fell": reward_fell,
    "collapse": collapse,
}


def _number(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _mean(key: str, rows: list[Row]) -> float | None:
    values = [number for row in rows if (number := _number(row.get(key))) is not None]
    return sum(values) / len(values) if values else None
