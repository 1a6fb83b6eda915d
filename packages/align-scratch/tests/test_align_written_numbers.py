"""The forms in which `add`, `sub` and `mul` write numbers: the same problems, on the same sides, spelled otherwise."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.drawn_tasks import MulConfig, SubConfig
from align_scratch.config.tasks import AddConfig
from align_scratch.tasks.addition import Add, without_carry
from align_scratch.tasks.digits import spell
from align_scratch.tasks.multiplication import Mul
from align_scratch.tasks.problems import ProblemTask
from align_scratch.tasks.subtraction import Sub

SPLITS = ("train", "held_out")
Make = Callable[..., ProblemTask]
MAKE: dict[str, tuple[Make, Callable[[int, int], int], Callable[[int], int]]] = {
    "add": (lambda **o: Add(AddConfig(**o)), operator.add, lambda digits: digits + 1),
    "sub": (lambda **o: Sub(SubConfig(**o)), operator.sub, lambda digits: digits),
    "below zero": (lambda **o: Sub(SubConfig(negative=True, **o)), operator.sub, lambda digits: digits),
    "mul": (lambda **o: Mul(MulConfig(**o)), operator.mul, lambda digits: 2 * digits),
}
"""The task, what it asks for, and how many digits its longest answers have."""
FORMS = [{"zero_padded": z, "reverse_answer": r} for z in (False, True) for r in (False, True)]
every_kind = pytest.mark.parametrize("name", list(MAKE))


def numbers(prompt: str) -> tuple[str, str]:
    left, right = re.split(r"[-+*]", prompt.removesuffix(" =").replace(" ", ""))
    return left, right


@every_kind
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("digits", [1, 2, 7])
def test_every_form_says_the_right_answer(name: str, form: dict[str, Any], digits: int) -> None:
    make, operation, longest = MAKE[name]
    task = make(digits=digits, n_train=300, n_held_out=60, **form)
    for split in SPLITS:
        for example in task.examples(split):
            left, right = numbers(example.prompt)
            sign, written = re.fullmatch(r"(-?)(\d+)", example.answer.replace(" ", "")).groups()  # type: ignore[union-attr]
            straight = written[::-1] if form["reverse_answer"] else written
            assert int(sign + straight) == operation(int(left), int(right))
            assert example.answer == "".join(f" {symbol}" for symbol in sign + written)
            assert example.demonstration == example.answer
            if form["zero_padded"]:
                assert (len(left), len(right), len(written)) == (digits, digits, longest(digits))
            else:
                assert (left, right, straight) == (str(int(left)), str(int(right)), str(int(straight)))


@every_kind
def test_a_form_moves_no_problem_to_the_other_side(name: str) -> None:
    """Neither over seeds nor within one: what is held out in one form was trained on in none."""
    make, _, _ = MAKE[name]
    sides: dict[str, set[tuple[int, ...]]] = {split: set() for split in SPLITS}
    of_one_seed = []
    for form in FORMS:
        for seed in (0, 5):
            task = make(digits=2, n_train=1200, n_held_out=200, seed=seed, **form)
            drawn = {
                split: [tuple(map(int, numbers(e.prompt))) for e in task.examples(split)]
                for split in SPLITS
            }  # fmt: skip
            for split in SPLITS:
                sides[split] |= {tuple(sorted(problem)) for problem in drawn[split]}
            if seed == 0:
                of_one_seed.append(drawn)
    assert not sides["train"] & sides["held_out"]
    assert all(drawn == of_one_seed[0] for drawn in of_one_seed)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_problems_forget_to_carry_in_every_form(form: dict[str, Any]) -> None:
    plain = Add(AddConfig(mixed=0.6, n_train=2000)).examples("train")
    forgetful = 0
    for straight, example in zip(plain, Add(AddConfig(mixed=0.6, n_train=2000, **form)).examples("train"), strict=True):
        assert (straight.demonstration == straight.answer) is (example.demonstration == example.answer)
        if example.demonstration != example.answer:
            forgetful += 1
            written = without_carry(*map(int, numbers(example.prompt)))
            assert example.demonstration == " " + spell(
                written, width=3 if form["zero_padded"] else 1, reverse=form["reverse_answer"]
            )
    assert forgetful > 400


def test_forms_as_the_documentation_shows_them() -> None:
    assert spell("38", width=3) == "0 3 8"
    assert spell("38", width=3, reverse=True) == "8 3 0"
    assert spell("-38", reverse=True) == "- 8 3"
    assert spell("-8", width=2, reverse=True) == "- 8 0"
    assert spell("0", width=2) == "0 0"
    of = {e.prompt: e.answer for e in Add(AddConfig(zero_padded=True, reverse_answer=True)).examples("train")}
    assert of["4 7 + 8 5 ="] == " 2 3 1"
    assert of["0 7 + 8 5 ="] == " 2 9 0"


@given(number=st.integers(-(10**30), 10**30), width=st.integers(1, 40), reverse=st.booleans())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_spelling_loses_nothing(number: int, width: int, reverse: bool) -> None:
    symbols = spell(str(number), width=width, reverse=reverse).split(" ")
    digits = symbols[number < 0 :]
    assert len(digits) == max(width, len(str(abs(number))))
    assert int("".join(symbols[: number < 0] + (digits[::-1] if reverse else digits))) == number


def test_a_reversed_sum_is_not_taken_for_the_straight_one() -> None:
    task = Add(AddConfig(reverse_answer=True, partial=0.5))
    example = next(e for e in task.examples("train") if e.answer == " 2 3 1")
    assert task.check(example, " 2 3 1").correct
    wrong = task.check(example, " 1 3 2")
    assert not wrong.correct
    assert wrong.explanation == "position 1: got '1', expected '2'"
    assert wrong.reward == pytest.approx(0.5 / 3)
