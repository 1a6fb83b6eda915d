"""Checkers that raise, give nonsense or hang cost their completion its mark, not the run."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from align_scratch.errors import CheckerFailed
from align_scratch.marking import mark_all
from align_scratch.rewards import time_limit
from align_scratch.rewards.time_limit import call_within
from align_scratch.tasks.problems import Example, Score

EXAMPLES = [Example("a", "1", "1"), Example("b", "2", "2")]


@dataclass
class Task:
    judge: Callable[[str], Any]

    def examples(self, split: str, /) -> list[Example]:
        return EXAMPLES

    def check(self, example: Example, completion: str, /) -> Any:
        return self.judge(completion)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging code waits for; opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()
    for thread in time_limit._abandoned:
        thread.join(10)


def test_marks_come_in_order_and_with_their_example() -> None:
    class Named(Task):
        def check(self, example: Example, completion: str, /) -> Score:
            return Score(float(completion), False, {}, example.prompt)

    marks = mark_all(Named(str), EXAMPLES, ["0", "1", "2", "3"], group_size=2)
    assert [(mark.reward, mark.explanation) for mark in marks] == [(0, "a"), (1, "a"), (2, "b"), (3, "b")]
    assert mark_all(Named(str), [], []) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (ZeroDivisionError("oh"), "the checker failed: ZeroDivisionError: oh"),
        (Score(math.nan, False), "the checker gave the reward nan"),
        (Score(math.inf, False, {}, "why"), "the checker gave the reward inf: why"),
        (Score(1.0, True, {"a": None}), "the checker gave the part 'a' the value None, which is no number"),
        (Score(math.nan, False, {"a": "1"}), "the checker gave the part 'a' the value '1', which is no number"),
        (Score("1", True), "the checker failed: TypeError: must be real number, not str"),  # type: ignore[arg-type]
        (None, "the checker failed: AttributeError: 'NoneType' object has no attribute 'reward'"),
        (0.5, "the checker failed: AttributeError: 'float' object has no attribute 'reward'"),
    ],
)
def test_a_failing_checker_costs_the_mark_only(given: Any, told: str) -> None:
    def judge(completion: str) -> Any:
        if completion == "good":
            return Score(1.0, True)
        if isinstance(given, Exception):
            raise given
        return given

    good, bad, last = mark_all(Task(judge), EXAMPLES, ["good", "bad", "good"], group_size=2)
    assert (good.reward, last.reward) == (1.0, 1.0)
    assert math.isnan(bad.reward)
    assert (bad.correct, bad.explanation) == (False, told)


def test_parts_of_a_masked_completion_are_kept() -> None:
    [mark] = mark_all(Task(lambda _: Score(math.nan, False, {"form": 1.0, "truth": math.nan})), EXAMPLES, ["x"])
    assert mark.parts["form"] == 1.0
    assert math.isnan(mark.parts["truth"])


def test_what_no_completion_can_mend_ends_the_run() -> None:
    def judge(completion: str) -> Any:
        raise CheckerFailed("reward x: got 2 values for 1 completion")

    with pytest.raises(CheckerFailed, match="got 2 values"):
        mark_all(Task(judge), EXAMPLES, ["x"])

    def leave(completion: str) -> Any:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        mark_all(Task(leave), EXAMPLES, ["x"])


def test_a_checker_that_hangs_loses_that_mark_and_others_are_made(gate: threading.Event) -> None:
    def judge(completion: str) -> Score:
        if completion == "hang":
            gate.wait()
        return Score(float(completion == "good"), completion == "good")

    marks = mark_all(Task(judge), EXAMPLES, ["good", "hang", "bad", "hang", "good", "bad"], group_size=3, seconds=0.4)
    assert [mark.reward for mark in marks[0:1] + marks[2:3] + marks[4:]] == [1.0, 0.0, 1.0, 0.0]
    for row in (1, 3):
        assert math.isnan(marks[row].reward)
        assert marks[row].explanation.startswith("the checker did not come back: checker: no result within 0.4 seconds")
    gate.set()


def test_a_checker_that_hangs_again_and_again_ends_the_run(gate: threading.Event) -> None:
    task = Task(lambda _: gate.wait())
    with pytest.raises(CheckerFailed, match=r"3 calls took more than 0\.02 seconds and still go on in the background"):
        mark_all(task, EXAMPLES, ["x"] * 20, group_size=10, seconds=0.02)


def test_a_task_that_marks_batches_is_asked_once(gate: threading.Event) -> None:
    class Batch(Task):
        def check_all(self, examples: Any, completions: Any, /) -> Any:
            if "hang" in completions:
                gate.wait()
            if "raise" in completions:
                raise KeyError("inner")
            scores = [Score(float(e.answer == c), e.answer == c) for e, c in zip(examples, completions, strict=True)]
            return scores[1:] if "short" in completions else scores

    task = Batch(str)
    assert [m.reward for m in mark_all(task, EXAMPLES, ["1", "2", "1", "2"], group_size=2)] == [1.0, 0.0, 0.0, 1.0]
    for word, told in (("hang", "no result within 0.2 seconds"), ("raise", "KeyError: 'inner'")):
        marks = mark_all(task, EXAMPLES, ["1", word], seconds=0.2)
        assert all(math.isnan(mark.reward) and told in mark.explanation for mark in marks)
    with pytest.raises(CheckerFailed, match="check_all gave 1 scores for 2 completions"):
        mark_all(task, EXAMPLES, ["1", "short"])


def test_slow_is_not_hanging(gate: threading.Event) -> None:
    """Many completions may together take longer than one may."""

    def judge(completion: str) -> Score:
        gate.wait(0.01)
        return Score(1.0, True)

    marks = mark_all(Task(judge), EXAMPLES, ["x"] * 60, group_size=30, seconds=0.5)
    assert [mark.reward for mark in marks] == [1.0] * 60


def test_one_call_is_given_up_after_its_time(gate: threading.Event) -> None:
    assert call_within(None, "x", lambda: 1) == 1
    assert call_within(5.0, "x", lambda: 2) == 2
    with pytest.raises(KeyError, match="inner"):
        call_within(5.0, "x", lambda: {}["inner"])
    with pytest.raises(TimeoutError, match=r"^slow: no result within 0\.02 seconds$"):
        call_within(0.02, "slow", gate.wait)
