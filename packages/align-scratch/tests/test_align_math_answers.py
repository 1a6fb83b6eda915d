"""Written numbers: the value by Python's own fractions, hostile text in no time, and nothing of it ever run."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from time import process_time
from typing import Any

import pytest
from hostile import nothing_runs
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.rewards import arithmetic
from align_scratch.rewards.arithmetic import TooLarge, Undefined, Unreadable, evaluate
from align_scratch.rewards.math_answers import Verdict, compare, read

EXAMPLES = int(os.environ.get("SCRATCH_EXAMPLES", "150"))
EQUAL, NOT_EQUAL, UNPARSEABLE = Verdict.EQUAL, Verdict.NOT_EQUAL, Verdict.UNPARSEABLE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", "5"), ("-5", "-5"), ("+5", "5"), ("- 5", "-5"), ("\u22125", "-5"), ("005", "5"), ("5.", "5"),
        ("0.50", "1/2"), (".5", "1/2"), ("-.5", "-1/2"), ("1,600", "1600"), ("1,600,000.25", "6400001/4"),
        ("1{,}600", "1600"), ("10,\\!000", "10000"), ("1e3", "1000"), ("1.5E-2", "3/200"),
        ("50%", "1/2"), ("50\\%", "1/2"), ("12.5 percent", "1/8"),
        ("1/2", "1/2"), ("-1/2", "-1/2"), ("1 / -2", "-1/2"), ("10/4", "5/2"), ("1/2/2", "1/4"),
        ("1 1/2", "3/2"), ("-1 1/2", "-3/2"), ("1\\frac{1}{2}", "3/2"), ("2\\frac12", "5/2"),
        ("\\frac{3}{4}", "3/4"), ("\\frac34", "3/4"), ("\\dfrac{3}{4}", "3/4"), ("\\tfrac 3 4", "3/4"),
        ("-\\frac{3}{4}", "-3/4"), ("\\frac{-3}{4}", "-3/4"), ("\\frac{\\frac12}{3}", "1/6"), ("\\frac{1}2", "1/2"),
        ("2^3", "8"), ("2^{10}", "1024"), ("2**3", "8"), ("2^-1", "1/2"), ("2^{-1}", "1/2"), ("-2^2", "-4"),
        ("(-2)^2", "4"), ("2^3^2", "512"), ("(1/2)^2", "1/4"), ("0^0", "1"),
        ("1+2*3", "7"), ("(1+2)*3", "9"), ("2\\cdot 3", "6"), ("2\\times 3", "6"), ("6\\div 4", "3/2"),
        ("3\u00d74", "12"),
        ("$5$", "5"), ("\\$5", "5"), ("\\$1,600.00", "1600"), ("-\\$5", "-5"), ("\u20ac 5", "5"), ("\\(5\\)", "5"),
        ("5 cm", "5"), ("5cm", "5"), ("5\\text{ cm}", "5"), ("5\\text{ cm}^2", "5"), ("5 cm^{2}", "5"),
        ("5 m\u00b2", "5"),
        ("72 apples", "72"), ("5 miles per hour", "5"), ("5 km/h", "5"), ("90^\\circ", "90"), ("90\u00b0", "90"),
        ("3 m", "3"),
        ("x = 5", "5"), ("x_1=5", "5"), ("area = 5 cm", "5"), ("\\boxed{5}", "5"), ("\\boxed{\\boxed{5}}", "5"),
        ("\\left(5\\right)", "5"), ("{5}", "5"), ("((5))", "5"), ("--5", "5"), ("5 .", "5"),
    ],
)  # fmt: skip
def test_a_written_number_has_the_value_that_a_person_reads(text: str, value: str) -> None:
    assert read(text)[0] == Fraction(value)
    assert compare(value, text) is EQUAL
    assert compare(text, value) is EQUAL
    other = str(Fraction(value) + Fraction(1, 7))
    assert compare(other, text) is NOT_EQUAL


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "x+1", "5x", "5 x", "5pi", "5 pi", "2\\pi", "\\sqrt{4}", "1,60", "1,6000", "1 2", "1, 2", "(1, 2)",
     "1 2 3/4", "1.5 1/2", "1 3/2", "1.2.3", "5!", "|5|", "5 million", "2 dozen", "5 or 6", "()", "(5", "5)",
     "+", "5 +", "* 5", "5 5", "\\frac{1}", "\\frac", "\\frac{1}{2", "\\frac123", "4^(1/2)", "2^", "1e",
     "e", "i", "inf", "nan",
     "\u0665", "\uff15", "\u00b2", "5\0", "\ud800", "0x10", "1_000", "1 == 1", "a = b = 5", "5%%", "%",
     "5 % 2", "True", "__import__('os')", "5; import os", "().__class__", "f'{5}'", "lambda: 5",
     "\\frac{1}{2}{3}", "1/2 1/2 1/2"],
)  # fmt: skip
def test_what_is_no_number_is_read_as_none_and_is_never_one_by_mistake(text: str) -> None:
    with nothing_runs():
        with pytest.raises(Unreadable):
            read(text)
        verdicts = compare("5", text), compare(text, "5"), compare(text, text)
    assert EQUAL not in verdicts[:2]
    assert verdicts[2] is (EQUAL if text.strip() else UNPARSEABLE)


@pytest.mark.parametrize(
    "text",
    ["5^(5^(5^5))", "9**9**9**9", "2^65", "2^-65", "(2^64)^64", "1e65", "1e999999", "1e" + "9" * 200, "9" * 257,
     "(" * 33 + "5" + ")" * 33, "-" * 40 + "5", "{" * 10**6, "9" * 10**6, "1/" * 10**5 + "1", "\\frac{1}{" * 10**5,
     "*".join(["9^64"] * 30), "0^-1", "1/0", "5/(3-3)", "\\frac{1}{0}", "1 1/0", "5 % 2" * 100, "\0" * 10**6],
)  # fmt: skip
def test_what_goes_beyond_the_limits_is_not_equal_at_once(text: str) -> None:
    with nothing_runs():
        verdict, seconds = compare("5", text), math.inf
        for _ in range(3):
            started = process_time()
            compare("5", text)
            seconds = min(seconds, process_time() - started)
        with pytest.raises((TooLarge, Undefined)):
            read(text)
    assert verdict is NOT_EQUAL
    assert seconds < 0.01


@pytest.mark.parametrize("text", ["a" + "_" * 255, "a" * 120 + "_" * 130, "a_" * 128, "5 " + "a " * 120 + "!"])
def test_no_text_within_the_limits_takes_long(text: str) -> None:
    seconds = math.inf
    for _ in range(3):
        started = process_time()
        assert compare("5", text) is UNPARSEABLE
        seconds = min(seconds, process_time() - started)
    assert seconds < 0.01


def test_the_limits_are_where_they_are_said_to_be() -> None:
    assert (arithmetic.LONGEST, arithmetic.DEEPEST, arithmetic.LARGEST_EXPONENT, arithmetic.MOST_DIGITS) == (
        256,
        32,
        64,
        1000,
    )
    assert read("2^64")[0] == 2**64
    assert read("(" * 32 + "5" + ")" * 32)[0] == 5
    assert read("9" * 256)[0] == 10**256 - 1
    big = "*".join(["9" * 60] * 4)  # 240 digits
    assert read(big)[0] == (10**60 - 1) ** 4
    assert evaluate([Fraction(10**999 - 1)]) == 10**999 - 1
    with pytest.raises(TooLarge, match="1000 digits"):
        evaluate([Fraction(10**1001)])
    with pytest.raises(TooLarge, match="1000 digits"):
        evaluate([Fraction(10**600), "*", Fraction(10**600)])
    with pytest.raises(TooLarge, match="more than 256"):
        evaluate([Fraction(1), "+"] * 200 + [Fraction(1)])


@pytest.mark.parametrize(
    ("gold", "got"),
    [("12/3", "1 2/3"), ("1 1/2", "11/2"), ("12", "1 2"), ("8", "3 + x = 5"), ("210", "2x = 10"), ("15", "1 x=5"),
     ("5", "5 squared"), ("3", "3 quarters"), ("5", "5 hundredths"), ("2", "2 thirds"), ("5", "5 is wrong")],
)  # fmt: skip
def test_what_only_looks_like_the_answer_is_not_equal(gold: str, got: str) -> None:
    assert compare(gold, got) is not EQUAL
    assert compare(got, gold) is not EQUAL


def test_percent_is_a_value_unless_asked_otherwise() -> None:
    assert compare("50", "50%") is NOT_EQUAL
    assert compare("50%", "50") is NOT_EQUAL
    assert compare("50", "50%", loose_percent=True) is EQUAL
    assert compare("50\\%", "50", loose_percent=True) is EQUAL
    assert compare("0.5", "50%", loose_percent=True) is EQUAL
    assert compare("0.5", "5000%", loose_percent=True) is NOT_EQUAL
    assert compare("50", "0.5%", loose_percent=True) is NOT_EQUAL
    assert compare("50%", "0.5%", loose_percent=True) is NOT_EQUAL


@pytest.mark.parametrize(
    ("gold", "got"),
    [
        ("x + 1", "x+1"),
        ("(1,2)", "(1, 2)"),
        ("\\frac{\\pi}{2}", "\\dfrac{\\pi}{2}"),
        ("\\text{red}", "red"),
        ("A", "A."),
    ],
)
def test_typesetting_makes_no_difference_and_more_words_do(gold: str, got: str) -> None:
    assert compare(gold, got) is EQUAL
    assert compare(gold, got + " or so") is not EQUAL


# --- against another evaluation of the same tree --------------------------------------------------------------------

Tree = Fraction | tuple[str, Any, Any]
leaves = st.fractions(min_value=0, max_value=99, max_denominator=12)
trees: st.SearchStrategy[Tree] = st.recursive(
    leaves, lambda below: st.tuples(st.sampled_from("+-*/"), below, below), max_leaves=8
)


def worth(tree: Any) -> Fraction:
    """Raises ZeroDivisionError."""
    if isinstance(tree, Fraction):
        return tree
    sign, left, right = tree
    a, b = worth(left), worth(right)
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[sign]()


def written(tree: Any, latex: bool) -> str:
    """Fully bracketed, so that no rule of precedence is needed to write it."""
    if isinstance(tree, Fraction):
        if latex and tree.denominator != 1:
            return f"\\frac{{{tree.numerator}}}{{{tree.denominator}}}"
        return f"({tree})"
    sign, left, right = tree
    if latex and sign == "/":
        return f"\\frac{{{written(left, latex)}}}{{{written(right, latex)}}}"
    return f"({written(left, latex)}{sign}{written(right, latex)})"


@given(tree=trees, latex=st.booleans())
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_bracketed_expressions_have_their_value(tree: Tree, latex: bool) -> None:
    text = written(tree, latex)
    try:
        value = worth(tree)
    except ZeroDivisionError:
        assert compare("5", text) is NOT_EQUAL
        return
    if len(text) <= 256:
        assert read(text)[0] == value
        assert compare(str(value), text) is EQUAL
    else:
        assert compare(str(value), text) is NOT_EQUAL


@given(
    numbers=st.lists(st.integers(1, 50), min_size=2, max_size=8), signs=st.lists(st.sampled_from("+-*/"), min_size=7)
)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_without_brackets_products_come_first_and_all_goes_from_left_to_right(
    numbers: list[int], signs: list[str]
) -> None:
    """Python's own precedence, on text that this test wrote itself."""
    text = str(numbers[0]) + "".join(f" {s} {n}" for s, n in zip(signs, numbers[1:], strict=False))
    program = str(f"Fraction({numbers[0]})") + "".join(
        f" {s} Fraction({n})" for s, n in zip(signs, numbers[1:], strict=False)
    )
    assert read(text)[0] == eval(program, {"Fraction": Fraction})  # noqa: S307


@given(text=st.text(st.sampled_from("0123456789.,-+*/^(){}% \\frac$ex\n") | st.characters(), max_size=300))
@settings(max_examples=2 * EXAMPLES, deadline=None, derandomize=True)
def test_any_text_gets_a_verdict_quickly(text: str) -> None:
    started = process_time()
    assert isinstance(compare("5", text), Verdict)
    assert isinstance(compare(text, "5"), Verdict)
    assert process_time() - started < 0.1


@given(value=st.fractions(max_denominator=10**6), padding=st.text(" \n\t", max_size=3))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_every_spelling_of_a_fraction_is_equal_and_its_neighbour_is_not(value: Fraction, padding: str) -> None:
    top, bottom = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    spellings = [f"{sign}{top}/{bottom}", f"{sign}\\frac{{{top}}}{{{bottom}}}", f"\\frac{{{sign}{top}}}{{{bottom}}}"]
    spellings += [f"{sign}{top * 7}/{bottom * 7}", f"${sign}{top:,}$ / {bottom}"]
    if bottom != 1 and top > bottom:
        spellings.append(f"{sign}{top // bottom} {top % bottom}/{bottom}")
    for text in spellings:
        assert compare(str(value), padding + text + padding) is EQUAL, text
        assert compare(str(value + Fraction(1, 10**9)), text) is NOT_EQUAL, text


def test_mixed_numbers_by_the_tens() -> None:
    for whole in range(0, 12):
        for bottom in range(2, 9):
            for top in range(1, bottom):
                for text in (f"{whole} {top}/{bottom}", f"{whole}\\frac{{{top}}}{{{bottom}}}"):
                    assert read(text)[0] == whole + Fraction(top, bottom)
                    assert read(f"2 * {text}")[0] == 2 * (whole + Fraction(top, bottom))


def test_messages_name_the_symbol() -> None:
    def told(call: Callable[[], object]) -> str:
        with pytest.raises(ValueError) as caught:
            call()
        return str(caught.value)

    one = Fraction(1)
    assert told(lambda: evaluate([one, "+", "*"])) == "symbol 3: got '*', expected a number or '('"
    assert told(lambda: evaluate([one, "+"], [1, 4, 5])) == "symbol 5: got the end, expected a number or '('"
    assert told(lambda: evaluate(["(", one], [1, 2, 3])) == "symbol 3: got the end, expected ')'"
    assert told(lambda: evaluate([one, ")"])) == "symbol 2: got ')', expected an operator or the end"
    assert told(lambda: evaluate([])) == "symbol 1: got the end, expected a number or '('"
    assert told(lambda: evaluate([one, "/", Fraction(0)])) == "division by zero"


def test_the_checker_imports_no_algebra_system() -> None:
    code = "import sys, align_scratch.rewards.math_answers; print([m for m in ('sympy', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
