"""Rewards: what they pay for, by hand."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pytest

from align_scratch.rewards.composition import Judgement, Reward
from align_scratch.rewards.extraction import (
    answer_block,
    has_r1_zero_form,
)
from align_scratch.rewards.graders import grader
from align_scratch.rewards.matching import Boxed, Choice, Exact, Numeric, Pattern
from align_scratch.rewards.reasoning import OneBoxFormat, ThinkAnswerFormat, question_only, r1_zero
from align_scratch.rewards.shape import Length, Overlong, Tags, soft_overlong, words
from align_scratch.tasks.problems import Example


def of(reward: Reward, completion: str, answer: str = "") -> float | None:
    return reward(completion, prompt="", answer=answer).value


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
    assert of(Boxed(), "\\boxed{1 + x}", "x+1") == 1.0
    assert of(Boxed(), "\\boxed{2 + x}", "x+1") == 0.0
    assert of(Boxed(), "\\boxed{cos x}", "\\sin x") == 0.0  # nobody here knows calculus
    assert of(Boxed(undecided="masked"), "\\boxed{cos x}", "\\sin x") is None


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


"""Hostile, but of the form asked for."""
