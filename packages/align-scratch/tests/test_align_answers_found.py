"""Finding the answer in a completion: boxes, last numbers, letters."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.rewards.extraction import (
    Choices,
    boxes,
    gold,
    last_box,
    last_number,
    marked_number,
    without_boxes,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no box", []),
        ("\\boxed{5}", ["5"]),
        ("first \\boxed{4}, no, \\boxed{5}.", ["4", "5"]),
        ("\\boxed{\\frac{1}{2}}", ["\\frac{1}{2}"]),
        ("\\boxed{1 + \\boxed{2}}", ["1 + \\boxed{2}"]),
        ("\\boxed{\\{1, 2\\}}", ["\\{1, 2\\}"]),
        ("\\boxed{a\\}b}", ["a\\}b"]),
        ("\\boxed {5} and \\fbox{6}", ["5", "6"]),
        ("\\boxed{}", [""]),
        ("\\boxed{5", []),
        ("\\boxed{4} then \\boxed{5", ["4"]),
        ("boxed{5}", []),
        ("\\boxed 5", []),
        ("\\boxed{" + "x" * 4000 + "}", ["x" * 4000]),
        ("\\boxed{" + "x" * 5000 + "} \\boxed{5}", ["5"]),
    ],
)
def test_boxes_have_matching_braces(text: str, found: list[str]) -> None:
    assert boxes(text) == found
    assert last_box(text) == (found[-1] if found else None)


@given(inside=st.lists(st.text("ab {}\\", max_size=20), max_size=4))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_balanced_content_comes_back_whole(inside: list[str]) -> None:
    def balanced(text: str) -> bool:
        depth = 0
        bare = text.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        for c in bare:
            depth += {"{": 1, "}": -1}.get(c, 0)
            if depth < 0:
                return False
        return depth == 0 and not bare.endswith("\\")

    texts = [text for text in inside if balanced(text)]
    assert boxes(" and ".join(f"\\boxed{{{text}}}" for text in texts)) == texts


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("the answer is 72.", 72), ("5, 6 and 7", 7), ("1,600 dollars", 1600), ("$18.00", 18), ("-5", -5),
        ("is -5.", -5), ("10-3", 3), ("10 - 3", 3), ("10 -3", -3), ("x-3", -3), ("(-3)", -3), ("-$5", -5),
        ("-\\$5.50", Fraction(-11, 2)), ("\u22125", -5), ("3.14", Fraction(157, 50)), ("3.", 3),
        (".5", Fraction(1, 2)), ("2.0", 2), ("1,000,000.5", 1000000.5), ("= 48/2 = 24", 24), ("50%", 50), ("1e5", 5),
        ("7 days, 24 hours a day", 24), ("\u0665 5 \u0665", 5), ("007", 7), ("none", None), ("", None), ("-", None),
        ("...", None), ("9" * 1001, None), ("5 " + "9" * 1001, None), ("\u0665", None),
    ],
)  # fmt: skip
def test_the_last_number(text: str, number: Any) -> None:
    found = last_number(text)
    assert found == (None if number is None else Fraction(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("reasons\n#### 1,600", 1600),
        ("#### 5\nand 6", 5),
        ("#### 5 #### 6", 6),
        ("\\boxed{7} is it, not 8", 7),
        ("it is 5", None),
        ("####", None),
        ("#### none", None),
    ],
)
def test_the_strict_number_is_marked_as_the_answer(text: str, number: int | None) -> None:
    assert marked_number(text) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so \\boxed{5}.", "so 5."),
        ("\\boxed{\\frac{1}{2}} or \\fbox {6}", "\\frac{1}{2} or 6"),
        ("\\boxed{1 + \\boxed{2}}", "1 + 2"),
        ("\\boxed{\\{1, 2\\}} {a}", "\\{1, 2\\} {a}"),
        ("} \\boxed{5", "} 5"),
        ("no box, {one} brace", "no box, {one} brace"),
        ("\\boxed{" * 50_000, ""),
    ],
)
def test_boxes_can_be_opened(text: str, expected: str) -> None:
    assert without_boxes(text) == expected


def test_the_gold_answer_of_a_data_set() -> None:
    assert gold("She has 16 - 3 = <<16-3=13>>13 left.\n#### 1,600") == "1,600"
    assert gold("So the area is $\\boxed{\\frac{1}{2}}$.") == "\\frac{1}{2}"
    assert gold(" 42 ") == "42"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C", "C"), ("C.", "C"), ("(C)", "C"), ("C) because of A", "C"), ("**C**", "C"), (" C: it is", "C"),
        ("The answer is C", "C"),
        ("the answer is (C).", "C"), ("Answer: C", "C"), ("ANSWER: C", "C"), ("answer = C", "C"),
        ("The answer is **C**.", "C"), ("The answer is $\\boxed{C}$", "C"), ("answer is \\text{(C)}", "C"),
        ("There is a virus... answer is C", "C"), ("A virus is alive. The answer is B", "B"),
        ("The answer is A. No, the answer is D.", "D"), ("It is not (A), so (B)", "B"), ("I would say D", "D"),
        ("Not A but C", "C"), ("It must be C because DNA", "C"), ("C is the choice", "C"), ("A. That is, not (B)", "A"),
        ("a virus", None), ("", None), ("none of them", None), ("DNA", None), ("E", None), ("the answer is c", None),
        ("ABCD", None), ("A B C D", None), ("(A) (B)", None),
        ("A1", None), ("\u0410", None), ("\uff21", None), ("It's D's", None),
    ],
)  # fmt: skip
def test_the_letter_of_a_choice(text: str, letter: str | None) -> None:
    assert Choices().read(text) == letter


def test_choices_of_other_letters() -> None:
    assert Choices("ABCDEFGHIJ").read("the answer is J") == "J"
    assert Choices("AB").read("C") is None
    for wrong in ("", "abc", "AA", "A1"):
        with pytest.raises(ValueError, match="letters: got"):
            Choices(wrong)


"""Hostile, but of the form asked for."""
