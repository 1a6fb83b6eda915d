"""Rewards: what they pay for, by hand; what they find in free text; and what no text can make them do."""

from __future__ import annotations

import ast
import builtins
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from time import perf_counter, process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.rewards.code_quality import CodeQuality, code_in
from align_scratch.rewards.composition import Judgement, Reward
from align_scratch.rewards.extraction import (
    Choices,
    answer_block,
    boxes,
    gold,
    has_r1_zero_form,
    last_box,
    last_number,
    marked_number,
    without_boxes,
)
from align_scratch.rewards.graders import GRADERS, grader
from align_scratch.rewards.matching import Boxed, Choice, Exact, Numeric, Pattern
from align_scratch.rewards.reasoning import OneBox, OneBoxFormat, ThinkAnswer, ThinkAnswerFormat, question_only, r1_zero
from align_scratch.rewards.shape import Length, Overlong, Tags, soft_overlong, words
from align_scratch.tasks.problems import Example


def of(reward: Reward, completion: str, answer: str = "") -> float | None:
    return reward(completion, prompt="", answer=answer).value


# --- finding the answer --------------------------------------------------------------------------------------------


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


# --- what is paid ----------------------------------------------------------------------------------------------------


def test_exact() -> None:
    assert of(Exact(), " 3 2 1\n", " 3 2 1") == 1.0
    assert Exact()(" 3 1", prompt="", answer=" 3 2").explanation == "position 2: got '1', expected '2'"
    assert of(Exact(), "Yes", "yes") == 0.0
    assert of(Exact(ignore_case=True), "Yes", "yes") == 1.0


def test_numeric() -> None:
    lenient, strict = Numeric(), Numeric(mode="strict")
    text = "She pays $1,600.00 in all"
    assert of(lenient, text, "so\n#### 1,600") == 1.0
    assert of(strict, text, "#### 1600") == 0.0
    assert of(strict, text + "\n#### 1600", "#### 1600") == 1.0
    assert of(lenient, "600", "#### 1,600") == 0.0
    assert of(lenient, "5", "#### -5") == 0.0
    assert lenient("it is 27", prompt="", answer="72") == Judgement(0.0, "expected 72, got 27")
    assert lenient("who knows", prompt="", answer="7.5") == Judgement(0.0, "no number, expected 15/2", unparsed=True)
    assert of(lenient, "5", "no number") is None
    with pytest.raises(ValueError, match="mode: got 'loose', must be lenient or strict"):
        Numeric(mode="loose")  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", ["1/2", "10-3", "2^3", "1e5", "3 1/2", "\\boxed{\\frac{3}{4}}"])
def test_an_answer_that_is_a_calculation_is_not_taken_for_its_last_number(answer: str) -> None:
    judgement = Numeric()("it is 2 or 3 or 5 or 4", prompt="", answer=answer)
    assert judgement.value is None
    assert "is a calculation, not a number" in judgement.explanation


@pytest.mark.parametrize("answer", ["50%", "$18.00", "16 - 3 = 13", "5 apples", "1,600.", "#### -7", "-7"])
def test_an_answer_that_is_a_number_with_something_around_it_is_one(answer: str) -> None:
    assert of(Numeric(), answer, answer) == 1.0


def test_boxed() -> None:
    assert of(Boxed(), "\\boxed{1} hm, \\boxed{\\frac{2}{4}}", "0.5") == 1.0
    assert of(Boxed(), "0.5", "0.5") == 0.0
    assert Boxed()("0.5", prompt="", answer="0.5").unparsed
    assert of(Boxed(), "\\boxed{50%}", "50") == 0.0
    assert of(Boxed(loose_percent=True), "\\boxed{50%}", "50") == 1.0
    assert of(Boxed(), "\\boxed{what}", "5") == 0.0
    assert of(Boxed(), "\\boxed{x + 1}", "x+1") == 1.0
    assert of(Boxed(), "\\boxed{1 + x}", "x+1") is None  # nobody here knows algebra


def test_words_around_an_answer_earn_nothing() -> None:
    """What a maths reward once paid for: steps, "the answer is" and an equals sign."""
    text = "First, note that 2 + 2 = 4. Therefore the answer is 5."
    for name in ("exact", "boxed", "r1_zero", "question_only", "numeric"):
        score = grader(name).score(Example("", "7", ""), text)
        assert (score.reward, score.correct) == (0.0, False)
        assert score.explanation


@pytest.mark.parametrize(
    ("completion", "form", "answer"),
    [
        ("thinking </think> <answer> 1,600 </answer>", 1, 1),
        ("thinking </think> <answer>\\boxed{1600}</answer> ", 1, 1),
        ("thinking </think> <answer> 27 </answer>", 1, 0),
        ("thinking </think> <answer></answer>", 1, 0),
        ("thinking </think><answer> 1600 </answer>", 0, 0),
        ("thinking </think>\n<answer> 1600 </answer>", 0, 0),
        ("thinking </think> <answer> 1600", 0, 0),
        ("<answer> 1600 </answer>", 0, 0),
        ("1600", 0, 0),
        ("</think> <answer> 1 </answer> <answer> 1600 </answer>", 0, 0),
        ("</think> <answer> 1 <answer> 1600 </answer>", 0, 0),
        ("</think> <answer> 1600 </answer> </answer>", 0, 0),
        ("</think> </think> <answer> 1600 </answer>", 0, 0),
        ("</answer> </think> <answer> 1600", 0, 0),
        (" ".join(f"</think> <answer> {n} </answer>" for n in range(1500, 1700)), 0, 0),
    ],
)
def test_r1_zero(completion: str, form: float, answer: float) -> None:
    score = r1_zero().score(Example("", "#### 1600", ""), completion)
    assert score.parts == {"format": form, "answer": answer}
    assert score.reward == form * answer
    assert score.correct is (form * answer == 1)
    assert (score.explanation == "") is score.correct
    assert has_r1_zero_form(completion) is bool(form)
    assert (answer_block(completion) is not None) or not form


@pytest.mark.parametrize(
    ("completion", "form", "answer"),
    [
        ("so \\boxed{8/16}", 1, 1),
        ("so \\boxed{1}", 1, 0),
        ("so 1/2", 0, 0),
        ("\\boxed{1} \\boxed{1/2}", 0, 0),
        ("\\boxed{1/2} \\boxed{1/2}", 0, 0),
        ("\\boxed{\\boxed{1/2}}", 1, 1),
        ("\\boxed{1/2", 0, 0),
    ],
)
def test_question_only(completion: str, form: float, answer: float) -> None:
    score = question_only().score(Example("", "0.5", ""), completion)
    assert score.parts == {"format": form, "answer": answer}
    assert (score.reward, score.correct) == (form * answer, form * answer == 1)


def test_what_is_wrong_with_a_form_is_said() -> None:
    told = ThinkAnswerFormat()("<answer> 5 </answer> <answer>", prompt="", answer="").explanation
    assert told == "</think> must be there exactly once, not 0 times"
    assert "not 2 times" in OneBoxFormat()("\\boxed{1}\\boxed{2}", prompt="", answer="").explanation
    assert "in this order" in ThinkAnswerFormat()("</think><answer></answer>", prompt="", answer="").explanation


def test_choice() -> None:
    assert of(Choice(), "the answer is C", "C") == 1.0
    assert Choice()("the answer is B", prompt="", answer="C") == Judgement(0.0, "expected C, got B")
    assert Choice()("no idea", prompt="", answer="C").unparsed
    assert of(Choice(), "C", "E") is None
    assert of(Choice(letters="ABCDE"), "E", "E") == 1.0


def test_pattern() -> None:
    assert of(Pattern(pattern=r"\d+ apples"), "he has 5 apples") == 1.0
    assert of(Pattern(pattern=r"\d+"), "five") == 0.0
    assert of(Pattern(pattern=r"\d+", whole=True), "5 apples") == 0.0
    assert of(Pattern(pattern=r"\d+", whole=True), "55") == 1.0
    last = Pattern(pattern=r"answer: (?P<it>\w+)", group="it")
    assert of(last, "answer: a ... answer: b", "b") == 1.0
    assert last("answer: b ... answer: a", prompt="", answer="b") == Judgement(0.0, "expected 'b', got 'a'")
    assert of(last, "nothing", "b") == 0.0
    assert of(Pattern(pattern=r"(a)|b", group=1), "b", "a") == 0.0  # a group that took no part


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": ""}, "pattern: got '', must be a regular expression: an empty one matches"),
        ({"pattern": "("}, r"pattern: got '\(', must be a regular expression: missing \)"),
        ({"pattern": "a", "group": 1}, "group: got 1, must be a group of the pattern"),
        ({"pattern": "a", "group": "x"}, "group: got 'x', must be a group of the pattern"),
        ({"pattern": "a", "seconds": 0.0}, "seconds: got 0.0, must be positive"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pattern(**options)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+$", "a" * 50_000 + "!"),
        (r"(a|aa)+$", "a" * 50_000 + "!"),
        (r"(.*)*x", "a" * 100_000),
        (r"(\w+\s?)*$", "word " * 20_000 + "!"),
        (r".*.*.*=.*z", "=" * 100_000),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 100_000),
        (r"(?:a?){60}a{60}", "a" * 59 + "b" * 100_000),
        (r"(x+x+)+y", "x" * 100_000),
    ],
)
@pytest.mark.parametrize("how", [{}, {"whole": True}, {"group": 0}])
def test_a_catastrophic_pattern_ends_in_time(pattern: str, text: str, how: dict[str, Any]) -> None:
    reward = Pattern(pattern=pattern, seconds=0.05, **how)
    started = perf_counter()
    try:
        value = of(reward, text, "")
    except TimeoutError:
        value = None
    assert perf_counter() - started < 2.0
    assert value in (None, 0.0)


def test_a_classic_catastrophe_does_time_out() -> None:
    with pytest.raises(TimeoutError):
        of(Pattern(pattern=r"(a+)+$", seconds=0.02), "a" * 100_000 + "!")


def test_soft_overlong_by_hand() -> None:
    """DAPO: 16,384 expected tokens and a cache of 4,096 make up the longest, 20,480."""
    lengths = {0: 0.0, 16384: 0.0, 17408: -0.25, 18432: -0.5, 20480: -1.0, 10**9: -1.0}
    assert {n: soft_overlong(n, longest=20480, cache=4096) for n in lengths} == lengths
    assert [soft_overlong(n, longest=10, cache=0) for n in (10, 10.5, 11)] == [0.0, -1.0, -1.0]
    assert [soft_overlong(n, longest=4, cache=4) for n in (0, 1, 2, 4)] == [0.0, -0.25, -0.5, -1.0]
    assert of(Overlong(longest=10, cache=4), "x" * 8) == -0.5
    assert of(Overlong(longest=10, cache=4, measure=words), "x y z " * 3) == -0.75
    assert of(Overlong(longest=10, cache=4), "x" * 6) == 0.0
    with pytest.raises(ValueError, match="cache: got 11, must be between 0 and longest"):
        Overlong(longest=10, cache=11)


def test_length_by_hand() -> None:
    reward = Length(least=2, most=4, slack=2)
    assert [of(reward, "x" * n) for n in range(8)] == [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert [of(Length(most=2, measure=words), "x " * n) for n in range(4)] == [1.0, 1.0, 1.0, 0.0]
    for wrong in ({"most": 1, "least": 2}, {"most": -1}):
        with pytest.raises(ValueError, match="least: got"):
            Length(**wrong)
    with pytest.raises(ValueError, match="slack: got -1"):
        Length(most=1, slack=-1)


def test_tags() -> None:
    assert of(Tags(), "<think>a</think> b <answer>c</answer>") == 1.0
    assert of(Tags(tags=("x",)), "<x></x>") == 1.0
    for wrong in (
        "",
        "<answer></answer><think></think>",
        "<think><answer></think></answer>",
        "<think></think><answer>",
    ):
        assert of(Tags(), wrong) == 0.0
        assert Tags()(wrong, prompt="", answer="").explanation
    assert of(Tags(), "<think></think><answer></answer><answer></answer>") == 0.0
    with pytest.raises(ValueError, match="tags: got"):
        Tags(tags=())


# --- code ------------------------------------------------------------------------------------------------------------

GOOD = '''
def add(a: int, b: int) -> int:
    """The sum."""
    return a + b
'''


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (GOOD, 1.0),
        (f"Here it is:\n```python\n{GOOD}\n```\nas asked", 1.0),
        ("def f(a):\n    return a", 0.8),
        ("x = 1", 0.7),
        ("x = 1  # " + "x" * 100, 0.5),
        ("def f(a):\n    try:\n        pass\n    except:\n        pass", 0.6),
        ("def f(a):\n    return eval(a)", 0.6),
        ("from os import *", 0.5),
        ("class A:\n    pass", 0.8),
        ("class A:\n    'What it is.'", 1.0),
        ("async def f() -> None: ...", 1.0),
        ("def f(:", 0.0),
        ("", 0.0),
        ("# nothing", 0.0),
        ("this is no code", 0.0),
        ("x = 1\0", 0.0),
        ("x = '\ud800'", 0.0),
        ("x = 1\n" * 5000, 0.0),
    ],
)
def test_code_quality_by_hand(code: str, value: float) -> None:
    judgement = CodeQuality()(code, prompt="", answer="")
    assert judgement.value == value
    assert (judgement.explanation == "") is (value == 1.0)
    assert judgement.unparsed is (value == 0.0)


def test_which_code_is_looked_at() -> None:
    assert code_in("x = 1") == "x = 1"
    assert code_in("```\na\n```\n```python\nb\n```\n").strip() == "b"
    assert code_in("```python\na").strip() == "a"
    assert code_in("```\na\n```\nand ```\nunfinished").strip() == "a"


@pytest.mark.parametrize(
    "code",
    [
        "(" * 20_000, "[" * 10_000 + "]" * 10_000, "-" * 19_999 + "1", "not " * 4999 + "x", "x" + ".a" * 9000,
        "a" + "[a]" * 6000, "1" + "+1" * 9999, "f(" * 9000 + ")" * 9000, "lambda:" * 2800 + "1", "{" * 10**6,
        "if x:\n" + " " * 19_000 + "y", "9**9**9**9", "9" * 19_000, "f'" + "{" * 9000, "'\\d'", "'a' * 10**9",
        "\\\n" * 9000, "x = 1;" * 3000, "\f" * 20_000, "__import__('os').system('exit 1')", "@" * 20_000,
        "match x:\n case " + "(" * 5000, "\ufeff" * 9000,
    ],
)  # fmt: skip
def test_hostile_code_is_parsed_in_time_and_never_run(code: str) -> None:
    started = process_time()
    with only_parsing():
        judgement = CodeQuality()(code, prompt="", answer="")
    assert process_time() - started < 2.0
    assert judgement.value is not None
    assert 0.0 <= judgement.value <= 1.0
    assert len(judgement.explanation) < 1000


@contextmanager
def only_parsing() -> Iterator[None]:
    """Whatever could run text fails inside; `compile` may make syntax trees."""
    real = builtins.compile

    def never(*_: object, **__: object) -> None:
        raise AssertionError("text was executed")

    def parse(source: Any, filename: Any, mode: Any, flags: int = 0, *rest: Any, **more: Any) -> Any:
        assert flags & ast.PyCF_ONLY_AST
        return real(source, filename, mode, flags, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        for holder, names in ((builtins, ("eval", "exec")), (os, ("system", "popen"))):
            for name in names:
                patch.setattr(holder, name, never)
        patch.setattr(builtins, "compile", parse)
        patch.setattr(subprocess, "Popen", never)
        yield


# --- hostile text, all of them ---------------------------------------------------------------------------------------

MB = 2**20
HOSTILE: dict[str, str] = {
    "nothing": "",
    "NULs": "\0" * MB,
    "surrogates": "\ud800" * MB,
    "digits": "9" * MB,
    "numbers": "9 " * (MB // 2),
    "commas": "9," * (MB // 2),
    "points": "." * MB,
    "minuses": "-" * MB,
    "spaces": " " * MB,
    "lines": "\n" * MB,
    "braces": "{" * MB,
    "nested braces": "{" * (MB // 2) + "}" * (MB // 2),
    "boxes": "\\boxed{" * (MB // 7),
    "closed boxes": "\\boxed{1}" * (MB // 9),
    "a box of braces": "\\boxed{" + "{" * (MB // 2) + "}" * (MB // 2) + "}",
    "backslashes": "\\" * MB,
    "tags": "<answer>" * (MB // 8),
    "blocks": "</think> <answer>1</answer>" * (MB // 27),
    "fences": "```\n" * (MB // 4),
    "answers": "answer is " * (MB // 10),
    "an answer far away": "answer" + " " * MB + "is C",
    "letters": "A " * (MB // 2),
    "brackets": "(" * MB,
    "hashes": "####" * (MB // 4),
    "tower": "9**9**9**9",
    "boxed tower": "\\boxed{5^(5^(5^5))}",
    "code": "__import__('os').system('exit 1')",
    "boxed code": "\\boxed{__import__('os').system('exit 1')}",
    "answered code": "</think> <answer> __import__('os').system('exit 1') </answer>",
    "format": "%s%n{0.__class__}",
    "not a number": "nan inf -inf 1e999999",
    "right to left": "\u202e5\u202c",
}
REWARDS: dict[str, Callable[[], Reward]] = {
    "exact": Exact,
    "numeric": Numeric,
    "strict": lambda: Numeric(mode="strict"),
    "boxed": Boxed,
    "choice": Choice,
    "r1 form": ThinkAnswerFormat,
    "r1 answer": ThinkAnswer,
    "one box form": OneBoxFormat,
    "one box": OneBox,
    "tags": Tags,
    "length": lambda: Length(most=5),
    "overlong": lambda: Overlong(longest=5, cache=1),
    "pattern": lambda: Pattern(pattern=r"answer: (\d+)$", seconds=0.5),
    "code": CodeQuality,
}


@pytest.mark.parametrize("name", list(REWARDS))
def test_hostile_text_is_judged_in_time_and_never_run(name: str) -> None:
    reward = REWARDS[name]()
    answer = "C" if name == "choice" else "5550"
    for kind, text in HOSTILE.items():
        started = process_time()
        with only_parsing():
            judgement = reward(text, prompt="", answer=answer)
        assert process_time() - started < 1.0, kind
        assert judgement.value is not None, kind
        assert judgement.value <= 1.0, kind
        assert len(judgement.explanation) < 500, kind
        if name not in ("length", "overlong", "code") and (name, kind) not in FORMED and kind != "an answer far away":
            assert judgement.value == 0.0, kind


FORMED = {
    ("r1 form", "answered code"),
    ("one box form", "boxed tower"),
    ("one box form", "boxed code"),
}
"""Hostile, but of the form asked for."""


@pytest.mark.parametrize("name", ["numeric", "boxed", "choice", "r1 answer", "one box form", "tags", "exact"])
def test_time_grows_linearly(name: str) -> None:
    reward = REWARDS[name]()
    texts = ["9,", "\\boxed{", "answer is ", "{}", "\\boxed{1}", "- ", "<answer>", "A ", "answer  "]

    def seconds(n: int) -> float:
        best = float("inf")
        for _ in range(3):
            started = process_time()
            for text in texts:
                reward(text * (n // len(text)), prompt="", answer="C")
            best = min(best, process_time() - started)
        return best

    assert seconds(2**19) < 24 * max(seconds(2**16), 2e-4)


def test_graders_by_name() -> None:
    assert set(GRADERS) == {"exact", "numeric", "boxed", "r1_zero", "question_only", "choice"}
    answers = {"choice": "C"}
    right = {"r1_zero": "</think> <answer>72</answer>", "boxed": "\\boxed{72}", "question_only": "\\boxed{72}"}
    for name in GRADERS:
        answer = answers.get(name, "72")
        example = Example("", answer, "")
        assert grader(name).score(example, right.get(name, answer)).correct
        assert not grader(name).score(example, "nothing of it").correct
    assert grader("pattern", pattern="a+").score(Example("", "", ""), "caat").correct
    assert grader("numeric").score(Example("", "#### 5", ""), "it is 5").parts == {"numeric": 1.0, "strict": 0.0}
    with pytest.raises(ValueError, match="grader: got 'x', must be one of exact, numeric"):
        grader("x")
    with pytest.raises(ValueError, match="pattern: got ''"):
        grader("pattern")
