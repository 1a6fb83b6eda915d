"""Alarms: silent on healthy runs, each raised once on a stream made to raise it, and the same after a resume."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import scratch

from scratch_cli.alarms import RULES, Alarm, alarms

RECORDED = sorted((Path(__file__).parent / "recorded").glob("healthy-*.json"))
Stream = Callable[[int, dict[str, Any]], None]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("every", [1, 3, 10])
def test_a_healthy_run_raises_none(path: Path, every: int) -> None:
    """Metrics of default runs, warm starts too, as metrics.jsonl had them; also as `run.log_every` thins them."""
    columns = json.loads(path.read_text())
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    assert len(rows) >= 200
    assert list(alarms(row for row in rows if row["step"] % every == 0 or row["step"] == 1)) == []


def stream(change: Stream, steps: int = 120) -> list[dict[str, Any]]:
    """A run that learns nothing and has no trouble, but for what `change(step, row)` does to it."""
    rng, rows = random.Random(1), []
    for step in range(1, steps + 1):
        row = {
            "step": step, "loss": 1e-3, "reward": 0.4 + 0.02 * rng.random(), "reward_std": 0.4, "accuracy": 0.4,
            "frac_reward_zero_std": 0.2, "entropy": 1.0, "kl": 0.05, "completions/mean_length": 10.0,
            "completions/clipped_ratio": 0.0, "rewards/exact/mean": 0.4, "rewards/format/mean": 0.5,
            "reward/errors": 0, "grad_norm": 1.0,
        }  # fmt: skip
        change(step, row)
        rows.append(row)
    return rows


def after(start: int, **values: Any) -> Stream:
    """From step `start` on, these metrics."""

    def change(step: int, row: dict[str, Any]) -> None:
        if step >= start:
            row.update(values)

    return change


def hacked(step: int, row: dict[str, Any]) -> None:
    """The reward pays for the format, which improves; nothing else does."""
    gained = min(0.5, step / 100)
    row.update({"rewards/format/mean": 0.5 + gained, "reward": 0.4 + 0.5 * gained})


def grows(step: int, row: dict[str, Any]) -> None:
    row["kl"] = 0.05 * math.exp(max(0, step - 50) / 10)


def by_a_reward_model(step: int, row: dict[str, Any]) -> None:
    """Its only part rises by two deviations, and a third more completions are right."""
    gained = min(1.0, step / 100)
    row.update({"reward": 2 * gained, "rewards/reward_model/mean": 2 * gained, "reward_std": 1.0})
    row.update({"accuracy": 0.4 + 0.35 * gained, "rewards/gold/mean": 0.4 + 0.35 * gained})


TROUBLE: dict[str, tuple[Stream, range]] = {
    "not finite": (after(50, grad_norm=math.nan), range(50, 51)),
    "checker errors": (after(50, **{"reward/errors": 3}), range(50, 51)),
    "no variance": (after(50, frac_reward_zero_std=0.8), range(55, 70)),
    "KL blow-up": (grows, range(70, 100)),
    "length drift": (after(50, **{"completions/mean_length": 30.0, "completions/clipped_ratio": 0.5}), range(55, 70)),
    "entropy collapse": (after(50, entropy=0.05), range(50, 70)),
    "one part": (hacked, range(20, 70)),
    "reward fell": (after(50, reward=0.05, accuracy=0.05), range(50, 65)),
    "collapse": (after(50, **{"self_distillation/collapsed": 1}), range(50, 51)),
}


def test_every_alarm_is_tried_here() -> None:
    assert set(TROUBLE) == set(RULES)


def test_a_run_without_trouble_raises_none() -> None:
    assert list(alarms(stream(lambda step, row: None))) == []


@pytest.mark.parametrize("name", TROUBLE)
def test_each_alarm_is_raised_once_and_says_since_when_and_what_to_try(name: str) -> None:
    change, expected = TROUBLE[name]
    found = list(alarms(stream(change)))
    assert [alarm.name for alarm in found] == [name]
    [alarm] = found
    assert alarm.step in expected
    assert alarm.since <= alarm.step
    assert "\n" not in alarm.text
    assert alarm.text.startswith(f"{name}: ")
    assert str(alarm.since) in alarm.text or str(alarm.step) in alarm.text
    assert any(word in alarm.text for word in ("try", "look at", "repair", "go back"))


@pytest.mark.parametrize("every", [2, 5, 10, 20])
@pytest.mark.parametrize("name", TROUBLE)
def test_each_alarm_is_raised_from_the_rows_that_are_logged_too(name: str, every: int) -> None:
    """`run.log_every` thins what alarms see; trouble that lasts is found all the same."""
    change, expected = TROUBLE[name]
    rows = [row for row in stream(change, 300) if row["step"] % every == 0 or row["step"] == 1]
    found = list(alarms(rows))
    assert name in [alarm.name for alarm in found]
    assert found[0].step <= expected.stop + 2 * every + 20


@pytest.mark.parametrize(
    "change",
    [
        after(50, frac_reward_zero_std=0.9, accuracy=0.97, reward=0.97, entropy=0.01),  # solved
        after(50, **{"completions/mean_length": 11.5}),
        after(50, kl=0.9),  # far, but not running away
        after(50, accuracy=0.8, reward=0.8, **{"rewards/exact/mean": 0.8}),  # one part rises, and rightly
        lambda step, row: row.update(reward=row["reward"] * (1 + 0.4 * math.sin(step))),  # noise
        lambda step, row: row.update(reward=-1.0 - step / 50),  # rewards below zero have no half
        lambda step, row: row.update(reward=0.08 - 0.07 * (step > 40), reward_std=1.0),  # a reward model's, around 0
        by_a_reward_model,
        lambda step, row: [row.pop(key) for key in list(row) if key not in ("step", "loss")],
        lambda step, row: (row.pop("reward"), row.pop("accuracy"), row.update(entropy=5 / step)),  # imitation
        lambda step, row: row.update(kl=None, loss=None, grad_norm=None),
    ],
    ids=[
        "solved",
        "length",
        "kl",
        "right part",
        "noise",
        "negative",
        "around zero",
        "reward model",
        "supervised",
        "imitation",
        "unknown",
    ],
)
def test_what_is_no_trouble(change: Stream) -> None:
    assert list(alarms(stream(change))) == []


def test_an_entropy_that_turns_none_was_nan() -> None:
    [alarm] = alarms(stream(after(50, entropy=None)))
    assert (alarm.name, alarm.step) == ("not finite", 50)


def test_trouble_from_the_first_step_is_found() -> None:
    [alarm] = alarms(stream(after(1, frac_reward_zero_std=1.0, accuracy=0.0, reward=0.0), steps=25))
    assert alarm == Alarm(name="no variance", step=20, since=1, text=alarm.text)
    assert "almost nothing is right" in alarm.text


# --- in a run --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def logged(run: str) -> list[dict[str, Any]]:
    return [row for line in Path(run, "metrics.jsonl").read_text().splitlines() if "alarm" in (row := json.loads(line))]


def test_a_run_shows_and_records_them(capsys: pytest.CaptureFixture[str]) -> None:
    trouble = ("--trainer", "climb", "--set", "trainer.steps=40", "--set", "trainer.errors_at=30")
    assert scratch("run", *trouble, "--out", "a", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    [alarm] = [alarm for alarm in result["alarms"] if alarm["alarm"] == "checker errors"]
    assert alarm in logged("a")
    assert (alarm["stage"], alarm["step"], alarm["since"]) == ("train", 30, 30)
    assert err.count(f"alarm: {alarm['text']}") == 1
    assert f"Alarms:\n  {alarm['text']}" in err
    assert "checker errors: 3 completions of step 30" in Path("a/report.html").read_text()


def test_a_resumed_run_raises_the_same_ones_once(capsys: pytest.CaptureFixture[str]) -> None:
    trouble = ("--trainer", "climb", "--set", "trainer.steps=60", "--set", "trainer.errors_at=10",
               "--set", "run.save_every=7", "--set", "run.log_every=2")  # fmt: skip
    assert scratch("run", *trouble, "--out", "straight", "-q") == 0
    assert logged("straight")
    capsys.readouterr()
    assert scratch("run", *trouble, "--set", "trainer.signal_at=40", "--out", "broken", "-q") == 130
    before = capsys.readouterr().err
    assert scratch("run", "--resume", "broken", "-q") == 0
    after_resume = capsys.readouterr().err
    assert logged("broken") == logged("straight")
    assert [before.count("alarm: checker errors"), after_resume.count("alarm: checker errors")] == [1, 0]


def test_each_stage_is_compared_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm start leaves little entropy, and the training after it begins with that: nothing has collapsed."""
    from scratch_fakes.parts import Climb

    train = Climb.train

    def quieter(self: Any) -> Any:
        for row in train(self):
            yield {**row, "accuracy": 0.4, "entropy": 1.0 if self.config.stop_at else 0.05}

    monkeypatch.setattr(Climb, "train", quieter)
    assert scratch("run", "--trainer", "climb-warm", "--set", "trainer.steps=40", "--out", "a", "-q") == 0
    assert "entropy collapse" not in [row["alarm"] for row in logged("a")]


def test_what_a_failed_step_had_sampled_is_logged() -> None:
    assert scratch("run", "--trainer", "climb", "--set", "trainer.raise_at=5", "--out", "a", "-q") == 1
    rows = [json.loads(line) for line in Path("a/rollouts.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row.get("failed", False) for row in rows] == [False] * 4 + [True]
