"""Task `cipher`, and how much a task gives away of what was wrong."""

from __future__ import annotations

from collections import defaultdict
from math import sqrt
from typing import Any

import pytest

from align_scratch.config.drawn_tasks import CipherConfig
from align_scratch.config.tasks import FEEDBACKS, SortConfig
from align_scratch.tasks.cipher import Cipher
from align_scratch.tasks.problems import Example, mark
from align_scratch.tasks.sorting import Sort

SPLITS = ("train", "held_out")


def cipher(**options: Any) -> Cipher:
    return Cipher(CipherConfig(**{"n_train": 2000, "n_held_out": 200, **options}))


def key_of(example: Example, written: str) -> dict[str, set[str]]:
    key: dict[str, set[str]] = defaultdict(set)
    for letter, symbol in zip(example.prompt.removesuffix(" =").split(), written.split(), strict=True):
        key[letter].add(symbol)
    return key


@pytest.mark.parametrize(("length", "letters", "symbols"), [(4, 26, 4), (3, 4, 2), (6, 10, 10)])
def test_all_answers_follow_one_key_and_every_demonstration_its_own(length: int, letters: int, symbols: int) -> None:
    task = cipher(length=length, letters=letters, symbols=symbols)
    key: dict[str, set[str]] = defaultdict(set)
    shown: dict[str, list[str]] = defaultdict(list)
    for split in SPLITS:
        for example in task.examples(split):
            for letter, symbol in key_of(example, example.answer).items():
                key[letter] |= symbol
            own = key_of(example, example.demonstration)
            assert all(len(symbol) == 1 for symbol in own.values())  # a letter twice is one symbol twice
            for letter, symbol in own.items():
                shown[letter] += symbol
    assert len(key) == letters
    assert all(len(symbol) == 1 for symbol in key.values())
    assert set().union(*key.values()) <= set("0123456789"[:symbols])
    for letter, symbols_shown in shown.items():  # what is shown of a letter says nothing of its symbol in the key
        (right,) = key[letter]
        n, p = len(symbols_shown), 1 / symbols
        assert abs(symbols_shown.count(right) / n - p) < 4.5 * sqrt(p * (1 - p) / n)
    prompts = [{example.prompt for example in task.examples(split)} for split in SPLITS]
    assert not prompts[0] & prompts[1]


def test_the_seed_decides_the_key_and_nothing_else_does() -> None:
    first, again, other = (cipher(seed=seed) for seed in (3, 3, 4))
    assert first.examples("train") == again.examples("train")
    assert {e.answer for e in first.examples("train")} != {e.answer for e in other.examples("train")}
    few, many = (cipher(n_train=n).examples("train") for n in (50, 100))
    assert list(few) == list(many[:50])
    assert "0.0039" in cipher().lesson


@pytest.mark.parametrize(
    ("option", "value"),
    [("length", 2), ("length", 65), ("letters", 3), ("letters", 27), ("symbols", 1), ("symbols", 11),
     ("feedback", "all"), ("partial", 2.0)],
)  # fmt: skip
def test_options_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option}: got {value!r}, must be .+"):
        CipherConfig(**{option: value})


@pytest.mark.parametrize(
    ("completion", "said"),
    [
        (" 3 1 7 2", {
            "place": "position 3: got '7'",
            "symbol": "position 3: got '7', expected '0'",
            "so_far": "position 3: got '7', after 3 1",
            "so_far_symbol": "position 3: got '7', expected '0', after 3 1",
            "answer": "expected 3 1 0 2",
        }),
        (" 1", {
            "place": "position 1: got '1'",
            "symbol": "position 1: got '1', expected '3'",
            "so_far": "position 1: got '1'",
            "so_far_symbol": "position 1: got '1', expected '3'",
        }),
        (" 3 1 0", {"place": "position 4: nothing there", "so_far": "position 4: nothing there, after 3 1 0"}),
        (" 3 1 0 2 2", {
            "place": "position 5: got '2'",
            "symbol": "position 5: got '2', expected the end",
            "so_far_symbol": "position 5: got '2', expected the end, after 3 1 0 2",
        }),
    ],
)  # fmt: skip
def test_feedback_says_as_much_as_it_is_asked_to(completion: str, said: dict[Any, str]) -> None:
    for feedback, expected in said.items():
        score = mark(" 3 1 0 2", completion, feedback=feedback)
        assert score.explanation == expected
        plain = mark(" 3 1 0 2", completion)
        assert (score.reward, score.correct, score.parts) == (plain.reward, False, plain.parts)
        assert mark(" 3 1 0 2", "3 1 0 2", feedback=feedback).explanation == ""


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_tasks_take_the_degree_from_their_options(feedback: Any) -> None:
    for task in (cipher(feedback=feedback, n_train=9), Sort(SortConfig(feedback=feedback, n_train=9))):
        for example in task.examples("train"):
            wrong = example.answer.replace(example.answer[-1], "x")
            assert task.check(example, wrong).explanation == mark(example.answer, wrong, feedback=feedback).explanation
    with pytest.raises(ValueError, match=r"^feedback: got 'some', must be"):
        SortConfig(feedback="some")  # type: ignore[arg-type]
