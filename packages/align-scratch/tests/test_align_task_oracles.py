"""Tasks: right answers by other means, a split that leaks nothing, marks that no text can talk its way to."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise, permutations
from math import prod, sqrt
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.tasks import AddConfig, CorpusConfig, ReverseConfig, SortConfig
from align_scratch.errors import DataError
from align_scratch.tasks.addition import Add
from align_scratch.tasks.corpus import Corpus, cut
from align_scratch.tasks.problems import Example, ProblemTask, hash_unit
from align_scratch.tasks.reversal import Reverse
from align_scratch.tasks.sorting import Sort

SPLITS = ("train", "held_out")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def sort_of(difficulty: int, **options: Any) -> Sort:
    return Sort(SortConfig(length=difficulty, **options))


def add_of(difficulty: int, **options: Any) -> Add:
    return Add(AddConfig(digits=difficulty, **options))


def reverse_of(difficulty: int, **options: Any) -> Reverse:
    return Reverse(ReverseConfig(length=difficulty, **options))


Make = Callable[..., ProblemTask]
TASKS: dict[str, tuple[Make, int, int]] = {
    "sort": (sort_of, 2, 64),
    "add": (add_of, 1, 32),
    "reverse": (reverse_of, 2, 64),
}
SPACE = {
    "sort": lambda length: 10**length,
    "add": lambda digits: 10 ** (2 * digits),
    "reverse": lambda length: 26**length,
}
every_task = pytest.mark.parametrize("name", list(TASKS))


@st.composite
def tasks(draw: st.DrawFn) -> tuple[str, int, ProblemTask, dict[str, Any]]:
    name = draw(st.sampled_from(list(TASKS)))
    make, low, high = TASKS[name]
    difficulty = draw(st.integers(low, low + 4) | st.integers(low, high))
    options: dict[str, Any] = {
        "n_train": draw(st.integers(1, 120)),
        "n_held_out": draw(st.integers(1, 40)),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "partial": draw(st.sampled_from((0.0, 0.25, 1.0))),
    }
    if name == "sort":
        options["order"] = draw(st.sampled_from(("ascending", "descending")))
        options["mixed"] = draw(st.sampled_from((0.0, 0.6, 1.0)))
    return name, difficulty, make(difficulty, **options), {"difficulty": difficulty, **options}


def right_answer(name: str, prompt: str, order: str) -> str:
    """Without looking at the package: what a person would write."""
    items = prompt.removesuffix(" =").split(" ")
    if name == "sort":
        numbers = sorted(int(item) for item in items)
        items = [str(number) for number in (numbers[::-1] if order == "descending" else numbers)]
    elif name == "add":
        plus = items.index("+")
        left, right = items[:plus], items[plus + 1 :]
        items = list(str(int("".join(left)) + int("".join(right))))
    else:
        items = [items[-1 - i] for i in range(len(items))]
    return "".join(" " + item for item in items)


# --- problems ------------------------------------------------------------------------------------------------------


@given(drawn=tasks())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_answers_are_right_by_another_way(drawn: tuple[str, int, ProblemTask, dict[str, Any]]) -> None:
    name, difficulty, task, options = drawn
    order = options.get("order", "")
    other = {"descending": "ascending", "ascending": "descending"}.get(order, "")
    for split in SPLITS:
        for example in task.examples(split):
            right = right_answer(name, example.prompt, order)
            assert example.answer == right
            wrong_order = right_answer(name, example.prompt, other)
            shown = {0.0: {right}, 0.6: {right, wrong_order}, 1.0: {wrong_order}}[options.get("mixed", 0.0)]
            assert example.demonstration in shown
            assert re.fullmatch(r"( [0-9a-z])+", example.answer)
            items = example.prompt.removesuffix(" =").split(" ")
            if name == "add":
                numbers = example.prompt.removesuffix(" =").replace(" ", "").split("+")
                assert len(numbers) == 2
                assert all(number == str(int(number)) and len(number) <= difficulty for number in numbers)
            else:
                assert len(items) == difficulty
                assert all(re.fullmatch("[0-9]" if name == "sort" else "[a-z]", item) for item in items)


@given(drawn=tasks())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_splits_share_no_prompt_and_no_text(drawn: tuple[str, int, ProblemTask, dict[str, Any]]) -> None:
    name, difficulty, task, options = drawn
    prompts = {split: [example.prompt for example in task.examples(split)] for split in SPLITS}
    for split in SPLITS:
        assert len(set(prompts[split])) == len(prompts[split]) >= 1
        assert 1 <= len(prompts[split]) <= options["n_" + split]
        if SPACE[name](difficulty) >= 10_000:
            assert len(prompts[split]) == options["n_" + split]
        assert list(task.texts(split)) == [e.prompt + e.demonstration for e in task.examples(split)]
        assert task.examples(split) is task.examples(split)
    assert not set(prompts["train"]) & set(prompts["held_out"])
    assert not set(task.texts("train")) & set(task.texts("held_out"))


@every_task
def test_no_other_size_or_seed_or_option_trains_on_a_held_out_prompt(name: str) -> None:
    """A model trained under one configuration may be evaluated under any other."""
    make, low, _ = TASKS[name]
    train: set[str] = set()
    held_out: set[str] = set()
    for difficulty in (low, low + 1, low + 2):
        for seed in (0, 1, 2**40):
            for n_train, n_held_out in ((400, 50), (50, 400)):
                task = make(difficulty, seed=seed, n_train=n_train, n_held_out=n_held_out)
                train |= {example.prompt for example in task.examples("train")}
                held_out |= {example.prompt for example in task.examples("held_out")}
    assert len(train) > 1000
    assert len(held_out) > 300
    assert not train & held_out


@every_task
def test_the_smallest_space_is_used_up_and_no_more(name: str) -> None:
    """As documented: fewer examples where there are no more problems; here every problem exactly once."""
    make, low, _ = TASKS[name]
    task = make(low, n_train=10**6, n_held_out=10**6)
    prompts = [example.prompt for split in SPLITS for example in task.examples(split)]
    assert len(prompts) == len(set(prompts)) == SPACE[name](low)
    share = len(task.examples("held_out")) / len(prompts)
    assert abs(share - 1 / 8) < 4 * sqrt(1 / 8 * 7 / 8 / len(prompts))


@every_task
def test_problems_are_drawn_evenly_whatever_fits(name: str) -> None:
    """Half of a small space, by either way of drawing: every item appears about as often as any other."""
    make, low, _ = TASKS[name]
    task = make(low + 1, n_train=SPACE[name](low + 1) // 2, n_held_out=1)
    firsts = Counter(example.prompt[0] for example in task.examples("train"))
    if name == "add":
        del firsts["0"]  # numbers have no leading zeros, so it starts only 0 itself
    n, kinds = sum(firsts.values()), len(firsts)
    chi2 = sum((count - n / kinds) ** 2 / (n / kinds) for count in firsts.values())
    assert chi2 < kinds - 1 + 4 * sqrt(2 * (kinds - 1))


@given(drawn=tasks())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_the_same_configuration_gives_the_same_problems(drawn: tuple[str, int, ProblemTask, dict[str, Any]]) -> None:
    name, _, task, options = drawn
    again = TASKS[name][0](**options)
    assert {s: list(task.examples(s)) for s in SPLITS} == {s: list(again.examples(s)) for s in SPLITS}


@every_task
def test_the_seed_decides(name: str) -> None:
    make, low, _ = TASKS[name]
    tasks = [make(low + 4, seed=seed, n_train=50, n_held_out=20) for seed in (0, 1)]
    for split in SPLITS:
        first, second = ({example.prompt for example in task.examples(split)} for task in tasks)
        assert len(first & second) < 10


def test_nothing_depends_on_the_hash_seed_or_the_process() -> None:
    program = """
from hashlib import sha256
from align_scratch.tasks.addition import Add
from align_scratch.config.tasks import AddConfig, CorpusConfig, ReverseConfig, SortConfig
from align_scratch.tasks.corpus import Corpus
from align_scratch.tasks.reversal import Reverse
from align_scratch.tasks.sorting import Sort
for task in (Sort(SortConfig(n_train=300, n_held_out=50)), Sort(SortConfig(length=2)), Add(AddConfig(n_train=300)),
             Reverse(ReverseConfig(n_train=300, seed=7)), Corpus(CorpusConfig())):
    for split in ("train", "held_out"):
        told = repr(list(task.examples(split) if hasattr(task, "examples") else task.texts(split)))
        print(sha256(told.encode()).hexdigest())
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
    assert len(set(told[0].split())) == 10


@pytest.mark.parametrize("split", ["test", "", "TRAIN"])
def test_an_unknown_split_is_refused(split: str) -> None:
    for task in (sort_of(3, n_train=5, n_held_out=2), Corpus(CorpusConfig())):
        with pytest.raises(ValueError, match="split: got"):
            list(task.texts(split))
    with pytest.raises(ValueError, match="split: got"):
        sort_of(3, n_train=5, n_held_out=2).examples(split)


@every_task
def test_the_difficulty_dial_goes_from_end_to_end_and_no_further(name: str) -> None:
    make, low, high = TASKS[name]
    dial = "digits" if name == "add" else "length"
    for difficulty in (low, high):
        task = make(difficulty, n_train=4, n_held_out=4)
        for split in SPLITS:
            example = task.examples(split)[0]
            assert task.check(example, example.answer).correct
    for beyond in (low - 1, high + 1, 0, -3):
        with pytest.raises(ValueError, match=f"^{dial}: got {beyond}, must be between {low} and {high}"):
            make(beyond)
    lengths = [len(make(d, n_train=50, n_held_out=1).examples("train")[0].prompt) for d in (low, low + 3, high)]
    assert lengths == sorted(set(lengths))


@pytest.mark.parametrize(
    ("name", "value", "task"),
    [
        ("mixed", -0.1, sort_of),
        ("mixed", 1.1, sort_of),
        ("mixed", float("nan"), sort_of),
        ("partial", float("nan"), add_of),
        ("partial", 2, reverse_of),
        ("n_train", 0, sort_of),
        ("n_held_out", 0, add_of),
        ("n_held_out", -1, reverse_of),
        ("order", "random", sort_of),
    ],
)
def test_options_out_of_range_are_named(name: str, value: Any, task: Make) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got {re.escape(repr(value))}, must be .+: .+"):
        task(3, **{name: value})


# --- mixed demonstrations ------------------------------------------------------------------------------------------


def shown_in_the_other_order(examples: Sequence[Example]) -> list[tuple[list[int], bool]]:
    """Digits and whether the demonstration is in the order that is not wanted; without those where both are equal."""
    digits = [([int(digit) for digit in e.prompt.removesuffix(" =").split()], e) for e in examples]
    return [(d, e.demonstration != e.answer) for d, e in digits if sorted(d) != sorted(d, reverse=True)]


def is_share(hits: int, n: int, share: float, sigmas: float = 4) -> bool:
    return abs(hits / n - share) <= sigmas * sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("mixed", [0.0, 0.1, 0.4, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_the_share_of_the_other_order_is_the_option(mixed: float, order: str) -> None:
    task = sort_of(8, mixed=mixed, order=order, n_train=4000, n_held_out=1000)
    for split in SPLITS:
        told = [other for _, other in shown_in_the_other_order(task.examples(split))]
        assert is_share(sum(told), len(told), mixed)
    assert sum(other for _, other in shown_in_the_other_order(task.examples("train"))) > 0 or mixed == 0


def test_the_order_shown_is_the_same_whatever_else_is_drawn_and_another_for_another_seed() -> None:
    few, many, other_seed = (
        {
            e.prompt: e.demonstration
            for split in SPLITS
            for e in sort_of(3, seed=s, n_train=n, n_held_out=n).examples(split)
        }
        for n, s in ((100, 5), (1000, 5), (1000, 6))
    )
    assert set(few) <= set(many)
    assert all(many[prompt] == demonstration for prompt, demonstration in few.items())
    same = [many[p] == other_seed[p] for p in many if p in other_seed and len(set(p)) > 3]
    assert is_share(sum(same), len(same), 0.6**2 + 0.4**2)


FEATURES: dict[str, Callable[[list[int]], int]] = {
    "first": lambda d: d[0],
    "last": lambda d: d[-1],
    "middle": lambda d: d[4],
    "largest": max,
    "smallest": min,
    "sum": lambda d: sum(d) // 6,
    "parity": lambda d: sum(d) % 2,
    "different digits": lambda d: len(set(d)),
    "rises": lambda d: sum(a < b for a, b in pairwise(d)),
    "inversions": lambda d: sum(a > b for i, a in enumerate(d) for b in d[i + 1 :]) // 4,
    "first below last": lambda d: d[0] < d[-1],
    "has a 7": lambda d: 7 in d,
    "place of the largest": lambda d: d.index(max(d)),
    "remainder": lambda d: int("".join(map(str, d))) % 11,
    "product": lambda d: prod(d) % 7,
    "leading pair": lambda d: 10 * d[0] + d[1],
}


def test_nothing_in_the_prompt_tells_the_order() -> None:
    """Each feature's values against the share: a chi-square within 4 of its own standard deviations."""
    told = shown_in_the_other_order(sort_of(8).examples("train"))
    assert len(told) == 16384
    for name, feature in FEATURES.items():
        groups: dict[int, list[bool]] = defaultdict(list)
        for digits, other in told:
            groups[feature(digits)].append(other)
        large = [group for group in groups.values() if len(group) >= 50]
        assert len(large) >= 2, name
        chi2 = sum((sum(g) - 0.6 * len(g)) ** 2 / (0.6 * 0.4 * len(g)) for g in large)
        assert chi2 < len(large) + 4 * sqrt(2 * len(large)), name


def test_no_line_through_the_digits_tells_the_order() -> None:
    """Least squares on every digit at every place, judged on unseen problems: no better than a constant."""
    told = shown_in_the_other_order(sort_of(8).examples("train"))
    digits = torch.tensor([d for d, _ in told])  # (N, 8)
    x = torch.nn.functional.one_hot(digits, 10).flatten(1).double()  # (N, 80)
    y = torch.tensor([other for _, other in told]).double()  # (N,)
    half = len(y) // 2
    line = torch.linalg.lstsq(x[:half], y[:half, None], driver="gelsd").solution[:, 0]
    hits = int((((x[half:] @ line) > 0.5) == y[half:].bool()).sum())
    n = len(y) - half
    assert hits / n < 0.6 + 4 * sqrt(0.6 * 0.4 / n)


def test_the_lesson_says_what_the_demonstrations_are() -> None:
    assert "60% of the demonstrations sort ascending" in sort_of(8, n_train=1, n_held_out=1).lesson
    assert "25% of the demonstrations sort descending" in sort_of(8, n_train=1, mixed=0.25, order="ascending").lesson
    assert "already sorts descending" in sort_of(8, n_train=1, mixed=0.0).lesson


# --- marks ---------------------------------------------------------------------------------------------------------


def first_wrong(answer: str, completion: str) -> int | None:
    """By hand: the first item, counted from 1, that is not as in the answer."""
    want, got = answer.split(), completion.split()
    for i in range(max(len(want), len(got))):
        if want[i : i + 1] != got[i : i + 1]:
            return i + 1
    return None


@given(drawn=tasks(), around=st.text(" \t\n\r", max_size=4), before=st.text(" \t\n\r", max_size=4))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_own_answers_are_accepted_with_white_space_around_them(
    drawn: tuple[str, int, ProblemTask, dict[str, Any]], around: str, before: str
) -> None:
    _, _, task, _ = drawn
    for split in SPLITS:
        for example in task.examples(split)[:10]:
            for completion in (example.answer, before + example.answer.strip() + around):
                score = task.check(example, completion)
                assert (score.correct, score.reward, score.explanation) == (True, 1.0, "")
                assert score.parts == {"exact": 1.0, "positions": 1.0}


@every_task
@pytest.mark.parametrize("partial", [0.0, 0.5, 1.0])
def test_every_corruption_of_one_character_is_refused_and_its_place_named(name: str, partial: float) -> None:
    make, low, _ = TASKS[name]
    task = make(low + 1, n_train=8, n_held_out=1, partial=partial)
    alphabet = "0123456789abz +=-.\t\n\0\u0663\u00b2\u200b\ud800\U0001d7d9"
    tried = 0
    for example in task.examples("train"):
        answer = example.answer
        spoilt = {answer[:i] + answer[i + 1 :] for i in range(len(answer))}
        spoilt |= {answer[:i] + c + answer[i + 1 :] for i in range(len(answer)) for c in alphabet}
        spoilt |= {answer[:i] + c + answer[i:] for i in range(len(answer) + 1) for c in alphabet}
        for completion in (text for text in spoilt if text.strip() != answer.strip()):
            tried += 1
            score = task.check(example, completion)
            assert not score.correct
            assert 0.0 <= score.reward < 1.0
            assert score.parts["exact"] == 0.0
            place = first_wrong(answer, completion)
            if place is None:
                assert score.explanation == "the items are right, but not separated or ended as in the answer"
            else:
                assert score.explanation.startswith(f"position {place}: ")
    assert tried > 1000


@pytest.mark.parametrize(
    ("completion", "positions", "explanation"),
    [
        (" 3 1 2", 1 / 3, "position 2: got '1', expected '2'"),
        (" 3 2", 2 / 3, "position 3: nothing there, expected '1'"),
        (" 3 2 1 1", 3 / 4, "position 4: got '1', expected the end"),
        (" 321", 0.0, "position 1: got '321', expected '3'"),
        ("", 0.0, "position 1: nothing there, expected '3'"),
        (" 1 2 3", 1 / 3, "position 1: got '1', expected '3'"),
        (" 3  2 1", 0.0, "the items are right, but not separated or ended as in the answer"),
        (" 3 2 " + "1" * 50, 2 / 3, f"position 3: got '{'1' * 40}'..., expected '1'"),
    ],
)
@pytest.mark.parametrize("partial", [0.0, 0.5, 1.0])
def test_partial_marks_by_hand(completion: str, positions: float, explanation: str, partial: float) -> None:
    score = sort_of(3, partial=partial, n_train=1).check(Example(" 1 3 2 =", " 3 2 1", " 1 2 3"), completion)
    assert score.parts == {"exact": 0.0, "positions": pytest.approx(positions)}
    assert score.reward == pytest.approx(partial * positions)
    assert (score.correct, score.explanation) == (False, explanation)


def test_the_demonstrated_other_order_earns_nothing() -> None:
    task = sort_of(8, n_train=500)
    seen = [task.check(e, e.demonstration) for e in task.examples("train") if e.demonstration != e.answer]
    assert len(seen) > 200
    assert {(score.correct, score.reward) for score in seen} == {(False, 0.0)}


def test_of_all_arrangements_exactly_one_is_right() -> None:
    task = sort_of(4, n_train=1, partial=1.0)
    example = Example("3 1 4 2 =", " 4 3 2 1", " 1 2 3 4")
    marks = {items: task.check(example, " " + " ".join(items)) for items in permutations("1234")}
    assert [items for items, score in marks.items() if score.correct] == [tuple("4321")]
    assert max(score.reward for items, score in marks.items() if items != tuple("4321")) == 0.5


MB = 2**20


def hostile(answer: str) -> dict[str, str]:
    return {
        "one long item": "9" * MB,
        "many items": "9 " * (MB // 2),
        "many right items": answer * (MB // len(answer)),
        "right, then far behind it more": answer + " " * MB + "x",
        "right, then a megabyte": answer + " x" * (MB // 2),
        "white space alone": " \t\n\r\x0b\x0c" * (MB // 6),
        "every kind of space": "\u2003\u3000\x85\xa0" * (MB // 4),
        "NUL": answer + "\0",
        "NULs": "\0" * MB,
        "NUL between": answer.replace(" ", "\0"),
        "lone surrogate": answer + "\ud800",
        "lone surrogates": "\udfff" * MB,
        "brackets": "(" * MB,
        "power tower": "9**9**9**9",
        "code": "__import__('os').system('exit')",
        "format": "{0.__class__}%s%n" + "{" * MB,
        "combining": answer + "\u0301" * MB,
        "invisible": "\u200b" + answer,
        "right to left": "\u202e" + answer,
        "infinity": "inf nan -0 1e999",
    }


SCRIPTS = {
    "arabic-indic": 0x660,
    "devanagari": 0x966,
    "fullwidth": 0xFF10,
    "mathematical bold": 0x1D7CE,
    "bengali": 0x9E6,
    "extended arabic-indic": 0x6F0,
}


@every_task
@pytest.mark.parametrize("partial", [0.0, 1.0])
def test_hostile_text_is_marked_wrong_at_once_and_none_of_it_runs(
    name: str, partial: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, low, _ = TASKS[name]
    task = make(low + 2, n_train=1, n_held_out=1, partial=partial)
    example = task.examples("train")[0]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("text was executed")

    texts = hostile(example.answer)
    for script, zero in SCRIPTS.items():
        texts[script] = "".join(
            chr(zero + int(c)) if c.isdigit() else chr(0xFEE0 + ord(c)) if c != " " else c for c in example.answer
        )
    scores = {}
    with monkeypatch.context() as patch:
        for holder, attributes in ((builtins, ("eval", "exec", "compile")), (os, ("system", "popen"))):
            for attribute in attributes:
                patch.setattr(holder, attribute, never)
        patch.setattr(subprocess, "Popen", never)
        for kind, text in texts.items():
            started = process_time()
            scores[kind] = task.check(example, text)
            assert process_time() - started < 0.5, kind
    for kind, score in scores.items():
        assert not score.correct, kind
        assert 0.0 <= score.reward < 1.0, kind
        assert 0 < len(score.explanation) < 500, kind
        score.explanation.encode("utf-8")  # a log file can hold it


def test_marking_takes_time_linear_in_the_length() -> None:
    """Eight times the text takes about eight times as long, not 64 times."""
    task, example = sort_of(4, n_train=1), Example("3 1 4 2 =", " 4 3 2 1", " 4 3 2 1")

    def seconds(n: int) -> float:
        best = float("inf")
        for _ in range(3):
            started = process_time()
            for text in ("9 " * n, " " * n + "x", "4 3 2 1 " * (n // 8), "\ud800" * n):
                task.check(example, text)
            best = min(best, process_time() - started)
        return best

    assert seconds(2**22) < 24 * max(seconds(2**19), 1e-4)


@given(completion=st.text(st.characters() | st.sampled_from("4321 \n"), max_size=30), partial=st.floats(0, 1))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_text_has_marks_that_add_up(completion: str, partial: float) -> None:
    score = sort_of(4, n_train=1, n_held_out=1, partial=partial).check(
        Example("3 1 4 2 =", " 4 3 2 1", " 4 3 2 1"), completion
    )
    assert score.correct == (completion.strip() == "4 3 2 1") == (score.explanation == "")
    assert score.reward == pytest.approx((1 - partial) * score.parts["exact"] + partial * score.parts["positions"])
    assert score.correct == (score.reward == 1.0)


def test_the_hash_is_even_and_every_key_gives_another() -> None:
    values = torch.tensor([[hash_unit(f"{i}", key) for key in ("a", "b")] for i in range(4000)])  # (4000, 2)
    assert values.min() >= 0
    assert values.max() < 1
    for column in values.T:
        counts = torch.histc(column, 10, 0, 1)
        assert float(((counts - 400) ** 2 / 400).sum()) < 9 + 4 * sqrt(18)
    assert abs(float(torch.corrcoef(values.T)[0, 1])) < 4 / sqrt(4000)


# --- corpus --------------------------------------------------------------------------------------------------------


def paragraphs(texts: Sequence[str]) -> set[str]:
    return {p.strip() for text in texts for p in re.split(r"\n\s*\n", text) if p.strip()}


def test_the_built_in_text_is_large_and_its_splits_share_nothing() -> None:
    task = Corpus(CorpusConfig())
    train, held_out = list(task.texts("train")), list(task.texts("held_out"))
    assert list(task.texts()) == train
    assert sum(len(text.encode()) for text in train) >= 300_000
    assert 0.03 < sum(map(len, held_out)) / sum(map(len, train + held_out)) < 0.07
    assert not set(train) & set(held_out)
    assert len(paragraphs(held_out)) > 20
    assert not paragraphs(train) & paragraphs(held_out)
    assert not {line for t in train for line in t.split("\n")} & {line for t in held_out for line in t.split("\n")} - {
        ""
    }
    everything = "".join(train + held_out)
    assert "\r" not in everything
    assert "\ufeff" not in everything
    assert "Gutenberg" not in everything
    assert "Alice" in everything
    assert "Paradise" in everything
    assert max(map(len, train + held_out)) <= 2000


@pytest.mark.parametrize(("held_out", "passage_chars"), [(0.0, 2000), (0.05, 300), (0.2, 5000), (0.5, 1000)])
def test_splits_of_any_share_are_disjoint_and_lose_nothing(held_out: float, passage_chars: int) -> None:
    task = Corpus(CorpusConfig(held_out=held_out, passage_chars=passage_chars))
    train, rest = list(task.texts("train")), list(task.texts("held_out"))
    assert train
    assert rest
    assert not set(train) & set(rest)
    assert max(map(len, train + rest)) <= passage_chars
    whole = Corpus(CorpusConfig())
    count = lambda task: Counter("".join("".join(task.texts(s)) for s in SPLITS).replace("\n", "").replace(" ", ""))  # noqa: E731
    repeated = count(whole) - count(task)
    assert sum(repeated.values()) <= 2000  # only passages held out twice, such as headings, may stand once


@given(
    text=st.lists(st.text("ab \n", max_size=30), max_size=8).map("\n\n".join),
    longest=st.integers(1, 40),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_cutting_loses_nothing_but_white_space_and_never_exceeds(text: str, longest: int) -> None:
    passages = list(cut(text, longest))
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert all(0 < len(p) <= longest and p.strip() for p in passages)
    at = 0
    for passage in passages:  # in the order of the text, and as they stand there
        at = text.index(passage, at) + len(passage)


def test_cuts_prefer_paragraphs_to_lines_to_words() -> None:
    assert list(cut("one two\n\nthree four", 12)) == ["one two", "three four"]
    assert list(cut("one two three", 9)) == ["one two", " three"]
    assert list(cut("one two\nthree\nfour", 14)) == ["one two\nthree", "four"]
    assert list(cut("abcdefghij", 4)) == ["abcd", "efgh", "ij"]


@given(text=st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "ee ff"]), min_size=4, max_size=40).map("\n\n".join))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_repeated_passages_stay_on_one_side(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(text, encoding="utf-8")
    config = CorpusConfig(path=str(path), passage_chars=4, held_out=0.3)
    if len(set(cut(text, max(1, min(4, len(text) // 10))))) < 2:
        with pytest.raises(DataError, match="too little text"):
            Corpus(config)
        return
    task = Corpus(config)
    train, held_out = list(task.texts("train")), list(task.texts("held_out"))
    assert train
    assert held_out
    assert not set(train) & set(held_out)
    assert len(held_out) == len(set(held_out))


def refusal(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        Corpus(CorpusConfig(path=str(path)))
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, ValueError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), "FILE")


def test_a_missing_file_a_directory_and_an_unreadable_one(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.txt") == "FILE: cannot be read: No such file or directory"
    assert refusal(tmp_path) == "FILE: is a directory, not a text file"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert refusal(loop).startswith("FILE: cannot be read: ")


def test_an_empty_path_is_not_the_built_in_text() -> None:
    with pytest.raises(DataError, match="directory"):
        Corpus(CorpusConfig(path=""))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "FILE: byte 0: the file is empty or holds white space only"),
        (b" \n\r\n\t", "FILE: byte 5: the file is empty or holds white space only"),
        (b"\xef\xbb\xbf", "FILE: byte 3: the file is empty or holds white space only"),
        (b"abc\0def", "FILE: byte 3: a NUL byte, so this is binary data; a UTF-8 text file is needed"),
        (
            "plain text".encode("utf-16-le"),
            "FILE: byte 1: a NUL byte, so this is binary data; a UTF-8 text file is needed",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0", "FILE: byte 8: a NUL byte, so this is binary data; a UTF-8 text file is needed"),
        ("na\u00efve".encode("latin-1"), "FILE: byte 2: 0xef is not UTF-8; convert the file to UTF-8"),
        (b"\xef\xbb\xbfab\xff", "FILE: byte 5: 0xff is not UTF-8; convert the file to UTF-8"),
        (b"ab\xe2\x82", "FILE: byte 2: 0xe2 is not UTF-8; convert the file to UTF-8"),
        (b"\xed\xa0\x80", "FILE: byte 0: 0xed is not UTF-8; convert the file to UTF-8"),
        (b"x", "FILE: byte 0: too little text to split into training and held-out parts"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_the_byte(raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    assert refusal(path) == message


@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
    bad=st.sampled_from(b"\xff\xfe\xc0\x80"),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_first_bad_byte_is_the_one_named(text: str, bad: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    raw = text.encode()
    path = tmp_path_factory.mktemp("bad") / "text.txt"
    path.write_bytes(raw + bytes([bad]) + b" and so on")
    assert refusal(path) == f"FILE: byte {len(raw)}: 0x{bad:02x} is not UTF-8; convert the file to UTF-8"


def test_line_ends_of_every_kind_and_a_byte_order_mark_make_no_difference(tmp_path: Path) -> None:
    text = "".join(f"Line {i} of the t\u00e9xt.\n{'' if i % 3 else chr(10)}" for i in range(60))
    told = []
    for end, mark in (("\n", b""), ("\r\n", b""), ("\r", b""), ("\r\n", b"\xef\xbb\xbf")):
        path = tmp_path / "text.txt"
        path.write_bytes(mark + text.replace("\n", end).encode())
        task = Corpus(CorpusConfig(path=str(path), passage_chars=100))
        told.append([list(task.texts(split)) for split in SPLITS])
        assert str(path) in task.lesson
    assert told[0] == told[1] == told[2] == told[3]
    assert all(told[0])
    assert "\u00e9" in told[0][0][0]
