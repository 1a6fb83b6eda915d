"""The learning rate against its closed form, and torch's own schedules."""

from __future__ import annotations

import math

import pytest
import torch

from gpt_scratch.schedule import learning_rate

SETTINGS = {"steps": 110, "lr": 0.5, "min_lr_ratio": 0.2, "warmup_steps": 10}


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("cosine", 0, 0.05),
        ("cosine", 9, 0.5),
        ("cosine", 10, 0.5),
        ("cosine", 35, 0.1 + 0.4 * (1 + math.sqrt(0.5)) / 2),
        ("cosine", 60, 0.3),
        ("cosine", 110, 0.1),
        ("cosine", 111, 0.1),
        ("linear", 9, 0.5),
        ("linear", 60, 0.3),
        ("linear", 85, 0.2),
        ("linear", 110, 0.1),
        ("linear", 500, 0.1),
        ("constant", 4, 0.25),
        ("constant", 10, 0.5),
        ("constant", 500, 0.5),
    ],
)
def test_closed_form(schedule: str, step: int, expected: float) -> None:
    assert learning_rate(step, schedule=schedule, **SETTINGS) == pytest.approx(expected, rel=1e-12)


def test_cosine_equals_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.1)
    for step in range(10, 111):
        assert learning_rate(step, **SETTINGS) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_no_warm_up_starts_at_the_top_and_rates_never_rise_afterwards() -> None:
    rates = [learning_rate(step, steps=50, lr=1.0, min_lr_ratio=0.0, warmup_steps=0) for step in range(60)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[50:] == [0.0] * 10
