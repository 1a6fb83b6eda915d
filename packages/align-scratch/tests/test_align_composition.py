"""Several rewards as one: weights, a gate, and failures that are counted and masked instead of paid as zero."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.tasks import SortConfig
from align_scratch.errors import CheckerFailed
from align_scratch.marking import mark_all
from align_scratch.rewards.composition import Composition, Judgement
from align_scratch.rewards.extraction import gold, last_number
from align_scratch.rewards.functions import FeedbackReward, FunctionReward, as_feedback
from align_scratch.rewards.matching import Exact, Numeric, Pattern
from align_scratch.rewards.math_answers import Verdict, compare
from align_scratch.rewards.shape import Length
from align_scratch.tasks.graded import Graded
from align_scratch.tasks.problems import Example
from align_scratch.tasks.sorting import Sort

EXAMPLE = Example("1 + 1 =", "2", "2")


@dataclass
class Says:
    """A reward that says, or raises, what it is told to."""

    said: Any
    name: str = "says"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        if isinstance(self.said, BaseException):
            raise self.said
        return Judgement(self.said)


def test_parts_are_weighted_summed_and_each_logged_bare() -> None:
    composition = Composition([(Says(1.0, "a"), 0.5), (Says(-2, "b"), 0.25), (Says(7.0, "c"), 0.0)])
    score = composition.score(EXAMPLE, "x")
    assert score.reward == 0.5 * 1.0 + 0.25 * -2
    assert score.parts == {"a": 1.0, "b": -2.0, "c": 7.0}
    assert score.correct
    assert not composition.counts


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_reward_is_the_weighted_sum(pairs: list[tuple[float, float]]) -> None:
    rewards = [(Says(value, str(i)), weight) for i, (value, weight) in enumerate(pairs)]
    score = Composition(rewards).score(EXAMPLE, "")
    assert score.reward == pytest.approx(sum(value * weight for value, weight in pairs))
    assert list(score.parts.values()) == [value for value, _ in pairs]


@pytest.mark.parametrize(
    ("form", "truth", "reward", "correct"),
    [(0.0, 1.0, 0.0, False), (1.0, 1.0, 1.1, True), (1.0, 0.0, 0.1, False), (-1.0, 1.0, 0.0, False),
     (0.5, 1.0, 1.05, True)],
)  # fmt: skip
def test_nothing_is_paid_behind_a_closed_gate(form: float, truth: float, reward: float, correct: bool) -> None:
    def right(parts: Mapping[str, float]) -> bool:
        return parts["truth"] == 1.0 and parts["form"] > 0.0

    rewards = [(Says(form, "form"), 0.1), (Says(truth, "truth"), 1.0)]
    score = Composition(rewards, gate="form", correct=right).score(EXAMPLE, "x")
    assert (score.reward, score.correct) == (pytest.approx(reward), correct)
    assert score.parts == {"form": form, "truth": truth}


@pytest.mark.parametrize(
    ("said", "count", "told"),
    [
        (None, "none", "cannot be judged"),
        (math.nan, "errors", "failed: gave nan, which is no finite number"),
        (math.inf, "errors", "failed: gave inf, which is no finite number"),
        (-math.inf, "errors", "failed: gave -inf, which is no finite number"),
        ("1.0", "errors", "failed: gave '1.0', which is no finite number"),
        ([1.0], "errors", "failed: gave [1.0], which is no finite number"),
        (1j, "errors", "failed: gave 1j, which is no finite number"),
        (ValueError("no"), "errors", "failed: ValueError: no"),
        (RecursionError("deep"), "errors", "failed: RecursionError: deep"),
        (TimeoutError("slow"), "timeouts", "could not be judged in time: slow"),
    ],
)
def test_a_failure_is_counted_and_masks_the_completion(said: Any, count: str, told: str) -> None:
    composition = Composition([(Says(1.0, "good"), 1.0), (Says(said, "bad"), 1.0)])
    for again in (1, 2):
        score = composition.score(EXAMPLE, "x")
        assert math.isnan(score.reward)
        assert math.isnan(score.parts["bad"])
        assert score.parts["good"] == 1.0
        assert not score.correct
        assert score.explanation == f"bad: {told}"
        assert dict(composition.counts) == {f"bad/{count}": again}


def test_an_unpaid_part_that_fails_masks_nothing_but_is_counted() -> None:
    composition = Composition([(Says(1.0, "good"), 1.0), (Says(math.nan, "bad"), 0.0)])
    score = composition.score(EXAMPLE, "x")
    assert (score.reward, score.correct) == (1.0, True)
    assert math.isnan(score.parts["bad"])
    assert composition.counts["bad/errors"] == 1


def test_a_gate_that_fails_masks_and_a_closed_one_hides_failures() -> None:
    bad_gate = Composition([(Says(math.nan, "gate"), 0.0), (Says(1.0, "x"), 1.0)], gate="gate")
    assert math.isnan(bad_gate.score(EXAMPLE, "").reward)
    closed = Composition([(Says(0.0, "gate"), 0.0), (Says(math.nan, "x"), 1.0)], gate="gate")
    assert closed.score(EXAMPLE, "").reward == 0.0


def test_none_can_be_left_out_of_the_sum_as_in_trl() -> None:
    rewards = [(Says(0.25, "a"), 2.0), (Says(None, "b"), 1.0)]
    assert Composition(rewards, skip_none=True).score(EXAMPLE, "").reward == 0.5
    assert math.isnan(Composition([(Says(None, "b"), 1.0)], skip_none=True).score(EXAMPLE, "").reward)
    assert math.isnan(Composition([*rewards, (Says("x", "c"), 1.0)], skip_none=True).score(EXAMPLE, "").reward)


def test_explanations_name_their_part_and_are_short() -> None:
    composition = Composition([(Exact(), 1.0), (Pattern(pattern="z"), 0.1)])
    assert (
        composition.score(EXAMPLE, "3").explanation
        == "exact: position 1: got '3', expected '2'; pattern: does not match 'z'"
    )
    assert composition.score(EXAMPLE, "2").explanation == ""
    assert composition.counts["pattern/unparsed"] == 2
    long = Composition([(Says(RuntimeError("\ud800" * 10_000)), 1.0)]).score(EXAMPLE, "")
    assert len(long.explanation) <= 500
    long.explanation.encode("utf-8")
    assert Composition([(Says(0.5), 1.0)]).score(EXAMPLE, "").explanation == "says 0.5"


@pytest.mark.parametrize(
    ("rewards", "options", "message"),
    [
        ([], {}, "rewards: got none, must be at least one"),
        ([(Says(1), 1.0), (Says(1), 1.0)], {}, r"rewards: got names \('says', 'says'\), must be different"),
        ([(Says(1), math.nan)], {}, "rewards: got weight nan of 'says', must be finite"),
        ([(Says(1), 1.0)], {"gate": "x"}, "gate: got 'x', must be one of says"),
        ([(Says(1), 1.0)], {"correct": "x"}, "correct: got 'x', must be one of says"),
    ],
)
def test_what_makes_no_sense_is_refused(rewards: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Composition(rewards, **options)


# --- functions of the user's -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    prompt: str = "p"
    answer: str = "2"
    demonstration: str = "2"
    columns: Mapping[str, Any] = field(default_factory=lambda: {"level": 3, "topic": "sums"})


def test_functions_as_trl_takes_them() -> None:
    seen: list[dict[str, Any]] = []

    def everything(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        seen.append({"prompts": prompts, "completions": completions, **columns})
        return [1.0 for _ in completions]

    def named(completions: list[str], answer: list[str], level: list[int], prompts: list[str]) -> list[float]:
        return [float(c == a) * n for c, a, n in zip(completions, answer, level, strict=True)]

    def plain(prompts: list[str], completions: list[str]) -> list[float]:
        return [float(len(c)) for c in completions]

    composition = Composition.from_functions([everything, named, plain], [1.0, 0.5, 0.25], correct="named")
    score = composition.score(Row(), "2")
    assert seen == [{"prompts": ["p"], "completions": ["2"], "answer": ["2"], "level": [3], "topic": ["sums"]}]
    assert score.parts == {"everything": 1.0, "named": 3.0, "plain": 1.0}
    assert score.reward == 1.0 + 1.5 + 0.25
    assert score.correct
    assert Composition.from_functions([plain]).score(EXAMPLE, "abc").reward == 3.0
    rows = [Row("a", "1", columns={"level": 1}), Row("b", "2", columns={"level": 2, "topic": "x"})]
    scores = composition.score_all(rows, ["1", "1"])
    assert seen[1] == {
        "prompts": ["a", "b"],
        "completions": ["1", "1"],
        "answer": ["1", "2"],
        "level": [1, 2],
        "topic": [None, "x"],
    }
    assert [score.parts["named"] for score in scores] == [1.0, 0.0]
    assert len(seen) == 2
    with pytest.raises(ValueError, match="weights: got 1, must be 2"):
        Composition.from_functions([plain, named], [1.0])


@pytest.mark.parametrize(
    ("returned", "told"),
    [([], "got 0 values"), ([1.0, 2.0], "got 2 values"), (1.0, r"got 1\.0"), (None, "got None"), ("1", "got 1 values")],
)
def test_a_list_of_another_length_stops_the_run(returned: Any, told: str) -> None:
    def wrong(prompts: list[str], completions: list[str]) -> Any:
        return returned

    composition = Composition.from_functions([wrong])
    with pytest.raises(CheckerFailed, match=f"reward wrong: {told} for 1 completions"):
        composition.score(EXAMPLE, "x")

    class Task:
        def examples(self, split: str, /) -> list[Example]:
            return [EXAMPLE]

        def check(self, example: Any, completion: str, /) -> Any:
            return composition.score(example, completion)

    with pytest.raises(CheckerFailed, match="reward wrong"):
        mark_all(Task(), [EXAMPLE], ["x"])
    assert not composition.counts


@pytest.mark.parametrize("returned", [[None], [math.nan], [math.inf], ["1"], [[1.0]]])
def test_values_that_are_no_numbers_mask_and_are_counted(returned: Any) -> None:
    def odd(prompts: list[str], completions: list[str]) -> Any:
        return returned

    composition = Composition.from_functions([odd])
    assert math.isnan(composition.score(EXAMPLE, "x").reward)
    assert sum(composition.counts.values()) == 1


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy", reason="torch works without numpy")
    for kind in (numpy.float32, numpy.float64, numpy.int64):
        assert Composition([(Says(kind(1)), 1.0)]).score(EXAMPLE, "").reward == 1.0
    assert type(Composition([(Says(numpy.float32(1)), 1.0)]).score(EXAMPLE, "").parts["says"]) is float


def test_arrays_and_tensors_are_lists() -> None:
    torch = pytest.importorskip("torch")
    for made in (torch.tensor([0.5, 1.0]), torch.tensor([0.5, 1.0]).numpy()):
        composition = Composition.from_functions([lambda prompts, completions, made=made: made])
        assert [score.reward for score in composition.score_all([EXAMPLE] * 2, ["a", "b"])] == [0.5, 1.0]
        with pytest.raises(CheckerFailed, match="got 2 values for 1 completions"):
            composition.score(EXAMPLE, "a")


def test_a_function_that_hangs_is_left_after_its_time() -> None:
    gate = threading.Event()

    def hangs(prompts: list[str], completions: list[str]) -> list[float]:
        if completions == ["hang"]:
            gate.wait(20)
        return [1.0]

    composition = Composition.from_functions([hangs], seconds=0.3)
    started = time.monotonic()
    assert math.isnan(composition.score(EXAMPLE, "hang").reward)
    assert time.monotonic() - started < 10
    assert composition.counts["hangs/timeouts"] == 1
    gate.set()
    assert composition.score(EXAMPLE, "x").reward == 1.0


def test_rewards_with_feedback_both_ways() -> None:
    compute = as_feedback(Exact())
    assert compute("1 + 1 =", "2", "2") == {"reward": 1.0, "feedback": ""}
    assert compute("1 + 1 =", "3", "2") == {"reward": 0.0, "feedback": "position 1: got '3', expected '2'"}
    score = Composition([(FeedbackReward(compute, name="old"), 1.0)]).score(EXAMPLE, "3")
    assert (score.reward, score.explanation) == (0.0, "old: position 1: got '3', expected '2'")


def test_names_come_from_the_function() -> None:
    class Callable_:
        def __call__(self, prompts: list[str], completions: list[str]) -> list[float]:
            return [0.0]

    assert FunctionReward(Callable_()).name == "Callable_"
    assert FunctionReward(Callable_(), name="mine").name == "mine"


def test_a_function_gets_a_batch_at_once_and_costs_all_of_it_if_it_raises() -> None:
    calls: list[int] = []

    def relative(prompts: list[str], completions: list[str]) -> list[float]:
        calls.append(len(completions))
        if "bad" in completions:
            raise RuntimeError("cannot read this")
        longest = max(map(len, completions))
        return [len(c) / longest for c in completions]

    task = Graded(Sort(SortConfig(length=2, n_train=8, n_held_out=2)), Composition.from_functions([relative]))
    examples = task.examples("train")[:2]
    marks = mark_all(task, examples, ["a", "bb", "cccc", "dd"], group_size=2)
    assert [mark.reward for mark in marks] == [0.25, 0.5, 1.0, 0.5]
    marks = mark_all(task, examples, ["a", "bad", "c", "d"], group_size=2)
    assert all(math.isnan(mark.reward) for mark in marks)
    assert "RuntimeError: cannot read this" in marks[0].explanation
    assert task.rewards.counts["relative/errors"] == 4
    assert calls == [4, 4]
    assert mark_all(task, examples, [], group_size=2) == []


def test_a_closed_gate_is_never_correct_and_huge_rewards_mask() -> None:
    closed = Composition([(Says(1.0, "truth"), 1.0), (Says(0.0, "form"), 0.0)], gate="form").score(EXAMPLE, "x")
    assert (closed.reward, closed.correct) == (0.0, False)
    huge = Composition([(Says(1e308, "a"), 1e308), (Says(1.0, "b"), 1.0)]).score(EXAMPLE, "x")
    assert math.isnan(huge.reward)


# --- in a task's place -----------------------------------------------------------------------------------------------


def test_rewards_take_the_place_of_a_tasks_checker() -> None:
    below = Sort(SortConfig(length=3, n_train=20, n_held_out=5))
    task = Graded(below, Composition([(Exact(), 1.0), (Length(most=4), 0.1)]))
    assert task.examples("train") is below.examples("train")
    assert list(task.texts("held_out")) == list(below.texts("held_out"))
    assert task.lesson == below.lesson
    example = task.examples("train")[0]
    assert task.check(example, example.answer).reward == 1.0
    assert task.check(example, "x").reward == 0.1
    assert not task.check(example, "x").correct


def test_every_gold_answer_of_gsm8k_is_read_and_is_its_own_solution() -> None:
    path = Path(__file__).parents[4] / "shared" / "data" / "gsm8k_test.jsonl"
    if not path.exists():
        pytest.skip(f"needs {path.name} beside the repository")
    answers = [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()]
    golds = [last_number(gold(answer)) for answer in answers]
    assert len(golds) == 1319
    assert None not in golds
    numbers = [number for number in golds if number is not None]
    assert sum(abs(number) >= 1000 for number in numbers) == 131
    assert sum("," in gold(answer) for answer in answers) == 14
    assert sum(number < 0 for number in numbers) == 2
    assert all(number.denominator == 1 for number in numbers)
    for number, answer in zip(numbers, answers, strict=True):
        for mode in ("strict", "lenient"):
            assert Numeric(mode=mode)(answer, prompt="", answer=answer).value == 1.0  # type: ignore[arg-type]
            assert Numeric(mode=mode)(f"#### {number + 1}", prompt="", answer=answer).value == 0.0  # type: ignore[arg-type]
        assert compare(gold(answer), f"${int(number):,}") is Verdict.EQUAL
