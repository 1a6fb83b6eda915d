"""The tasks beyond sort, add and reverse: right answers by other means, equal problems on one side."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import product
from math import sqrt
from typing import Any

import pytest
from drawn_tasks import DIAL, EXAMPLES, MAKE, VARIANTS, every_task, every_variant
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.tasks import AddConfig
from align_scratch.tasks.addition import Add, without_carry
from align_scratch.tasks.problems import ProblemTask

SPLITS = ("train", "held_out")


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
