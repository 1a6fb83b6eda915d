"""PPO's token terms: where they are flat, where not, and on which side of each boundary."""

from __future__ import annotations

import math

import pytest
import torch

from align_scratch.ppo_losses import policy_clipped, policy_terms, value_terms


def slope(ratio: float, advantage: float, dual: float | None = None) -> tuple[float, float]:
    """Loss and d loss / d ratio with clip .2."""
    log_ratio = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    loss = policy_terms(log_ratio, torch.tensor([[advantage]], dtype=torch.float64), 0.2, dual)
    loss.sum().backward()
    assert log_ratio.grad is not None
    return loss.item(), log_ratio.grad.item() / ratio


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.0),
        (1.3, 2.0, -2.4, 0.0),  # above, and better than before: no more of it
        (0.7, 2.0, -1.4, -2.0),  # below, and worse: the clip does not hold it there
        (1.3, -2.0, 2.6, 2.0),
        (0.7, -2.0, 1.6, 0.0),
        (0.9, -2.0, 1.8, 2.0),
    ],
)
def test_the_clip_bites_on_one_side(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    got, slopes = slope(ratio, advantage)
    assert got == pytest.approx(loss)
    assert slopes == pytest.approx(gradient)
    below, above = policy_clipped(torch.tensor([[math.log(ratio)]]), torch.tensor([[advantage]]), 0.2)
    assert bool(below | above) == (gradient == 0)


def test_dual_clip_bounds_the_loss_of_a_far_ratio() -> None:
    assert slope(10.0, -2.0) == pytest.approx((20.0, 2.0))
    assert slope(10.0, -2.0, 3.0) == pytest.approx((6.0, 0.0))
    assert slope(2.9, -2.0, 3.0) == pytest.approx((5.8, 2.0))
    assert slope(10.0, 2.0, 3.0) == slope(10.0, 2.0)


def value_slope(value: float, old: float, target: float, clip: float | None) -> tuple[float, float, bool]:
    v = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
    loss, held = value_terms(v, torch.tensor([[old]]).double(), torch.tensor([[target]]).double(), clip)
    loss.sum().backward()
    assert v.grad is not None
    return loss.item(), v.grad.item(), bool(held)


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient", "held"),
    [
        # from V_old = 1 with clip .5: values move freely in .5 .. 1.5
        (1.4, 3.0, 1.28, -1.6, False),
        (1.5, 3.0, 1.125, -1.5, False),  # the boundary itself: both branches agree
        (1.6, 3.0, 1.125, 0.0, True),  # towards the target and beyond the range: no more of it
        (0.4, 3.0, 3.38, -2.6, False),  # away from the target: always pulled back
        (0.6, -1.0, 1.28, 1.6, False),
        (0.4, -1.0, 1.125, 0.0, True),
        (1.6, 1.52, 0.0032, 0.08, False),  # beyond the target: the plain branch is the larger
    ],
)
def test_value_clip_branches(value: float, target: float, loss: float, gradient: float, held: bool) -> None:
    got = value_slope(value, 1.0, target, 0.5)
    assert got[:2] == pytest.approx((loss, gradient))
    assert got[2] == held


def test_no_value_clip() -> None:
    assert value_slope(9.0, 1.0, 3.0, None) == pytest.approx((18.0, 6.0, False))


def test_no_advantage_no_gradient_however_far() -> None:
    log_ratio = torch.tensor([[200.0, 0.0]], requires_grad=True)
    policy_terms(log_ratio, torch.zeros(1, 2), 0.2).sum().backward()
    assert log_ratio.grad is not None
    assert log_ratio.grad.tolist() == [[0, 0]]


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="advantages"):
        policy_terms(torch.zeros(2, 3), torch.zeros(2), 0.2)
    with pytest.raises(ValueError, match="advantages"):
        policy_terms(torch.zeros(2, 3), torch.zeros(2, 1), 0.2)
    with pytest.raises(ValueError, match="must be"):
        policy_terms(torch.zeros(3), torch.zeros(3), 0.2)
    with pytest.raises(ValueError, match="returns"):
        value_terms(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3), 0.2)
