"""Tasks: right answers by other means, a split that leaks nothing, demonstrations that give nothing away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod, sqrt
from typing import Any

import pytest
import torch
from first_tasks import SPLITS, TASKS, Make, add_of, every_task, reverse_of, sort_of, tasks
from hypothesis import given, settings

from align_scratch.config.tasks import CorpusConfig
from align_scratch.tasks.corpus import Corpus
from align_scratch.tasks.problems import Example, ProblemTask


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


SPACE = {
    "sort": lambda length: 10**length,
    "add": lambda digits: 10 ** (2 * digits),
    "reverse": lambda length: 26**length,
}


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


# --- problems --------------------------------------------------------------------------------------------------------


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


# --- mixed demonstrations --------------------------------------------------------------------------------------------


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
