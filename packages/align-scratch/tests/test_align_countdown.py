"""Task `countdown` against an exhaustive search and against Python's own arithmetic."""

from __future__ import annotations

import os
import re
from collections import Counter
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.drawn_tasks import (
    CountdownConfig,
)
from align_scratch.tasks.countdown import Countdown
from align_scratch.tasks.problems import Example

EXAMPLES = int(os.environ.get("SCRATCH_EXAMPLES", "40"))
SPLITS = ("train", "held_out")
DIAL = {"sub": ("digits", 1, 32), "mul": ("digits", 1, 32), "copy": ("length", 2, 64), "parity": ("length", 6, 64)}
DIAL |= {"count-letters": ("length", 4, 64), "brackets": ("length", 4, 64), "countdown": ("numbers", 2, 6)}


def spaced(text: object) -> str:
    return "".join(f" {c}" for c in str(text))


def reachable(numbers: tuple[Fraction, ...], memo: dict[tuple[Fraction, ...], set[Fraction]]) -> set[Fraction]:
    """Everything that all of the numbers give, by joining any two of them until one is left."""
    key = tuple(sorted(numbers))
    if key in memo:
        return memo[key]
    if len(key) == 1:
        return {key[0]}
    found: set[Fraction] = set()
    for i, j in permutations(range(len(key)), 2):
        rest = tuple(n for k, n in enumerate(key) if k not in (i, j))
        a, b = key[i], key[j]
        for value in (a + b, a - b, a * b, *([a / b] if b else [])):
            found |= reachable((*rest, value), memo)
    memo[key] = found
    return found


def by_python(text: str) -> Fraction | None:
    """Value of an expression that this test wrote itself, by Python; None if it divides by zero."""
    try:
        value = eval(re.sub(r"(\d+)", r"Fraction(\1)", text.replace(" ", "")), {"Fraction": Fraction})  # noqa: S307
    except ZeroDivisionError:
        return None
    assert isinstance(value, Fraction)
    return value


@pytest.mark.parametrize("numbers", [2, 3, 4])
def test_every_target_can_be_reached_and_demonstrations_do(numbers: int) -> None:
    task = Countdown(CountdownConfig(numbers=numbers, largest=12, target=120, n_train=60, n_held_out=15))
    memo: dict[tuple[Fraction, ...], set[Fraction]] = {}
    for split in SPLITS:
        for example in task.examples(split):
            given, target = example.prompt.removesuffix(" =").replace(" ", "").split(":")
            values = tuple(Fraction(n) for n in given.split(","))
            assert len(values) == numbers
            assert all(1 <= n <= 12 for n in values)
            assert 1 <= int(target) <= 120
            assert int(target) in reachable(values, memo)
            assert by_python(example.answer) == int(target)
            assert sorted(map(int, re.findall(r"\d+", example.answer.replace(" ", "")))) == sorted(values)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Well-formed expressions of numbers 1 to 4, in the task's spelling."""
    text = draw(
        st.recursive(
            st.sampled_from(["1", "2", "3", "4"]),
            lambda below: (
                st.builds("{} {} {}".format, below, st.sampled_from("+-*/"), below) | st.builds("( {} )".format, below)
            ),
            max_leaves=4,
        )
    )
    return " " + text


COUNTDOWN = {
    use: Countdown(CountdownConfig(use=use, n_train=4, n_held_out=1, partial=0.25))  # type: ignore[arg-type]
    for use in ("all", "any")
}


@given(text=expressions(), use=st.sampled_from(["all", "any"]), target=st.integers(1, 30))
@settings(max_examples=10 * EXAMPLES, deadline=None, derandomize=True)
def test_marks_agree_with_python_on_expressions(text: str, use: Any, target: int) -> None:
    score = COUNTDOWN[use].check(Example(f"4 , 2 , 3 : {spaced(target).strip()} =", "", ""), text)
    used, given = Counter(re.findall(r"\d", text)), Counter("234")
    fair = used == given if use == "all" else used <= given
    right = fair and by_python(text) == target
    assert score.correct is right
    assert score.reward == (1.0 if right else 0.25 * fair)
    assert score.parts == {"exact": float(right), "numbers": float(fair)}
    assert (score.explanation == "") is right


@pytest.mark.parametrize(
    ("completion", "told"),
    [
        ("3 * 1 2 + 5", ""),
        (" 5 + 3 * 1 2 ", ""),
        ("( 3 * 1 2 ) + 5", ""),
        ("1 2 * 3 + 5\n", ""),
        ("3 + 1 2 + 5", "3 + 1 2 + 5 = 20, expected 41"),
        ("1 2 / 5 * 3", "1 2 / 5 * 3 = 36/5, expected 41"),
        ("3 * 1 2", "leaves 5 unused"),
        ("4 1", "uses 41, which is not given"),
        ("3 * 1 2 + 5 + 3 - 3", "uses 3 more often than it is given: 3 times, not 1"),
        ("3 * 1 2 + 7 - 2", "uses 7, which is not given"),
        ("3 * 1 2 + 0 5", "symbol 6: the number 05 is not given"),
        ("3 * 12 + 5", "symbol 3: got '12', expected one digit, operator or bracket between spaces"),
        ("3*12+5", "symbol 1: got '3*12+5', expected one digit, operator or bracket between spaces"),
        ("3  * 1 2 + 5", "symbol 2: got '', expected one digit, operator or bracket between spaces"),
        ("3 * 1 2 + 5 = 4 1", "symbol 7: got '=', expected one digit, operator or bracket between spaces"),
        ("3 * 1 2 +", "leaves 5 unused"),
        ("3 * 1 2 5 +", "uses 125, which is not given"),
        ("5 + 3 * 1 2 +", "symbol 8: got the end, expected a number or '('"),
        ("5 + ( 3 * 1 2", "symbol 8: got the end, expected ')'"),
        ("5 + 3 * 1 2 )", "symbol 7: got ')', expected an operator or the end"),
        ("5 ( 3 * 1 2 )", "symbol 2: got '(', expected an operator or the end"),
        ("- 5 + 3 * 1 2", "symbol 1: got '-', expected a number or '('"),
        ("5 + - 3 * 1 2", "symbol 3: got '-', expected a number or '('"),
        ("5 / ( 3 * 4 - 1 2 )", "uses 4, which is not given"),
        ("", "nothing there, expected an expression"),
        ("x", "symbol 1: got 'x', expected one digit, operator or bracket between spaces"),
        ("\u0663", "symbol 1: got '\u0663', expected one digit, operator or bracket between spaces"),
        ("3 ** 1 2 + 5", "symbol 2: got '**', expected one digit, operator or bracket between spaces"),
        ("3 ^ 1 2 + 5", "symbol 2: got '^', expected one digit, operator or bracket between spaces"),
    ],
)
def test_what_is_wrong_with_an_expression_is_said(completion: str, told: str) -> None:
    task = Countdown(CountdownConfig(n_train=4, n_held_out=1))
    score = task.check(Example("3 , 1 2 , 5 : 4 1 =", " 3 * 1 2 + 5", ""), completion)
    assert score.explanation == told
    assert score.correct is (told == "")


def test_division_by_zero_and_deep_brackets_are_no_answers() -> None:
    task = Countdown(CountdownConfig(n_train=4, n_held_out=1, partial=0.5))
    example = Example("2 , 2 , 5 : 5 =", "", "")
    assert task.check(example, "5 / ( 2 - 2 )").explanation == "divides by zero"
    assert task.check(example, "5 / ( 2 - 2 )").reward == 0.5
    prompt = "2 , 2 , 5 : 5 =" + " " * 200  # room for a long completion
    deep = "( " * 40 + "5" + " )" * 40 + " * 2 / 2"
    score = task.check(Example(prompt, "", ""), deep)
    assert (score.correct, score.reward) == (False, 0.0)
    assert "more than 32 brackets" in score.explanation
