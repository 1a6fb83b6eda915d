"""Answers that are no numbers: equal where they are, different where they are, and undecided where nobody can say."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.data import FileConfig
from align_scratch.rewards.composition import Composition
from align_scratch.rewards.graders import grader
from align_scratch.rewards.matching import Boxed, judge_math
from align_scratch.rewards.math_answers import Verdict, compare, readable
from align_scratch.tasks.file import File
from align_scratch.tasks.problems import Example

EXAMPLES = int(os.environ.get("SCRATCH_EXAMPLES", "150"))
EQUAL, NOT_EQUAL, UNPARSEABLE = Verdict.EQUAL, Verdict.NOT_EQUAL, Verdict.UNPARSEABLE

SAME = [
    ["x + 1", "1+x", "x+\\frac{2}{2}", "(x^2-1)/(x-1)", "\\frac{x^2 - 1}{x-1}", "1x+1"],
    ["2x+2", "2(x+1)", "2 \\cdot (1 + x)", "4(\\frac{x}{2}+\\frac12)"],
    ["(x+1)^2", "x^2+2x+1", "x^{2} + 2x + 1", "(x+1)(1+x)", "(-x-1)^2"],
    ["\\frac{\\pi}{2}", "\\pi/2", "\\frac12\\pi", "0.5\\pi", "\\dfrac{2 \\pi}{4}", "pi/2"],
    ["2\\sqrt{3}", "\\sqrt{12}", "\\sqrt{3}+\\sqrt3", "\\frac{6}{\\sqrt3}", "\\sqrt{2}\\sqrt{6}", "12^{1/2}"],
    ["1+\\sqrt 2", "\\frac{1}{\\sqrt2-1}", "\\sqrt2 + 1"],
    ["3+4i", "4i + 3", "(2+i)^2", "3 + 2\\sqrt{-4}"],
    ["(1, 2)", "(1,2.0)", "\\left(1, \\frac{4}{2}\\right)"],
    ["[0, 1)", "\\left[0,1\\right)", "[0,\\frac{2}{2})"],
    ["1, -2", "-2,1", "\\{1, -2\\}", "\\{-2,\\,1\\}"],
    ["2\\pm\\sqrt3", "2-\\sqrt{3}, 2+\\sqrt{3}", "\\sqrt{3}+2, 2-\\sqrt3"],
    ["y = 2x+3", "y=3+2x", "2x - y + 3 = 0", "2y = 4x + 6"],
    ["(-\\infty, 2) \\cup (3, \\infty)", "(3,\\infty)\\cup(-\\infty,2)"],
    ["\\text{Evelyn}", "evelyn", "Evelyn."],
    ["\\text{(A)}", "A", "(A)"],
    ["\\begin{pmatrix} 1 & 2 \\\\ 3 & x+1 \\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&1+x\\end{pmatrix}"],
    ["abc", "a b c"],
]  # fmt: skip
UNDECIDABLE = [
    "\\sin x",
    "2^x",
    "x \\ge 2",
    "\\log_2 8",
    "n!",
    "|x|",
    "1/2x",
    "\\sqrt{x}",
    "\\sqrt[3]{9}",
    "f''",
    "a = b = c",
]


@pytest.mark.parametrize("group", range(len(SAME)))
def test_all_spellings_of_an_answer_are_it_and_no_other(group: int) -> None:
    for gold, got in product(SAME[group], repeat=2):
        assert compare(gold, got) is EQUAL, (gold, got)
    for other in SAME[:group] + SAME[group + 1 :]:
        assert compare(SAME[group][0], other[0]) is not EQUAL, other
    assert readable(SAME[group][0])


@pytest.mark.parametrize(
    ("gold", "got"),
    [("x+1", "5"), ("x+1", "x+2"), ("2\\pi", "6.28"), ("\\sqrt{2}", "1.414"), ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"),
     ("(1,2)", "1"), ("1,2", "1,2,3"), ("1,2,2", "1,1,2"), ("\\text{Evelyn}", "Briana"), ("\\text{Evelyn}", "5"),
     ("A", "B"), ("A", "a"), ("y=2x", "y=3x"), ("y=2x", "2x=0"), ("x", "y"), ("dog", "cat"), ("5", "x"), ("5", "5x"),
     ("5", "(5, 5)"), ("x", "1/0"), ("x", "(x+1)^{64}"), ("x^2", "x^2 + 10^{-64}"), ("i", "1"), ("3+4i", "4+3i")],
)  # fmt: skip
def test_another_answer_is_wrong(gold: str, got: str) -> None:
    """Not masked: a completion whose answer is known to be another one is what a group learns from."""
    assert compare(gold, got) is NOT_EQUAL
    assert judge_math(got, gold).value == 0.0


@pytest.mark.parametrize("text", UNDECIDABLE)
def test_nothing_is_guessed(text: str) -> None:
    assert not readable(text)
    assert compare(text, text) is EQUAL
    assert [compare("x", text), compare(text, "x")] == [UNPARSEABLE, UNPARSEABLE]


@pytest.mark.parametrize(
    ("gold", "got", "verdict"),
    [("xy", "x \\cdot y", EQUAL), ("x*y", "xy", EQUAL), ("xy", "yx", UNPARSEABLE), ("AB", "ab", UNPARSEABLE),
     ("Red", "red", EQUAL), ("NO", "no", EQUAL), ("xy", "xz", NOT_EQUAL),
     ("1, 2", "x = 1, x = 2", EQUAL), ("1,2", "x=1,2", EQUAL), ("\\pm 2", "x = \\pm 2", EQUAL),
     ("1, 2", "x = 1, x = 3", NOT_EQUAL), ("x=1, y=2", "y=2, x=1", EQUAL), ("2, 1", "x=1, y=2", UNPARSEABLE),
     ("x = 5", "y = 5", UNPARSEABLE), ("x = 5", "y = 6", NOT_EQUAL), ("x=1,x=2", "n=1,n=2", UNPARSEABLE),
     ("(1,234)", "1234", UNPARSEABLE), ("(1,234)", "(1, 234.0)", EQUAL), ("(1,234)", "(1,235)", NOT_EQUAL),
     ("1,000, 2,000", "1000, 2000", UNPARSEABLE), ("1,234", "1234", EQUAL),
     ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}", EQUAL),
     ("\\begin{vmatrix}1\\\\2\\end{vmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}", NOT_EQUAL),
     ("y = \\frac{2}{x+1}", "y(x+1) = 2", UNPARSEABLE), ("y=1/x", "xy=1", UNPARSEABLE),
     ("-f(x)", "f(-x)", UNPARSEABLE), ("x+x*s*y", "x+x\\cdots y", UNPARSEABLE)],
)  # fmt: skip
def test_what_can_be_written_or_meant_in_two_ways(gold: str, got: str, verdict: Verdict) -> None:
    """Letters that are a word or a product, names before values, commas of thousands or of lists, brackets."""
    assert compare(gold, got) is verdict


def test_an_equation_is_compared_with_its_right_side_only_where_the_left_is_a_name() -> None:
    assert compare("5", "x = 5") is EQUAL
    assert compare("y = x + 5", "5 + x") is EQUAL
    assert compare("3", "2x = 6") is UNPARSEABLE


@pytest.mark.parametrize(("undecided", "value"), [("wrong", 0.0), ("masked", None)])
def test_what_cannot_be_decided_is_counted_and_wrong_or_masked(undecided: Any, value: float | None) -> None:
    judgement = judge_math("x", "\\sin x", undecided=undecided)
    assert (judgement.value, judgement.undecided, judgement.unparsed) == (value, True, False)
    told = judge_math("\\sin x", "x", undecided=undecided)
    assert (told.value, told.undecided, told.unparsed) == (0.0, False, True)  # it is the completion that cannot be read
    for name, completion in (
        ("boxed", "\\boxed{x}"), ("question_only", "\\boxed{x}"), ("r1_zero", "a </think> <answer> x </answer>"),
    ):  # fmt: skip
        score = grader(name, undecided=undecided).score(Example("", "\\sin x", ""), completion)
        assert math.isnan(score.reward) == (value is None), name
        assert any(key.endswith("/undecided") for key in score.counts)


def test_a_group_on_a_symbolic_answer_has_its_wrong_ones(tmp_path: Path) -> None:
    """Where all but the data's own spelling were masked, only right completions were left to learn from."""
    path = tmp_path / "math.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}?", "answer": "x+{n}"}}\n' for n in range(2, 12)))
    task = File(FileConfig(path=str(path), checker="boxed"))
    example = task.examples("train")[0]
    number = example.gold.removeprefix("x+")
    said = [f"\\boxed{{x+{number}}}", f"\\boxed{{{number}+x}}", "\\boxed{x}", "\\boxed{7}", "\\boxed{?}", "none"]
    assert [task.check(example, text).reward for text in said] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="undecided: got 'right', must be one of wrong, masked"):
        FileConfig(undecided="right")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["(x+y+z)^64", "(x+1)^9(y+1)^9(z+1)^9", "x^{64}" * 30, "(" * 33 + "x", "-" * 40 + "x", "\\sqrt{99999989}" * 15,
     "\\sqrt{" + "9" * 200 + "}", "x," * 127, "(" * 120 + "x,x" + ")" * 120, "\\pm" * 60, "\\frac{x}{" * 20 + "x}" * 20,
     "+".join("xyzabcdefg") * 10, "/".join(["(x+1)"] * 50), "(x+y+z+a+b+c)^9/(x-y-z)^9", "x^" * 100 + "x", "\\cup" * 60,
     "\\begin{pmatrix}" + "&" * 200 + "\\end{pmatrix}", "=" * 250, "x=" * 120, "{" * 250, "\0" * 250],
)  # fmt: skip
def test_hostile_expressions_are_answered_at_once(text: str) -> None:
    seconds = math.inf
    for _ in range(2):
        started = process_time()
        assert compare("x+1", text) is not EQUAL
        seconds = min(seconds, process_time() - started)
    assert seconds < 0.25


# --- against an algebra system, on text that the test wrote -----------------------------------------------------------

Tree = Any
leaves = st.one_of(st.sampled_from(["x", "y", "r2", "r3", "i"]), st.integers(1, 5).map(str))
trees: st.SearchStrategy[Tree] = st.recursive(
    leaves, lambda below: st.tuples(st.sampled_from("+-*/"), below, below), max_leaves=5
)


def written(tree: Tree) -> str:
    if isinstance(tree, str):
        return {"r2": "\\sqrt{2}", "r3": "\\sqrt3"}.get(tree, tree)
    sign, left, right = tree
    if sign == "/":
        return f"\\frac{{{written(left)}}}{{{written(right)}}}"
    return f"({written(left)}{sign}{written(right)})"


def worth(tree: Tree, sympy: Any) -> Any:
    if isinstance(tree, str):
        named = {"r2": sympy.sqrt(2), "r3": sympy.sqrt(3), "i": sympy.I}
        return named[tree] if tree in named else sympy.Symbol(tree) if tree.isalpha() else sympy.Integer(tree)
    sign, left, right = tree
    a, b = worth(left, sympy), worth(right, sympy)
    if sign == "/":
        if sympy.simplify(b) == 0:
            raise ZeroDivisionError
        return a / b
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


@given(left=trees, right=trees)
@settings(max_examples=EXAMPLES // 2, deadline=None, derandomize=True)
def test_verdicts_are_those_of_an_algebra_system(left: Tree, right: Tree) -> None:
    sympy = pytest.importorskip("sympy", reason="sympy is the oracle")
    try:
        one, other = worth(left, sympy), worth(right, sympy)
    except ZeroDivisionError:
        assert compare(written(left), written(right)) is not EQUAL or written(left) == written(right)
        return
    verdict = compare(written(left), written(right))
    same = sympy.simplify(sympy.expand(one - other)) == 0
    assert verdict is (EQUAL if same else NOT_EQUAL), (written(left), written(right))
    # The same, written otherwise: expanded by the system itself, and turned round.
    turned = f"{written(right)}+{written(left)}-{written(right)}"
    assert compare(written(left), turned) is EQUAL


def test_the_values_of_numbers_do_not_change() -> None:
    assert compare("1/2", "0.5") is EQUAL
    assert compare(str(Fraction(7, 3)), "2\\frac13") is EQUAL
    assert Composition([(Boxed(), 1.0)]).score(Example("", "5 cm", ""), "\\boxed{5}").correct
