"""Trainers that learn something besides the model: it is in the finished run, verified, and judged from there."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import scratch

from scratch_cli import summary

JUDGE = ("run", "--trainer", "judge", "--out", "a")


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRATCH_HOME", raising=False)


def test_what_a_trainer_saves_is_in_the_run_with_its_hash() -> None:
    assert scratch(*JUDGE, "--steps", "5") == 0
    assert json.loads(Path("a/trainer/head.json").read_text()) == 5
    assert len(tomllib.loads(Path("a/run.toml").read_text())["hashes"]["trainer"]) == 64


def test_eval_of_a_finished_run_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch(*JUDGE, "--steps", "5", "--json") == 0
    after = json.loads(capsys.readouterr().out)["after"]
    assert after["accuracy"] == 0.05
    assert scratch("eval", "a", "--json") == 0
    assert json.loads(capsys.readouterr().out)["values"] == after


def test_eval_of_an_unfinished_run_has_it_from_the_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch(*JUDGE, "--steps", "9", "--set", "trainer.signal_at=4") == 130
    assert not Path("a/trainer").exists()
    capsys.readouterr()
    assert scratch("eval", "a", "--json") == 0
    assert json.loads(capsys.readouterr().out)["values"]["accuracy"] == 0.04
    assert scratch("run", "--resume", "a") == 0
    assert json.loads(Path("a/trainer/head.json").read_text()) == 9


def test_files_that_were_changed_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch(*JUDGE, "--steps", "2") == 0
    Path("a/trainer/head.json").write_text("7")
    capsys.readouterr()
    assert scratch("eval", "a") == 5
    assert "is not the trainer of this run" in capsys.readouterr().err


def test_trainers_without_files_have_no_folder() -> None:
    assert scratch("run", "--trainer", "climb", "--out", "a", "--steps", "2") == 0
    assert not Path("a/trainer").exists()
    assert "trainer" not in tomllib.loads(Path("a/run.toml").read_text())["hashes"]


def test_accuracy_of_pairs_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert scratch(*JUDGE, "--steps", "5") == 0
    said = "".join(capsys.readouterr())
    assert "Held-out accuracy, task toy:" in said
    assert "accuracy   5.0%  margin 1.5  pairs 8" in said
    assert "scratch eval a" in said
    assert "scratch generate" not in said
    assert "held-out accuracy 5%" in said
    page = Path("a/report.html").read_text("utf-8")
    assert "Accuracy on held-out data" in page
    assert "accuracy   5.0%" in page


def test_accuracy_stands_beside_that_of_a_checker() -> None:
    values = {"greedy": 0.5, "sampled": 0.25, "accuracy": 0.75, "reward": 0.1}
    assert summary.values_text(values) == "greedy  50.0%  sampled  25.0%  accuracy  75.0%"
