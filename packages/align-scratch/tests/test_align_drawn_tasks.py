"""The tasks beyond sort, add and reverse: right answers by other means, equal problems on one side, exact marks."""

from __future__ import annotations

import builtins
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import permutations, product
from math import sqrt
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.drawn_tasks import (
    BracketsConfig,
    CopyConfig,
    CountdownConfig,
    CountLettersConfig,
    MulConfig,
    ParityConfig,
    SubConfig,
)
from align_scratch.config.tasks import AddConfig, ReverseConfig
from align_scratch.tasks.addition import Add, without_carry
from align_scratch.tasks.brackets import Brackets
from align_scratch.tasks.copying import Copy
from align_scratch.tasks.countdown import Countdown
from align_scratch.tasks.counting import CountLetters
from align_scratch.tasks.multiplication import Mul
from align_scratch.tasks.parity import Parity
from align_scratch.tasks.problems import Example, ProblemTask, complete
from align_scratch.tasks.reversal import Reverse
from align_scratch.tasks.subtraction import Sub

EXAMPLES = int(os.environ.get("SCRATCH_EXAMPLES", "40"))
SPLITS = ("train", "held_out")
Make = Callable[..., ProblemTask]
MAKE: dict[str, Make] = {
    "sub": lambda **o: Sub(SubConfig(**o)),
    "mul": lambda **o: Mul(MulConfig(**o)),
    "copy": lambda **o: Copy(CopyConfig(**o)),
    "parity": lambda **o: Parity(ParityConfig(**o)),
    "count-letters": lambda **o: CountLetters(CountLettersConfig(**o)),
    "brackets": lambda **o: Brackets(BracketsConfig(**o)),
    "countdown": lambda **o: Countdown(CountdownConfig(**o)),
    "add": lambda **o: Add(AddConfig(**o)),
    "reverse": lambda **o: Reverse(ReverseConfig(**o)),
}
DIAL = {"sub": ("digits", 1, 32), "mul": ("digits", 1, 32), "copy": ("length", 2, 64), "parity": ("length", 6, 64)}
DIAL |= {"count-letters": ("length", 4, 64), "brackets": ("length", 4, 64), "countdown": ("numbers", 2, 6)}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "sub": [{}, {"negative": True}],
    "mul": [{}],
    "copy": [{}],
    "parity": [{}, {"working": False}],
    "count-letters": [{}, {"letters": 2}, {"letters": 26}],
    "brackets": [{}, {"kinds": 2}, {"kinds": 4}],
    "countdown": [{}, {"use": "any"}, {"largest": 25, "target": 500}],
}
every_task = pytest.mark.parametrize("name", list(DIAL))
every_variant = pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, variants in VARIANTS.items() for options in variants]
)


def spaced(text: object) -> str:
    return "".join(f" {c}" for c in str(text))


def close(prompt: str) -> str:
    """Take out whole pairs until none is left: what remains is open."""
    text = prompt.replace(" ", "")
    while (shorter := re.sub(r"\(\)|\[\]|\{\}|<>", "", text)) != text:
        text = shorter
    assert not set(text) & set(")]}>")
    return spaced(text[::-1].translate(str.maketrans("([{<", ")]}>")))


def right_answer(name: str, prompt: str, options: Mapping[str, Any]) -> str:
    """Without looking at the package: what a person would write."""
    bare = prompt.removesuffix(" =").replace(" ", "")
    if name == "sub":
        left, right = bare.split("-")
        return spaced(int(left) - int(right))
    if name == "mul":
        left, right = bare.split("*")
        return spaced(int(left) * int(right))
    if name == "copy":
        return spaced(bare)
    if name == "parity":
        parities = [str(bare[: i + 1].count("1") % 2) for i in range(len(bare))]
        return spaced("".join(parities)) if options.get("working", True) else spaced(parities[-1])
    if name == "count-letters":
        asked, word = bare.split(":")
        return spaced(sum(letter == asked for letter in word))
    return close(prompt.removesuffix(" ="))


def identity(name: str, prompt: str) -> object:
    """Problems that are one problem: whoever has seen one can answer the other."""
    bare = prompt.removesuffix(" =").replace(" ", "")
    if name in ("sub", "mul", "add"):
        return tuple(sorted(map(int, re.split(r"[-+*]", bare))))
    if name == "count-letters":
        return bare.split(":")[1]
    if name == "countdown":
        given, target = bare.split(":")
        return tuple(sorted(map(int, given.split(",")))), target
    if name == "reverse":
        return min(bare, bare[::-1])
    return bare


# --- problems --------------------------------------------------------------------------------------------------------


@st.composite
def drawn(draw: st.DrawFn) -> tuple[str, ProblemTask, dict[str, Any]]:
    name = draw(st.sampled_from([name for name in DIAL if name != "countdown"]))
    dial, low, high = DIAL[name]
    options = {
        dial: draw(st.integers(low, low + 4) | st.integers(low, high)),
        "n_train": draw(st.integers(1, 100)),
        "n_held_out": draw(st.integers(1, 30)),
        "seed": draw(st.integers(0, 2**63 - 1)),
        **draw(st.sampled_from(VARIANTS[name])),
    }
    return name, MAKE[name](**options), options


@given(drawn=drawn())
@settings(max_examples=2 * EXAMPLES, deadline=None, derandomize=True)
def test_answers_are_right_by_another_way(drawn: tuple[str, ProblemTask, dict[str, Any]]) -> None:
    name, task, options = drawn
    for split in SPLITS:
        for example in task.examples(split):
            assert example.answer == example.demonstration == right_answer(name, example.prompt, options)
            assert re.fullmatch(r"( \S)+", example.answer)
            assert re.fullmatch(r"\S( \S)* =", example.prompt)
            bare = example.prompt.removesuffix(" =").replace(" ", "")
            if name in ("sub", "mul"):
                numbers = re.split(r"[-*]", bare)
                assert all(number == str(int(number)) and len(number) <= options["digits"] for number in numbers)
                assert name == "mul" or options.get("negative") or int(numbers[0]) >= int(numbers[1])
            elif name == "count-letters":
                letters = "abcdefghijklmnopqrstuvwxyz"[: options.get("letters", 4)]
                assert re.fullmatch(f"[{letters}]:[{letters}]{{{options['length']}}}", bare)
            else:
                assert len(bare) == options["length"]
                assert name != "parity" or set(bare) <= set("01")
                assert name != "brackets" or set(bare) <= set("()[]{}<>"[: 2 * options.get("kinds", 3)])


@every_variant
def test_the_splits_share_no_problem_whatever_seed_size_or_option(name: str, options: dict[str, Any]) -> None:
    """A model trained under one configuration may be evaluated under any other."""
    dial, low, _ = DIAL[name]
    seen: dict[str, set[object]] = {"train": set(), "held_out": set()}
    prompts: dict[str, set[str]] = {"train": set(), "held_out": set()}
    for difficulty in (low, low + 1, low + 2):
        for seed in (0, 2**40):
            for n_train, n_held_out in ((300, 40), (40, 300)):
                task = MAKE[name](**{dial: difficulty, **options}, seed=seed, n_train=n_train, n_held_out=n_held_out)
                for split in SPLITS:
                    examples = task.examples(split)
                    assert (
                        1
                        <= len({e.prompt for e in examples})
                        == len(examples)
                        <= (n_train, n_held_out)[split != "train"]
                    )
                    assert list(task.texts(split)) == [e.prompt + e.demonstration for e in examples]
                    prompts[split] |= {e.prompt for e in examples}
                    seen[split] |= {identity(name, e.prompt) for e in examples}
    assert len(prompts["train"]) > 90
    assert len(prompts["held_out"]) > 20
    assert not seen["train"] & seen["held_out"]


@pytest.mark.parametrize("name", ["add", "reverse"])
def test_equal_problems_of_the_older_tasks_stand_on_one_side_too(name: str) -> None:
    task = MAKE[name](**{"digits": 2} if name == "add" else {"length": 2}, n_train=10**5, n_held_out=10**5)
    sides = [{identity(name, example.prompt) for example in task.examples(split)} for split in SPLITS]
    assert not sides[0] & sides[1]
    assert min(map(len, sides)) > 30


def open_prefixes(length: int, openers: str) -> set[str]:
    """Every sequence of brackets, filtered."""
    found = set()
    partner = dict(zip("([{<", ")]}>", strict=True))
    for symbols in product("".join(c + partner[c] for c in openers), repeat=length):
        stack = []
        for symbol in symbols:
            if symbol in partner:
                stack.append(partner[symbol])
            elif not stack or stack.pop() != symbol:
                break
        else:
            if stack:
                found.add(" ".join(symbols) + " =")
    return found


def whole_space(name: str, options: Mapping[str, Any]) -> set[str]:
    if name in ("sub", "mul"):
        sign, all_pairs = ("-", options.get("negative")) if name == "sub" else ("*", True)
        return {f"{a} {sign} {b} =" for a in range(10) for b in range(10) if all_pairs or a >= b}
    if name == "copy":
        return {f"{a} {b} =" for a, b in product("abcdefghijklmnopqrstuvwxyz", repeat=2)}
    if name == "parity":
        return {" ".join(bits) + " =" for bits in product("01", repeat=6)}
    if name == "count-letters":
        letters = "abcd"[: options.get("letters", 4)]
        return {f"{a} : {' '.join(word)} =" for a in letters for word in product(letters, repeat=4)}
    return open_prefixes(4, "([{<"[: options.get("kinds", 3)])


@pytest.mark.parametrize(
    ("name", "options"),
    [(n, o) for n, variants in VARIANTS.items() for o in variants if n != "countdown" and o.get("letters", 2) < 26],
)
def test_the_smallest_space_is_used_up_and_no_more(name: str, options: dict[str, Any]) -> None:
    dial, low, _ = DIAL[name]
    task = MAKE[name](**{dial: low, **options}, n_train=10**6, n_held_out=10**6)
    prompts = [example.prompt for split in SPLITS for example in task.examples(split)]
    assert len(prompts) == len(set(prompts))
    assert set(prompts) == whole_space(name, options)
    assert 0.02 < len(task.examples("held_out")) / len(prompts) < 0.3


def test_brackets_are_drawn_evenly() -> None:
    """Of all 4-bracket problems of two kinds, each as often as any other over many seeds."""
    counts: Counter[str] = Counter()
    for seed in range(200):
        for example in MAKE["brackets"](length=4, kinds=2, n_train=8, n_held_out=1, seed=seed).examples("train"):
            counts[example.prompt] += 1
    n, kinds = sum(counts.values()), len(counts)
    chi2 = sum((count - n / kinds) ** 2 / (n / kinds) for count in counts.values())
    assert kinds > 25
    assert chi2 < kinds - 1 + 4 * sqrt(2 * (kinds - 1))


@every_variant
def test_the_same_options_give_the_same_problems_and_another_seed_others(name: str, options: dict[str, Any]) -> None:
    first, again, other = (
        [MAKE[name](**options, n_train=60, n_held_out=20, seed=seed).examples(split) for split in SPLITS]
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first[0] != other[0]


def test_nothing_depends_on_the_hash_seed_or_the_process() -> None:
    program = """
import json
from pkgutil import resolve_name
from hashlib import sha256
from align_scratch.tasks.preferences import TASKS
for name, (task, config, dial) in TASKS.items():
    options = resolve_name("align_scratch.config." + config)(n_train=200, n_held_out=50)
    built = resolve_name("align_scratch.tasks." + task)(options)
    print(sha256(repr([list(built.examples(s)) for s in ("train", "held_out")]).encode()).hexdigest())
from align_scratch.config.drawn_tasks import PreferencesConfig
from align_scratch.tasks.preferences import Preferences
pairs = Preferences(PreferencesConfig(flaw="any", noise=0.3, margin=1.0, n_train=300, n_held_out=50))
print(sha256(repr([pairs.pairs(s) for s in ("train", "held_out")]).encode()).hexdigest())
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "4242")
    ]
    assert told[0] == told[1]
    assert len(set(told[0].split())) == 11


@every_task
def test_the_difficulty_dial_goes_from_end_to_end_and_no_further(name: str) -> None:
    dial, low, high = DIAL[name]
    for difficulty in (low, high):
        task = MAKE[name](**{dial: difficulty}, n_train=4, n_held_out=2)
        for split in SPLITS:
            for example in task.examples(split):
                assert task.check(example, example.answer).correct
    for beyond in (low - 1, high + 1, -3):
        with pytest.raises(ValueError, match=f"^{dial}: got {beyond}, must be between {low} and {high}"):
            MAKE[name](**{dial: beyond})
    lengths = [
        len(MAKE[name](**{dial: d}, n_train=50, n_held_out=1).examples("train")[0].prompt) for d in (low, low + 2, high)
    ]
    assert lengths[0] < lengths[-1]


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("sub", "partial", 1.5),
        ("mul", "n_train", 0),
        ("copy", "seed", -1),
        ("count-letters", "letters", 1),
        ("count-letters", "letters", 27),
        ("brackets", "kinds", 1),
        ("brackets", "kinds", 5),
        ("countdown", "largest", 4),
        ("countdown", "target", 9),
        ("countdown", "use", "some"),
        ("add", "mixed", 1.1),
    ],
)
def test_options_out_of_range_are_named(name: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option}: got {re.escape(repr(value))}, must be .+: .+"):
        MAKE[name](**{option: value})


# --- mixed sums ------------------------------------------------------------------------------------------------------


@given(left=st.integers(0, 10**6), right=st.integers(0, 10**6))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_sums_without_carry_by_places(left: int, right: int) -> None:
    text = without_carry(left, right)
    assert len(text) == max(len(str(left)), len(str(right)))
    for place in range(len(text)):
        assert int(text[-1 - place]) == (left // 10**place % 10 + right // 10**place % 10) % 10
    if not any((left // 10**p % 10) + (right // 10**p % 10) > 9 for p in range(8)):
        assert int(text) == left + right


def test_the_share_of_sums_without_carry_is_the_option() -> None:
    for mixed in (0.0, 0.6, 1.0):
        task = Add(AddConfig(digits=3, mixed=mixed, n_train=4000, n_held_out=500))
        for split in SPLITS:
            told = []
            for example in task.examples(split):
                left, right = map(int, example.prompt.removesuffix(" =").replace(" ", "").split("+"))
                assert example.answer == spaced(left + right)
                assert example.demonstration in (example.answer, spaced(without_carry(left, right)))
                if without_carry(left, right) != str(left + right):
                    told.append(example.demonstration != example.answer)
                    assert not task.check(example, spaced(without_carry(left, right))).correct
            assert abs(sum(told) / len(told) - mixed) <= 4 * sqrt(mixed * (1 - mixed) / len(told))
    assert "60% of the demonstrations forget to carry" in Add(AddConfig(mixed=0.6, n_train=9)).lesson
    assert "already right" in Add(AddConfig(n_train=9)).lesson
    plain, mixed_too = (Add(AddConfig(mixed=m, n_train=500)).examples("held_out") for m in (0.0, 0.6))
    assert [(e.prompt, e.answer) for e in plain] == [(e.prompt, e.answer) for e in mixed_too]


# --- countdown -------------------------------------------------------------------------------------------------------


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


# --- marks -----------------------------------------------------------------------------------------------------------


@every_variant
def test_own_answers_are_accepted_and_every_change_is_judged_by_the_oracle(name: str, options: dict[str, Any]) -> None:
    task = MAKE[name](**options, n_train=40, n_held_out=5, partial=0.5)
    rng = random.Random(name)
    for example in task.examples("train"):
        assert task.check(example, example.answer).correct
        assert task.check(example, f"\n{example.answer.strip()}  ").correct
        items = example.answer.split()
        for _ in range(5):
            at = rng.randrange(len(items))
            changed = [*items[:at], rng.choice("0123456789+-*/()ab"), *items[at + 1 :]]
            completion = " " + " ".join(changed)
            score = task.check(example, completion)
            if name != "countdown":
                assert score.correct is (completion == example.answer)
            assert score.correct is (score.explanation == "") is (score.reward == 1.0)
        for completion in (f"{example.answer} {items[-1]}", example.answer[:-2], example.answer.replace(" ", "")):
            if len(items) > 1:
                assert not task.check(example, completion).correct


@pytest.mark.parametrize(
    ("completion", "told"),
    [
        ("} ]", "position 2: got ']', expected ')', which closes '(', symbol 1 of the problem"),
        (")", "position 1: got ')', expected '}', which closes '{', symbol 4 of the problem"),
        ("}", "position 2: nothing there, expected ')', which closes '(', symbol 1 of the problem"),
        ("} ) )", "position 3: got ')', expected the end, everything is closed by then"),
        ("})", "position 1: got '})', expected '}', which closes '{', symbol 4 of the problem"),
        ("}  )", "the items are right, but not separated or ended as in the answer"),
        ("} )", ""),
    ],
)
def test_a_wrong_bracket_is_explained_by_the_one_it_should_close(completion: str, told: str) -> None:
    score = Brackets(BracketsConfig(n_train=4, n_held_out=1)).check(Example("( [ ] { =", " } )", ""), completion)
    assert score.explanation == told


MB = 2**20
HOSTILE = {
    "nothing": "",
    "one long item": "9" * MB,
    "digits": "9 " * (MB // 2),
    "brackets": "( " * (MB // 2),
    "signs": "- " * (MB // 2),
    "spaces": " " * MB,
    "NULs": "\0" * MB,
    "surrogates": "\ud800 " * (MB // 2),
    "tower": "9**9**9**9",
    "spaced tower": "9 * * 9 * * 9",
    "code": "__import__('os').system('exit 1')",
    "format": "{0.__class__}%s%n",
    "not a number": "nan inf -inf 1e999999",
    "right to left": "\u202e1 2\u202c",
    "other digits": "\u0661 \u0662",
}


@contextmanager
def nothing_runs() -> Iterator[None]:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("text was executed")

    with pytest.MonkeyPatch.context() as patch:
        for holder, names in ((builtins, ("eval", "exec", "compile")), (os, ("system", "popen"))):
            for name in names:
                patch.setattr(holder, name, never)
        patch.setattr(subprocess, "Popen", never)
        yield


@every_task
@pytest.mark.parametrize("partial", [0.0, 1.0])
def test_hostile_text_is_marked_wrong_at_once_and_none_of_it_runs(name: str, partial: float) -> None:
    task = MAKE[name](n_train=4, n_held_out=1, partial=partial)
    example = task.examples("train")[0]
    texts = {**HOSTILE, "right, then more": example.answer + " 9" * (MB // 2), "right, then NUL": example.answer + "\0"}
    texts["right, far behind spaces more"] = example.answer + " " * MB + "9"
    for kind, text in texts.items():
        started = process_time()
        with nothing_runs():
            score = task.check(example, text)
        assert process_time() - started < 0.5, kind
        assert not score.correct, kind
        assert 0.0 <= score.reward < 1.0 or (name, partial) == ("countdown", 1.0), kind
        assert 0 < len(score.explanation) < 500, kind
        score.explanation.encode("utf-8")


@given(completion=st.text(st.sampled_from("0123456789+-*/() =.,\n") | st.characters(), max_size=40))
@settings(max_examples=5 * EXAMPLES, deadline=None, derandomize=True)
def test_any_text_is_marked(completion: str) -> None:
    score = COUNTDOWN["all"].check(Example("2 , 3 : 6 =", " 2 * 3", " 2 * 3"), completion)
    assert score.correct is (completion.strip() in {"2 * 3", "3 * 2"}) or "(" in completion
    assert score.correct is (score.explanation == "")


def test_shaped_rewards_can_be_hacked_where_said() -> None:
    """`partial` pays countdown for any use of the numbers: half the reward without reaching anything."""
    task = Countdown(CountdownConfig(n_train=200, n_held_out=1, partial=0.5))
    hacked = [
        task.check(e, " " + " + ".join(n.strip() for n in e.prompt.partition(":")[0].split(","))).reward
        for e in task.examples("train")
    ]
    assert min(hacked) == 0.5
    assert sum(reward == 0.5 for reward in hacked) > 100


def test_a_side_without_problems_is_refused() -> None:
    with pytest.raises(ValueError, match=r"task: has no held_out problem at this difficulty: .*; make it harder"):
        complete({"train": [Example("a", "b", "b")], "held_out": []})
