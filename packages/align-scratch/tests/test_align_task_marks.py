"""Marks of the first tasks against oracles: own answers, every corruption, hostile text, linear time."""

from __future__ import annotations

import builtins
import os
import subprocess
from itertools import permutations
from math import sqrt
from time import process_time
from typing import Any

import pytest
import torch
from first_tasks import SPLITS, TASKS, every_task, sort_of, tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.tasks.problems import Example, ProblemTask, hash_unit


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def first_wrong(answer: str, completion: str) -> int | None:
    """By hand: the first item, counted from 1, that is not as in the answer."""
    want, got = answer.split(), completion.split()
    for i in range(max(len(want), len(got))):
        if want[i : i + 1] != got[i : i + 1]:
            return i + 1
    return None


@given(drawn=tasks(), around=st.text(" \t\n\r", max_size=4), before=st.text(" \t\n\r", max_size=4))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_own_answers_are_accepted_with_white_space_around_them(
    drawn: tuple[str, int, ProblemTask, dict[str, Any]], around: str, before: str
) -> None:
    _, _, task, _ = drawn
    for split in SPLITS:
        for example in task.examples(split)[:10]:
            for completion in (example.answer, before + example.answer.strip() + around):
                score = task.check(example, completion)
                assert (score.correct, score.reward, score.explanation) == (True, 1.0, "")
                assert score.parts == {"exact": 1.0, "positions": 1.0}


@every_task
@pytest.mark.parametrize("partial", [0.0, 0.5, 1.0])
def test_every_corruption_of_one_character_is_refused_and_its_place_named(name: str, partial: float) -> None:
    make, low, _ = TASKS[name]
    task = make(low + 1, n_train=8, n_held_out=1, partial=partial)
    alphabet = "0123456789abz +=-.\t\n\0\u0663\u00b2\u200b\ud800\U0001d7d9"
    tried = 0
    for example in task.examples("train"):
        answer = example.answer
        spoilt = {answer[:i] + answer[i + 1 :] for i in range(len(answer))}
        spoilt |= {answer[:i] + c + answer[i + 1 :] for i in range(len(answer)) for c in alphabet}
        spoilt |= {answer[:i] + c + answer[i:] for i in range(len(answer) + 1) for c in alphabet}
        for completion in (text for text in spoilt if text.strip() != answer.strip()):
            tried += 1
            score = task.check(example, completion)
            assert not score.correct
            assert 0.0 <= score.reward < 1.0
            assert score.parts["exact"] == 0.0
            place = first_wrong(answer, completion)
            if place is None:
                assert score.explanation == "the items are right, but not separated or ended as in the answer"
            else:
                assert score.explanation.startswith(f"position {place}: ")
    assert tried > 1000


@pytest.mark.parametrize(
    ("completion", "positions", "explanation"),
    [
        (" 3 1 2", 1 / 3, "position 2: got '1', expected '2'"),
        (" 3 2", 2 / 3, "position 3: nothing there, expected '1'"),
        (" 3 2 1 1", 3 / 4, "position 4: got '1', expected the end"),
        (" 321", 0.0, "position 1: got '321', expected '3'"),
        ("", 0.0, "position 1: nothing there, expected '3'"),
        (" 1 2 3", 1 / 3, "position 1: got '1', expected '3'"),
        (" 3  2 1", 0.0, "the items are right, but not separated or ended as in the answer"),
        (" 3 2 " + "1" * 50, 2 / 3, f"position 3: got '{'1' * 40}'..., expected '1'"),
    ],
)
@pytest.mark.parametrize("partial", [0.0, 0.5, 1.0])
def test_partial_marks_by_hand(completion: str, positions: float, explanation: str, partial: float) -> None:
    score = sort_of(3, partial=partial, n_train=1).check(Example(" 1 3 2 =", " 3 2 1", " 1 2 3"), completion)
    assert score.parts == {"exact": 0.0, "positions": pytest.approx(positions)}
    assert score.reward == pytest.approx(partial * positions)
    assert (score.correct, score.explanation) == (False, explanation)


def test_the_demonstrated_other_order_earns_nothing() -> None:
    task = sort_of(8, n_train=500)
    seen = [task.check(e, e.demonstration) for e in task.examples("train") if e.demonstration != e.answer]
    assert len(seen) > 200
    assert {(score.correct, score.reward) for score in seen} == {(False, 0.0)}


def test_of_all_arrangements_exactly_one_is_right() -> None:
    task = sort_of(4, n_train=1, partial=1.0)
    example = Example("3 1 4 2 =", " 4 3 2 1", " 1 2 3 4")
    marks = {items: task.check(example, " " + " ".join(items)) for items in permutations("1234")}
    assert [items for items, score in marks.items() if score.correct] == [tuple("4321")]
    assert max(score.reward for items, score in marks.items() if items != tuple("4321")) == 0.5


MB = 2**20


def hostile(answer: str) -> dict[str, str]:
    return {
        "one long item": "9" * MB,
        "many items": "9 " * (MB // 2),
        "many right items": answer * (MB // len(answer)),
        "right, then far behind it more": answer + " " * MB + "x",
        "right, then a megabyte": answer + " x" * (MB // 2),
        "white space alone": " \t\n\r\x0b\x0c" * (MB // 6),
        "every kind of space": "\u2003\u3000\x85\xa0" * (MB // 4),
        "NUL": answer + "\0",
        "NULs": "\0" * MB,
        "NUL between": answer.replace(" ", "\0"),
        "lone surrogate": answer + "\ud800",
        "lone surrogates": "\udfff" * MB,
        "brackets": "(" * MB,
        "power tower": "9**9**9**9",
        "code": "__import__('os').system('exit')",
        "format": "{0.__class__}%s%n" + "{" * MB,
        "combining": answer + "\u0301" * MB,
        "invisible": "\u200b" + answer,
        "right to left": "\u202e" + answer,
        "infinity": "inf nan -0 1e999",
    }


SCRIPTS = {
    "arabic-indic": 0x660,
    "devanagari": 0x966,
    "fullwidth": 0xFF10,
    "mathematical bold": 0x1D7CE,
    "bengali": 0x9E6,
    "extended arabic-indic": 0x6F0,
}


@every_task
@pytest.mark.parametrize("partial", [0.0, 1.0])
def test_hostile_text_is_marked_wrong_at_once_and_none_of_it_runs(
    name: str, partial: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, low, _ = TASKS[name]
    task = make(low + 2, n_train=1, n_held_out=1, partial=partial)
    example = task.examples("train")[0]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("text was executed")

    texts = hostile(example.answer)
    for script, zero in SCRIPTS.items():
        texts[script] = "".join(
            chr(zero + int(c)) if c.isdigit() else chr(0xFEE0 + ord(c)) if c != " " else c for c in example.answer
        )
    scores = {}
    with monkeypatch.context() as patch:
        for holder, attributes in ((builtins, ("eval", "exec", "compile")), (os, ("system", "popen"))):
            for attribute in attributes:
                patch.setattr(holder, attribute, never)
        patch.setattr(subprocess, "Popen", never)
        for kind, text in texts.items():
            started = process_time()
            scores[kind] = task.check(example, text)
            assert process_time() - started < 0.5, kind
    for kind, score in scores.items():
        assert not score.correct, kind
        assert 0.0 <= score.reward < 1.0, kind
        assert 0 < len(score.explanation) < 500, kind
        score.explanation.encode("utf-8")  # a log file can hold it


def test_marking_takes_time_linear_in_the_length() -> None:
    """Eight times the text takes about eight times as long, not 64 times."""
    task, example = sort_of(4, n_train=1), Example("3 1 4 2 =", " 4 3 2 1", " 4 3 2 1")

    def seconds(n: int) -> float:
        best = float("inf")
        for _ in range(3):
            started = process_time()
            for text in ("9 " * n, " " * n + "x", "4 3 2 1 " * (n // 8), "\ud800" * n):
                task.check(example, text)
            best = min(best, process_time() - started)
        return best

    assert seconds(2**22) < 24 * max(seconds(2**19), 1e-4)


@given(completion=st.text(st.characters() | st.sampled_from("4321 \n"), max_size=30), partial=st.floats(0, 1))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_text_has_marks_that_add_up(completion: str, partial: float) -> None:
    score = sort_of(4, n_train=1, n_held_out=1, partial=partial).check(
        Example("3 1 4 2 =", " 4 3 2 1", " 4 3 2 1"), completion
    )
    assert score.correct == (completion.strip() == "4 3 2 1") == (score.explanation == "")
    assert score.reward == pytest.approx((1 - partial) * score.parts["exact"] + partial * score.parts["positions"])
    assert score.correct == (score.reward == 1.0)


def test_the_hash_is_even_and_every_key_gives_another() -> None:
    values = torch.tensor([[hash_unit(f"{i}", key) for key in ("a", "b")] for i in range(4000)])  # (4000, 2)
    assert values.min() >= 0
    assert values.max() < 1
    for column in values.T:
        counts = torch.histc(column, 10, 0, 1)
        assert float(((counts - 400) ** 2 / 400).sum()) < 9 + 4 * sqrt(18)
    assert abs(float(torch.corrcoef(values.T)[0, 1])) < 4 / sqrt(4000)
