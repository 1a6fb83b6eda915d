"""Advantages of groups: by hand, against the statistics module, exactly zero where rewards are equal."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from closed_forms import close
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.advantages import EPS, group_advantages, zero_variance

pytestmark = pytest.mark.usefixtures("double")

NAN = math.nan


def test_advantages_by_hand_with_bessels_correction() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    std = [0.5, math.sqrt(5 / 3)]  # of 1,0,0,0: sqrt((9 + 1 + 1 + 1) / 16 / 3); with ddof=0 it were 0.433
    assert std == [pytest.approx(statistics.stdev(row)) for row in rewards.tolist()]
    wanted = [
        [0.75 / (std[0] + 1e-4), *[-0.25 / (std[0] + 1e-4)] * 3],
        [x / (std[1] + 1e-4) for x in (-1.5, -0.5, 0.5, 1.5)],
    ]
    assert EPS == 1e-4
    close(group_advantages(rewards), torch.tensor(wanted))
    close(group_advantages(rewards, scale="group"), torch.tensor(wanted))


def test_the_other_scales_by_hand() -> None:
    rewards = torch.tensor([[1.0, 0.0], [5.0, 2.0], [3.0, 3.0]])
    centred = torch.tensor([[0.5, -0.5], [1.5, -1.5], [0.0, 0.0]])
    close(group_advantages(rewards, scale="none"), centred)
    everything = statistics.stdev([1.0, 0.0, 5.0, 2.0, 3.0, 3.0])
    close(group_advantages(rewards, scale="batch"), centred / (everything + 1e-4))


@given(seed=st.integers(0, 999), p=st.integers(1, 5), g=st.integers(2, 9), share=st.floats(0, 0.9))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_advantages_equal_those_of_the_statistics_module_with_holes(seed: int, p: int, g: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 3, (p, g), generator=generator).double()
    rewards[torch.rand(p, g, generator=generator) < share] = NAN
    every = [r for r in rewards.flatten().tolist() if r == r]
    for scale in ("group", "batch", "none"):
        got = group_advantages(rewards, scale=scale)
        for row, advantages in zip(rewards.tolist(), got.tolist(), strict=True):
            known = [r for r in row if r == r]
            for r, advantage in zip(row, advantages, strict=True):
                if r != r or len(set(known)) < 2:
                    assert advantage == 0.0
                    continue
                std = {"group": statistics.stdev(known), "batch": statistics.stdev(every), "none": 1 - 1e-4}[scale]
                assert advantage == pytest.approx((r - statistics.fmean(known)) / (std + 1e-4), abs=1e-12)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reward", [0.1, 0.3, 0.7, 1 / 3, 1e6 + 0.3, -0.7])
def test_equal_rewards_give_exactly_zero(reward: float, dtype: torch.dtype, scale: str) -> None:
    """In fp32 the standard deviation of eight rewards of 0.3 is not 0, and dividing by it would make noise a signal."""
    rewards = torch.full((3, 8), reward, dtype=dtype)
    rewards[2, :4] += 1  # a group with spread, so that the batch has a standard deviation
    advantages = group_advantages(rewards, scale=scale)
    assert advantages[:2].eq(0).all()
    assert advantages[2].ne(0).all()
    assert zero_variance(rewards).tolist() == [True, True, False]
    assert group_advantages(rewards[:1], scale=scale).eq(0).all()


@pytest.mark.parametrize("reward", [0.3, 0.7, 1.0])
def test_a_batch_without_deviation_is_not_divided_by_it(reward: float) -> None:
    """A solved task would else have advantages of 1 / eps; against the batch's mean nothing is left, not even noise."""
    for dtype in (torch.float32, torch.float64):
        rewards = torch.full((64, 8), reward, dtype=dtype)
        assert group_advantages(rewards, baseline="batch", scale="batch").eq(0).all()
        assert group_advantages(rewards, baseline="batch", scale="none").eq(0).all()
        assert torch.equal(group_advantages(rewards, baseline="none", scale="batch"), rewards)


def test_equal_rewards_would_otherwise_not_give_zero() -> None:
    """The trap is real on this machine: otherwise the test above proved nothing."""
    rewards = torch.full((8,), 0.7, dtype=torch.float32)
    noise = [torch.full((g,), r, dtype=torch.float32) for g in range(3, 65) for r in (0.1, 0.3, 0.7)]
    assert any(float((r - r.mean()).abs().max()) > 0 for r in [rewards, *noise])


def test_zero_variance_by_hand() -> None:
    rewards = torch.tensor([[1, 1, 1], [1, NAN, 1], [NAN, NAN, NAN], [1, NAN, NAN], [1, 1, 0], [0, NAN, 1], [0, 0, 0]])
    assert zero_variance(rewards.double()).tolist() == [True, True, True, True, False, False, True]
    assert zero_variance(torch.tensor([[1.0, 1.0 + 2**-52]])).tolist() == [False]


def test_a_reward_that_is_missing_changes_nothing_for_the_others() -> None:
    whole = group_advantages(torch.tensor([[1.0, 0.0, 3.0]]))
    holed = group_advantages(torch.tensor([[1.0, NAN, 0.0, 3.0, NAN]]))
    close(holed[0, [0, 2, 3]], whole[0])
    assert holed[0, [1, 4]].tolist() == [0.0, 0.0]
    assert not group_advantages(torch.full((2, 3), NAN), scale="batch").any()


def test_groups_are_rows_and_rows_alone() -> None:
    rewards = torch.rand(5, 8, generator=torch.Generator().manual_seed(1))
    together = group_advantages(rewards)
    close(together, torch.cat([group_advantages(row[None]) for row in rewards]))
    order = torch.randperm(5, generator=torch.Generator().manual_seed(2))
    close(group_advantages(rewards[order]), together[order])
    close(group_advantages(rewards[:, [3, 1, 0, 2, 7, 6, 5, 4]]), together[:, [3, 1, 0, 2, 7, 6, 5, 4]])
    close(together.sum(1), torch.zeros(5))


def test_advantages_refuse_what_has_no_groups() -> None:
    for shape in ((8,), (2, 4, 1), ()):
        with pytest.raises(ValueError, match=r"^rewards: got shape"):
            group_advantages(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"^scale: got 'std'"):
        group_advantages(torch.zeros(1, 2), scale="std")
