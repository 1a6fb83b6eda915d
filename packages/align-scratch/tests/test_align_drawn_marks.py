"""Marks of the drawn tasks: every change of an answer judged by an oracle, hostile text, what can be hacked."""

from __future__ import annotations

import random
from time import process_time
from typing import Any

import pytest
from drawn_tasks import EXAMPLES, MAKE, every_task, every_variant
from hostile import nothing_runs
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.drawn_tasks import (
    BracketsConfig,
    CountdownConfig,
)
from align_scratch.tasks.brackets import Brackets
from align_scratch.tasks.countdown import Countdown
from align_scratch.tasks.problems import Example, complete

COUNTDOWN = {
    use: Countdown(CountdownConfig(use=use, n_train=4, n_held_out=1, partial=0.25))  # type: ignore[arg-type]
    for use in ("all", "any")
}


@every_variant
def test_own_answers_are_accepted_and_every_change_is_judged_by_the_oracle(name: str, options: dict[str, Any]) -> None:
    task = MAKE[name](**options, n_train=40, n_held_out=5, partial=0.5)
    rng = random.Random(name)
    for example in task.examples("train"):
        assert task.check(example, example.answer).correct
        assert task.check(example, f"\n{example.answer.strip()}  ").correct
        items = example.answer.split()
        for _ in range(5):
            at = rng.randrange(len(items))
            changed = [*items[:at], rng.choice("0123456789+-*/()ab"), *items[at + 1 :]]
            completion = " " + " ".join(changed)
            score = task.check(example, completion)
            if name != "countdown":
                assert score.correct is (completion == example.answer)
            assert score.correct is (score.explanation == "") is (score.reward == 1.0)
        for completion in (f"{example.answer} {items[-1]}", example.answer[:-2], example.answer.replace(" ", "")):
            if len(items) > 1:
                assert not task.check(example, completion).correct


@pytest.mark.parametrize(
    ("completion", "told"),
    [
        ("} ]", "position 2: got ']', expected ')', which closes '(', symbol 1 of the problem"),
        (")", "position 1: got ')', expected '}', which closes '{', symbol 4 of the problem"),
        ("}", "position 2: nothing there, expected ')', which closes '(', symbol 1 of the problem"),
        ("} ) )", "position 3: got ')', expected the end, everything is closed by then"),
        ("})", "position 1: got '})', expected '}', which closes '{', symbol 4 of the problem"),
        ("}  )", "the items are right, but not separated or ended as in the answer"),
        ("} )", ""),
    ],
)
def test_a_wrong_bracket_is_explained_by_the_one_it_should_close(completion: str, told: str) -> None:
    score = Brackets(BracketsConfig(n_train=4, n_held_out=1)).check(Example("( [ ] { =", " } )", ""), completion)
    assert score.explanation == told


MB = 2**20
HOSTILE = {
    "nothing": "",
    "one long item": "9" * MB,
    "digits": "9 " * (MB // 2),
    "brackets": "( " * (MB // 2),
    "signs": "- " * (MB // 2),
    "spaces": " " * MB,
    "NULs": "\0" * MB,
    "surrogates": "\ud800 " * (MB // 2),
    "tower": "9**9**9**9",
    "spaced tower": "9 * * 9 * * 9",
    "code": "__import__('os').system('exit 1')",
    "format": "{0.__class__}%s%n",
    "not a number": "nan inf -inf 1e999999",
    "right to left": "\u202e1 2\u202c",
    "other digits": "\u0661 \u0662",
}


@every_task
@pytest.mark.parametrize("partial", [0.0, 1.0])
def test_hostile_text_is_marked_wrong_at_once_and_none_of_it_runs(name: str, partial: float) -> None:
    task = MAKE[name](n_train=4, n_held_out=1, partial=partial)
    example = task.examples("train")[0]
    texts = {**HOSTILE, "right, then more": example.answer + " 9" * (MB // 2), "right, then NUL": example.answer + "\0"}
    texts["right, far behind spaces more"] = example.answer + " " * MB + "9"
    for kind, text in texts.items():
        started = process_time()
        with nothing_runs():
            score = task.check(example, text)
        assert process_time() - started < 0.5, kind
        assert not score.correct, kind
        assert 0.0 <= score.reward < 1.0 or (name, partial) == ("countdown", 1.0), kind
        assert 0 < len(score.explanation) < 500, kind
        score.explanation.encode("utf-8")


@given(completion=st.text(st.sampled_from("0123456789+-*/() =.,\n") | st.characters(), max_size=40))
@settings(max_examples=5 * EXAMPLES, deadline=None, derandomize=True)
def test_any_text_is_marked(completion: str) -> None:
    score = COUNTDOWN["all"].check(Example("2 , 3 : 6 =", " 2 * 3", " 2 * 3"), completion)
    assert score.correct is (completion.strip() in {"2 * 3", "3 * 2"}) or "(" in completion
    assert score.correct is (score.explanation == "")


def test_shaped_rewards_can_be_hacked_where_said() -> None:
    """`partial` pays countdown for any use of the numbers: half the reward without reaching anything."""
    task = Countdown(CountdownConfig(n_train=200, n_held_out=1, partial=0.5))
    hacked = [
        task.check(e, " " + " + ".join(n.strip() for n in e.prompt.partition(":")[0].split(","))).reward
        for e in task.examples("train")
    ]
    assert min(hacked) == 0.5
    assert sum(reward == 0.5 for reward in hacked) > 100


def test_a_side_without_problems_is_refused() -> None:
    with pytest.raises(ValueError, match=r"task: has no held_out problem at this difficulty: .*; make it harder"):
        complete({"train": [Example("a", "b", "b")], "held_out": []})
