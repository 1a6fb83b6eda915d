"""The three first tasks by their names, with what is asked of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from align_scratch.config.tasks import AddConfig, ReverseConfig, SortConfig
from align_scratch.tasks.addition import Add
from align_scratch.tasks.problems import ProblemTask
from align_scratch.tasks.reversal import Reverse
from align_scratch.tasks.sorting import Sort

SPLITS = ("train", "held_out")


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
