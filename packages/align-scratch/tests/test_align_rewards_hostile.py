"""Code rewards, and hostile text for every reward: parsed in bounded time, never run."""

from __future__ import annotations

import ast
import builtins
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time
from typing import Any

import pytest

from align_scratch.rewards.code_quality import CodeQuality, code_in
from align_scratch.rewards.composition import Reward
from align_scratch.rewards.graders import GRADERS, grader
from align_scratch.rewards.matching import Boxed, Choice, Exact, Numeric, Pattern
from align_scratch.rewards.reasoning import OneBox, OneBoxFormat, ThinkAnswer, ThinkAnswerFormat
from align_scratch.rewards.shape import Length, Overlong, Tags
from align_scratch.tasks.problems import Example

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
