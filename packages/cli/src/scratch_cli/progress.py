"""What a person sees while a run goes on: live bars on a terminal, plain lines elsewhere. All of it on stderr.

A reinforcement trainer's loss is not shown, because it is near zero by construction; its reward is. Whatever happens
to the screen (closed, 20 columns wide, no colours), the run goes on: a line that cannot be written is dropped.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scratch_cli.signals import tell_at_once

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

INTERVAL = 5.0
"""Seconds between two plain lines."""

SHOWN = (
    ("kl", "KL", "{:.3f}"),
    ("entropy", "entropy", "{:.2f}"),
    ("frac_reward_zero_std", "no variance", "{:.0%}"),
    ("lr", "lr", "{:.1e}"),
)
"""Metrics to show after reward or loss and held-out values, where a trainer has them: key, label, format."""


class Watch:
    """The state of the stage in progress, and how to say it. Subclasses write it."""

    unit = "steps"
    """What is counted."""

    def __init__(self) -> None:
        self.title, self.total, self.first, self.now = "", 0, 0, 0
        self.metrics: Mapping[str, Any] = {}
        self.held_out: Mapping[str, Any] = {}
        self.sampled: float | None = None
        """Accuracy on training prompts, which a trainer that stops at an accuracy measures now and then."""
        self.started = 0.0

    def start(self, title: str, total: int, done: int) -> None:
        self.title, self.total, self.first, self.now = title, total, done, done
        self.metrics, self.held_out, self.sampled, self.started = {}, {}, None, time.monotonic()

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.now, self.metrics = step, metrics
        if metrics.get("sampled") is not None:
            self.sampled = metrics["sampled"]

    def evaluated(self, step: int, values: Mapping[str, Any]) -> None:
        self.held_out = values

    def end(self) -> None: ...

    def note(self, text: str) -> None: ...

    def stopping(self, text: str) -> None:
        """A signal has arrived, and its handler calls this: so nothing here may wait for a lock."""
        tell_at_once(text)

    def counts(self) -> str:
        return f"{self.now}/{self.total}"

    def left(self) -> str:
        """Time to the end at the pace so far."""
        done = self.now - self.first
        if done < 1 or self.now >= self.total:
            return ""
        return f"ETA {duration((time.monotonic() - self.started) / done * (self.total - self.now))}"

    def values(self) -> str:
        """The metrics in words, most important first, since narrow screens cut the end."""
        words = []
        main = "reward" if "reward" in self.metrics else "loss"
        if self.metrics.get(main) is not None:
            words.append(f"{main} {self.metrics[main]:.3f}")
        if self.sampled is not None:
            words.append(f"sampled {self.sampled:.0%}")
        for name in ("greedy", "sampled", "accuracy"):
            if self.held_out.get(name) is not None:
                words.append(f"held-out {name} {self.held_out[name]:.0%}")
        if "greedy" not in self.held_out and self.held_out.get("loss") is not None:
            words.append(f"held-out loss {self.held_out['loss']:.3f}")
        for key, label, form in SHOWN:
            if self.metrics.get(key) is not None:
                words.append(f"{label} {form.format(self.metrics[key])}")
        speed = self.metrics.get("tokens_per_second")
        if speed is not None:
            words.append(f"{compact(speed)} tokens/s")
        return "  ".join(words)


class Nothing(Watch):
    """Only warnings and errors, for `-q`."""

    def note(self, text: str) -> None:
        say(text)


class Lines(Watch):
    """Plain lines at intervals: for files, pipes and dumb terminals."""

    def __init__(self) -> None:
        super().__init__()
        self._last, self._said = 0.0, -1

    def start(self, title: str, total: int, done: int) -> None:
        super().start(title, total, done)
        self._last, self._said = time.monotonic(), -1
        self.note(f"{title}: {f'goes on after step {done} of' if done else 'up to'} {total} {self.unit}")

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        super().step(step, metrics)
        if time.monotonic() - self._last >= INTERVAL:
            self._line()

    def evaluated(self, step: int, values: Mapping[str, Any]) -> None:
        super().evaluated(step, values)
        self._line()

    def end(self) -> None:
        if self.now not in (self.first, self._said):
            self._line()

    def _line(self) -> None:
        self._last, self._said = time.monotonic(), self.now
        words = [word for word in (self.title, self.counts(), self.values(), self.left()) if word]
        self.note("  ".join(words))

    def note(self, text: str) -> None:
        say(text)


class Bars(Watch):
    """A live bar with a line of values below, one pair for each stage."""

    def __init__(self, *, color: bool) -> None:
        super().__init__()
        from rich.console import Console

        self.console: Console = Console(
            stderr=True, highlight=False, markup=False, emoji=False, no_color=None if color else True
        )
        self._live: Live | None = None
        self._stopping = ""

    def start(self, title: str, total: int, done: int) -> None:
        super().start(title, total, done)
        from rich.live import Live

        if isinstance(sys.stderr, _Nowhere):
            return
        live = Live(
            console=self.console,
            get_renderable=self.render,
            refresh_per_second=8,
            redirect_stdout=False,  # stdout is for data, and may be a file
        )
        with _unless_gone():
            live.start()
            self._live = live

    def render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        values = Text(self.values(), no_wrap=True, overflow="ellipsis")
        notice = [Text(self._stopping)] if self._stopping else []
        head = f"{self.title} {self.counts()}"
        room = self.console.width - len(head) - 16
        if room < 8:
            return Group(Text(f"{self.counts()} {self.title}", no_wrap=True, overflow="ellipsis"), values, *notice)
        row = Table.grid(padding=(0, 1))
        row.add_row(
            Text(head, style="bold", no_wrap=True),
            ProgressBar(total=max(1, self.total), completed=self.now, width=min(40, room)),
            Text(self.left(), no_wrap=True),
        )
        return Group(row, values, *notice)

    def stopping(self, text: str) -> None:
        if self._live is None:
            super().stopping(text)
        self._stopping = text  # drawn with the bar: what stands below it is erased when the bar is drawn again

    def end(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            with _unless_gone():
                live.stop()

    def note(self, text: str) -> None:
        with _unless_gone():
            self.console.print(text, soft_wrap=True)


def watch(*, quiet: bool = False, color: bool = True, unit: str = "steps") -> Watch:
    """Bars if stderr is a terminal that can redraw, else lines."""
    terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    chosen = Nothing() if quiet else Bars(color=color) if terminal else Lines()
    chosen.unit = unit
    return chosen


def say(text: str) -> None:
    """A line on stderr; dropped if nobody reads it any more."""
    with _unless_gone():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Writing to a closed pipe, a closed file or a terminal that has hung up is no reason to end a run."""
    try:
        yield
    except (OSError, ValueError):
        silence()


def silence() -> None:
    """Let stderr go nowhere from now on: its reader has left, and the interpreter would complain when it ends."""
    sys.stderr = _Nowhere()


class _Nowhere(io.TextIOBase):
    def write(self, text: str, /) -> int:
        return len(text)


def duration(seconds: float) -> str:
    """1.5 s, 12 s, 2 min 5 s, 3 h 20 min."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def compact(number: float) -> str:
    """999, 12.3k, 4.5M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"
