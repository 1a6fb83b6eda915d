"""What a run sampled, read back from its log: as a stream, since these logs grow to gigabytes.

Memory is bounded by what is asked for, but for `changed`, which keeps two rollouts for each prompt.
"""

from __future__ import annotations

import difflib
import gzip
import heapq
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratch_cli import jsonl

Rollout = Mapping[str, Any]


def logs(path: Path) -> list[Path]:
    """The log and the older parts that somebody rotated away (`rollouts.jsonl.1`, also `.gz`), oldest first."""
    older: list[tuple[int, Path]] = []
    for other in path.parent.glob(f"{path.name}.*"):
        number = re.fullmatch(r"\.(\d+)(\.gz)?", other.name[len(path.name) :])
        if number:
            older.append((int(number[1]), other))
    return [*(other for _, other in sorted(older, reverse=True)), *([path] if path.exists() else [])]


def read(path: Path, stage: str | None = None) -> Iterator[dict[str, Any]]:
    """Every rollout of the log and its older parts, in order. A cut last line and broken lines are left out."""
    for part in logs(path):
        if part.suffix == ".gz":
            with gzip.open(part, "rb") as stream:
                yield from _of(stage, jsonl.rows(stream))
        else:
            yield from _of(stage, jsonl.read(part))


def _of(stage: str | None, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (row for row in rows if stage is None or row.get("stage", stage) == stage)


def distinct(rows: Iterable[Rollout]) -> Iterator[Rollout]:
    """Equal completions of one prompt in one step as one rollout, with `times`; a policy near its goal repeats itself.

    Rollouts of one prompt stand together in a log, so no more than a group of them is held.
    """
    for _, group in itertools.groupby(rows, key=lambda row: (row.get("step"), row.get("group"), row.get("prompt"))):
        times: dict[Any, int] = {}
        first: dict[Any, Rollout] = {}
        for row in group:
            key = row.get("completion"), row.get("reward")
            times[key] = times.get(key, 0) + 1
            first.setdefault(key, row)
        for key, row in first.items():
            yield {**row, "times": times[key]}


def of_step(rows: Iterable[Rollout], step: int | None, count: int) -> list[Rollout]:
    """The first `count` rollouts of a step; None is the last one there is."""
    found: list[Rollout] = []
    for row in distinct(rows):
        at = row.get("step")
        if step is None and found and at != found[0].get("step"):
            found = []
        if (step is None or at == step) and len(found) < count:
            found.append(row)
    return found


def by_reward(rows: Iterable[Rollout], count: int, *, best: bool) -> list[Rollout]:
    """The `count` rollouts of highest (or lowest) reward; of equal ones the later. Without a reward they are no
    candidates."""
    sign = 1.0 if best else -1.0
    numbered = (
        (sign * row["reward"], number, row) for number, row in enumerate(distinct(rows)) if is_number(row.get("reward"))
    )
    chosen = heapq.nlargest(count, numbered, key=lambda item: item[:2])
    return [row for _, _, row in chosen]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A prompt that was seen in two steps or more: what it got the first time, and the last time."""

    prompt: str
    first: Rollout
    """The first of its completions in the first step that had it."""
    last: Rollout
    reward_first: float | None
    """Mean reward of all its completions in that step."""
    reward_last: float | None

    @property
    def reward_change(self) -> float:
        """Last minus first mean reward; 0 if one of them is not known."""
        if self.reward_first is None or self.reward_last is None:
            return 0.0
        return self.reward_last - self.reward_first

    @property
    def text_change(self) -> float:
        """1 minus difflib's ratio of the two completions, at most 2,000 characters of each: 0 is equal."""
        first, last = (str(row.get("completion", ""))[:2000] for row in (self.first, self.last))
        return 1.0 - difflib.SequenceMatcher(None, first, last, autojunk=False).ratio()


def changed(rows: Iterable[Rollout], count: int) -> list[Change]:
    """The `count` prompts whose mean reward moved most, up or down, between the first and the last step that had them.

    Of equal moves, the one whose completions differ more. Prompts that only one step had are no candidates.
    """
    seen: dict[str, tuple[_Visit, _Visit | None]] = {}
    for row in rows:
        prompt, step = str(row.get("prompt", "")), row.get("step")
        if prompt not in seen:
            seen[prompt] = _Visit(step, row), None
            continue
        first, last = seen[prompt]
        current = last or first
        if current.step == step:
            current.add(row)
        else:
            seen[prompt] = first, _Visit(step, row)
    changes = [
        Change(prompt=prompt, first=a.row, last=b.row, reward_first=a.mean, reward_last=b.mean)
        for prompt, (a, b) in seen.items()
        if b is not None
    ]
    # Texts are compared only where they decide: among the moves as large as the last one that is shown.
    moves = sorted((abs(change.reward_change) for change in changes), reverse=True)[:count]
    if not moves:
        return []
    edge = [change for change in changes if abs(change.reward_change) == moves[-1]]
    above = [change for change in changes if abs(change.reward_change) > moves[-1]]
    wanted = count - len(above)
    if len(edge) > wanted:
        edge = heapq.nlargest(wanted, itertools.islice(edge, 5_000), key=lambda change: change.text_change)
    return sorted([*above, *edge], key=lambda change: (-abs(change.reward_change), -change.text_change))


class _Visit:
    """The rollouts of one prompt in one step."""

    def __init__(self, step: Any, row: Rollout) -> None:
        self.step, self.row = step, row
        self._sum, self._count = 0.0, 0
        self.add(row)

    def add(self, row: Rollout) -> None:
        if is_number(row.get("reward")):
            self._sum, self._count = self._sum + row["reward"], self._count + 1

    @property
    def mean(self) -> float | None:
        return self._sum / self._count if self._count else None


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


# --- as text ---------------------------------------------------------------------------------------------------------


def facts(row: Rollout) -> list[str]:
    """What there is to say about a rollout beside its texts, in short pieces."""
    pieces = []
    reward = row.get("reward")
    if "reward" in row:
        parts = row.get("rewards")
        detail = f" ({reward_parts(parts)})" if isinstance(parts, Mapping) and parts else ""
        pieces.append(f"reward {_short(reward)}{detail}")
    if "correct" in row:
        pieces.append("right" if row["correct"] else "wrong")
    if is_number(row.get("advantage")):
        pieces.append(f"advantage {row['advantage']:+.3f}")
    if is_number(row.get("length")):
        pieces.append(f"{row['length']} tokens{', cut off' if row.get('truncated') else ''}")
    if "logp_difference" in row:
        gap = row["logp_difference"]
        pieces.append(f"log-prob gap {gap:.1e}" if is_number(gap) else "log-prob gap not measured")
    if row.get("times", 1) > 1:
        pieces.append(f"{row['times']} times")
    if row.get("failed"):
        pieces.append("the step failed")
    return pieces


def reward_parts(parts: Mapping[str, Any]) -> str:
    """`exact 1, positions 0.75`; a part that could not be judged is `?`."""
    return ", ".join(f"{name} {_short(value)}" for name, value in parts.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if is_number(value) else "?"


def printable(text: Any) -> str:
    """A model's text with control characters shown instead of obeyed; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in str(text))
