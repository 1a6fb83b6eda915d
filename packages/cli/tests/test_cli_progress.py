"""What a person sees: bars on terminals of any width, lines elsewhere."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import start

from scratch_cli import progress

METRICS = {
    "reward": 0.5, "loss": 0.123, "kl": 0.01, "entropy": 1.5, "frac_reward_zero_std": 0.25,
    "tokens_per_second": 12_345.0,
}  # fmt: skip


def shown(watch: progress.Watch) -> str:
    watch.start("grpo", 200, 0)
    watch.step(40, METRICS)
    watch.evaluated(40, {"greedy": 0.83, "sampled": 0.71})
    return watch.values()


def test_rl_shows_the_reward_and_never_the_loss() -> None:
    words = shown(progress.Watch())
    for word in (
        "reward 0.500",
        "held-out greedy 83%",
        "sampled 71%",
        "KL 0.010",
        "entropy 1.50",
        "no variance 25%",
        "12.3k tokens/s",
    ):
        assert word in words
    assert "0.123" not in words
    watch = progress.Watch()
    watch.start("pretrain", 10, 0)
    watch.step(1, {"loss": 2.5, "lr": 1e-3})
    watch.evaluated(1, {"loss": 2.75, "perplexity": 15.6})
    assert watch.values() == "loss 2.500  held-out loss 2.750  lr 1.0e-03"


def test_values_that_are_missing_are_left_out() -> None:
    watch = progress.Watch()
    watch.start("x", 10, 0)
    watch.step(1, {"loss": None, "kl": None, "tokens_per_second": None})
    assert watch.values() == ""
    watch.step(2, {"loss": 1.0, "sampled": 0.5})
    watch.step(3, {"loss": 1.0, "sampled": None})  # it is not measured in every step
    assert watch.values() == "loss 1.000  sampled 50%"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (12000, "3 h 20 min")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_lines_come_at_intervals_and_at_the_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    watch = progress.Lines()
    watch.start("sft", 100, 0)
    for step in range(1, 101):
        now += 0.25
        watch.step(step, {"loss": 1.0})
    watch.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "sft: up to 100 steps"
    assert [line.split()[1] for line in lines[1:]] == ["20/100", "40/100", "60/100", "80/100", "100/100"]
    assert lines[1] == "sft  20/100  loss 1.000  ETA 20 s"


def test_a_screen_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    watch = progress.watch()
    shown(watch)
    watch.end()
    assert not isinstance(sys.stderr, Gone)


def test_a_terminal_that_hangs_up_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Gone())
    watch = progress.watch()
    assert isinstance(watch, progress.Bars)
    for _ in range(2):
        shown(watch)
        watch.note("a note")
        watch.end()


def test_what_a_signal_does_stays_below_the_bar() -> None:
    from rich.console import Console

    watch = progress.Bars(color=False)
    watch.console = Console(file=io.StringIO(), width=30, force_terminal=True)
    shown(watch)
    watch.stopping("stopping after this step, with a checkpoint")
    for _ in range(2):
        with watch.console.capture() as drawn:
            watch.console.print(watch.render())
        assert "40/200" in drawn.get()
        assert "stopping after this step, with a checkpoint" in " ".join(drawn.get().split())
    watch.end()


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
@pytest.mark.parametrize("color", [True, False])
def test_bars_fit_any_width(width: int, color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    watch = progress.Bars(color=color)
    out = io.StringIO()
    watch.console = Console(
        file=out, width=width, force_terminal=True, no_color=not color, color_system="standard", legacy_windows=False
    )
    shown(watch)
    watch.note("a note")
    watch.end()
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= max(width, len("a note"))
    assert width == 1 or any("40/200" in line for line in lines)
    if not color:
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", out.getvalue())


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_real_terminal_of_20_columns(tmp_path: Path, env: dict[str, str]) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    surroundings: dict[str, Any] = {"TERM": "xterm-256color", "COLUMNS": "", **env}
    process = start("run", "--trainer", "climb", "--out", "a", cwd=tmp_path, stderr=theirs, env=surroundings)
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # what Linux says when the other side is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, seen
    assert "Next:" in out
    text = seen.decode()
    assert "20/20" in text
    assert ("\x1b[?25l" in text) == (env.get("TERM") != "dumb")  # the cursor is hidden only where there is a bar,
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # and given back
    if "NO_COLOR" in env:
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", text)
