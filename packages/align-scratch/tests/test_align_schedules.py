"""Learning rates, orders of batches and derived seeds."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.schedule import Shuffled, derived_seed, learning_rate

pytestmark = pytest.mark.usefixtures("double")


def test_the_learning_rate_by_hand() -> None:
    told = [learning_rate(s, steps=12, lr=1.0, warmup_steps=2, min_lr_ratio=0.1) for s in range(1, 13)]
    assert told == pytest.approx([0.5, 1.0, 0.91, 0.82, 0.73, 0.64, 0.55, 0.46, 0.37, 0.28, 0.19, 0.1])


@given(
    steps=st.integers(1, 60),
    warmup=st.integers(0, 80),
    ratio=st.floats(0, 1),
    lr=st.floats(1e-6, 1),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_learning_rate_rises_then_falls_between_its_ends(steps: int, warmup: int, ratio: float, lr: float) -> None:
    told = [learning_rate(s, steps=steps, lr=lr, warmup_steps=warmup, min_lr_ratio=ratio) for s in range(1, steps + 1)]
    tiny = 1e-12 * lr
    assert all(0 <= value <= lr + tiny for value in told)
    rising, falling = told[:warmup], told[max(warmup - 1, 0) :]
    assert rising == sorted(rising)
    assert all(a >= b - tiny for a, b in pairwise(falling))
    if 1 <= warmup <= steps:
        assert told[warmup - 1] == pytest.approx(lr)
    if warmup < steps:
        assert told[-1] == pytest.approx(lr * ratio, abs=tiny)
    else:
        assert told == pytest.approx([lr * s / warmup for s in range(1, steps + 1)])
    if warmup:
        assert told[0] == pytest.approx(lr / warmup)


def test_a_constant_learning_rate() -> None:
    assert {learning_rate(s, steps=9, lr=0.3, warmup_steps=0, min_lr_ratio=1.0) for s in range(1, 10)} == {0.3}


@given(n=st.integers(1, 30), size=st.integers(1, 50), seed=st.integers(0, 2**63))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_batches_are_epochs_on_end_each_with_every_row_once(n: int, size: int, seed: int) -> None:
    batches = Shuffled(n, size, seed)
    count = -(-3 * n // size)
    told = [batches[i] for i in range(count)]
    assert all(len(rows) == size for rows in told)
    flat = [row for rows in told for row in rows]
    for epoch in range(len(flat) // n):
        assert sorted(flat[epoch * n : (epoch + 1) * n]) == list(range(n))
    again = Shuffled(n, size, seed)
    assert [again[i] for i in reversed(range(count))] == told[::-1]  # whatever was asked for before


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    one, other = Shuffled(50, 50, 1), Shuffled(50, 50, 2)
    orders = [tuple(shuffled[epoch]) for shuffled in (one, other) for epoch in range(20)]
    assert len(set(orders)) == 40
    firsts = Counter(order[0] for order in (Shuffled(5, 5, seed)[0] for seed in range(1000)))
    assert sum((count - 200) ** 2 / 200 for count in firsts.values()) < 4 + 4 * math.sqrt(8)


def test_batches_leave_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    Shuffled(100, 7, 3)[40]
    assert torch.equal(torch.get_rng_state(), before)


def test_derived_seeds_fit_a_generator_and_never_meet() -> None:
    purposes = ("rollouts", "sft batches", "sft looks", "epoch 0", "epoch 1")
    seeds = [derived_seed(seed, purpose) for seed in range(-100, 400) for purpose in purposes]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(2**70, "x") != derived_seed(2**70 + 1, "x")
    torch.Generator().manual_seed(max(seeds))
    assert derived_seed(0, "rollouts") == derived_seed(0, "rollouts")
