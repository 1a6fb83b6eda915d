"""What could not be judged is counted by part: in scores, in a trainer's metrics and in evaluations."""

from __future__ import annotations

import math
from typing import Any

import pytest

from align_scratch.config.grpo import GRPOConfig
from align_scratch.evaluation import Evaluation
from align_scratch.grpo import GRPO
from align_scratch.marking import mark_all
from align_scratch.metrics import failures
from align_scratch.rewards.composition import Composition, Judgement
from align_scratch.rewards.matching import Boxed, Exact, Pattern
from align_scratch.tasks.graded import Graded
from align_scratch.tasks.problems import Example, Score
from scratch_cli.alarms import alarms

EXAMPLE = Example("1 + 1 =", "2", "2")


class Moody:
    """A reward that fails in a way of its own for each first character."""

    name = "moody"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        first = completion.strip()[:1]
        if first == "a":
            raise TimeoutError("too late")
        if first == "b":
            raise KeyError("inner")
        if first == "c":
            return Judgement(None)
        return Judgement(0.0, "nothing there", unparsed=first == "d")


def test_a_score_says_what_was_counted() -> None:
    composition = Composition([(Moody(), 1.0), (Exact(), 1.0)])
    said = {text: composition.score(EXAMPLE, text) for text in ("a", "b", "c", "d", "2")}
    assert {text: dict(score.counts) for text, score in said.items()} == {
        "a": {"moody/timeouts": 1}, "b": {"moody/errors": 1}, "c": {"moody/none": 1}, "d": {"moody/unparsed": 1},
        "2": {},
    }  # fmt: skip
    assert [math.isnan(said[text].reward) for text in "abcd"] == [True, True, True, False]
    assert sum(composition.counts.values()) == 4
    assert failures(said.values()) == {
        f"rewards/moody/{kind}": 1 for kind in ("errors", "none", "timeouts", "unparsed")
    }


def test_a_pattern_that_takes_too_long_is_counted_as_that() -> None:
    composition = Composition([(Pattern(pattern="(a+)+$", seconds=0.02), 1.0)])
    [mark] = mark_all(Graded(None, composition), [EXAMPLE], ["a" * 100_000 + "!"])  # type: ignore[arg-type]
    assert math.isnan(mark.reward)
    assert failures([mark]) == {"rewards/pattern/timeouts": 1}


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        (ZeroDivisionError("oh"), {"checker/errors": 1}),
        (TimeoutError("late"), {"checker/timeouts": 1}),
        (Score(math.nan, False), {"checker/errors": 1}),
        (Score(math.nan, False, counts={"form/timeouts": 1}), {"form/timeouts": 1}),
        (Score(1.0, True), {}),
    ],
)
def test_a_checker_that_fails_as_a_whole_is_a_part_of_its_own(given: Any, counted: dict[str, int]) -> None:
    class Task:
        def examples(self, split: str, /) -> list[Example]:
            return [EXAMPLE]

        def check(self, example: Example, completion: str, /) -> Any:
            if isinstance(given, Exception):
                raise given
            return given

    [mark] = mark_all(Task(), [EXAMPLE], ["x"])
    assert getattr(mark, "counts", None) == counted


def test_trainers_and_evaluations_report_them_and_the_alarm_names_the_part(parts: Any) -> None:
    """An unpaid part costs no completion its reward, and is counted all the same."""
    for weight in (1.0, 0.0):
        built = parts()
        task = Graded(built["task"], Composition([(Exact(), 1.0), (Everywhere(), weight), (Boxed(), 0.0)]))
        trainer = GRPO(GRPOConfig(steps=2, prompts_per_step=8, group_size=4), **built | {"task": task})
        rows = [dict(row) for row in trainer.train()]
        for row in rows:
            assert row["rewards/everywhere/timeouts"] >= 1
            assert row["rewards/boxed/unparsed"] == 32
            assert (row["reward/errors"] > 0) == (weight > 0)
            assert "rewards/exact/errors" not in row  # what did not occur is not there
        [alarm] = [alarm for alarm in alarms(rows) if alarm.name == "checker errors"]
        assert f"everywhere/timeouts {rows[0]['rewards/everywhere/timeouts']}" in alarm.text
        found = trainer.evaluate()
        assert found["rewards/boxed/unparsed"] == 80  # 40 problems, greedy and sampled
        assert (found["reward/errors"] or 0) > 0 or weight == 0


class Everywhere:
    """Judges in time what it has not seen yet, and nothing twice in a row."""

    name = "everywhere"
    calls = 0

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        self.calls += 1
        if self.calls % 2:
            raise TimeoutError("too late")
        return Judgement(0.0)


def test_an_evaluation_without_failures_says_nothing_of_them(parts: Any) -> None:
    built = parts()
    del built["seed"]
    assert not [
        name for name in Evaluation(max_new_tokens=4, **built).run() if name.startswith(("reward/", "rewards/"))
    ]
