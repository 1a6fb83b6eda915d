"""Advantages, token rewards, whitening and the adaptive weight, against definitions, limits and tables."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from align_scratch.gae import KLController, gae, token_rewards, valid, whiten
from align_scratch.losses import kl_penalty
from align_scratch.ppo_proofs import defined, proofs

EXAMPLES = settings(deadline=None, derandomize=True, max_examples=int(os.environ.get("SCRATCH_EXAMPLES", "60")))


def drawn(seed: int, n: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards and values (N, T) of ragged rows, with rubbish at padding, and lengths (N,)."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(n, width, generator=generator, dtype=torch.float64) for _ in range(2))
    return rewards, values, torch.randint(1, width + 1, (n,), generator=generator)


def test_what_a_user_can_have_verified() -> None:
    found = list(proofs())
    assert len(found) == 8
    assert [proof for proof in found if not proof.ok] == []


@EXAMPLES
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 5),
    width=st.integers(1, 9),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
)
def test_one_pass_equals_the_definition(seed: int, n: int, width: int, gamma: float, lam: float) -> None:
    rewards, values, lengths = drawn(seed, n, width)
    advantages, returns = gae(rewards, values, lengths, gamma=gamma, lam=lam)
    assert torch.allclose(advantages, defined(rewards, values, lengths, gamma, lam), atol=1e-12)
    real = valid(values, lengths)
    assert torch.allclose(returns, (advantages + values) * real, atol=1e-12)
    assert advantages[~real].eq(0).all()
    assert returns[~real].eq(0).all()


@EXAMPLES
@given(seed=st.integers(0, 10_000), extra=st.integers(1, 4))
def test_neither_padding_nor_order_matters(seed: int, extra: int) -> None:
    rewards, values, lengths = drawn(seed, 4, 5)
    expected = gae(rewards, values, lengths, gamma=0.9, lam=0.8)
    wider = (torch.cat((tensor, torch.full((4, extra), 7.0)), 1) for tensor in (rewards, values))
    for got, want in zip(gae(*wider, lengths, gamma=0.9, lam=0.8), expected, strict=True):
        assert torch.equal(got[:, :5], want)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = gae(rewards[order], values[order], lengths[order], gamma=0.9, lam=0.8)
    assert all(torch.equal(got, want[order]) for got, want in zip(shuffled, expected, strict=True))


def test_by_hand() -> None:
    """Two tokens and padding: gamma .5, lam .5."""
    rewards, values = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[3.0, 4.0, 9.0]])
    advantages, returns = gae(rewards, values, torch.tensor([2]), gamma=0.5, lam=0.5)
    assert advantages.tolist() == [[1 + 0.5 * 4 - 3 + 0.25 * (2 - 4), 2 - 4, 0]]
    assert returns.tolist() == [[advantages[0, 0].item() + 3, 2, 0]]


def test_a_cut_is_an_end_unless_its_value_is_taken_for_what_was_to_come() -> None:
    rewards, values, lengths = torch.zeros(3, 4), torch.zeros(3, 4), torch.tensor([2, 4, 3])
    after = torch.tensor([0.0, 8.0, 8.0])
    assert gae(rewards, values, lengths)[0].eq(0).all()
    advantages, returns = gae(rewards, values, lengths, gamma=0.5, lam=0.5, after=after)
    assert advantages.tolist() == [[0, 0, 0, 0], [1 / 16, 1 / 4, 1, 4], [1 / 4, 1, 4, 0]]
    assert torch.equal(returns, advantages)
    to_go = gae(rewards, values, lengths, lam=1.0, after=after)[0]
    assert to_go.tolist() == [[0] * 4, [8] * 4, [8, 8, 8, 0]]


def test_the_score_is_on_the_last_token_whatever_padding_is() -> None:
    kl = torch.tensor([[0.5, -0.25, 9.0], [1.0, 1.0, 1.0], [0.0, 9.0, 9.0]])
    rewards = token_rewards(torch.tensor([1.0, 2.0, -3.0]), kl, torch.tensor([2, 3, 1]), kl_coef=0.5)
    assert rewards.tolist() == [[-0.25, 1.125, 0], [-0.5, -0.5, 1.5], [-3, 0, 0]]
    nothing = token_rewards(torch.ones(1), torch.ones(1, 2), torch.tensor([0]), kl_coef=0.5)
    assert nothing.tolist() == [[0, 0]]


def test_divergence_in_the_reward_by_either_estimator() -> None:
    log_pi, log_ref = torch.tensor([[-1.0, -2.0]]).double(), torch.tensor([[-1.5, -0.5]]).double()
    lengths = torch.tensor([2])
    k1 = token_rewards(torch.zeros(1), kl_penalty(log_pi, log_ref, "k1"), lengths, kl_coef=0.1)
    assert k1.sum().item() == pytest.approx(-0.1 * (0.5 - 1.5))
    k3 = token_rewards(torch.zeros(1), kl_penalty(log_pi, log_ref, "k3"), lengths, kl_coef=0.1)
    assert (k3 <= 0).all()


def test_whitening() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 6, generator=generator, dtype=torch.float64) * 3 + 5
    mask = valid(values, torch.tensor([6, 1, 3, 4]))
    white = whiten(values.masked_fill(~mask, 1e6), mask)
    assert white[mask].mean().item() == pytest.approx(0, abs=1e-12)
    assert white[mask].var().item() == pytest.approx(1, abs=1e-7)  # Bessel's correction
    assert white[~mask].eq(0).all()
    scaled = whiten(values, mask, centre=False)
    assert torch.allclose(scaled[mask], values[mask] / values[mask].std(), atol=1e-6)
    assert scaled[mask].mean().item() > 1  # the mean is neither taken off nor added back
    for rows in (2, 4, 1000):  # the mean of many equal numbers is not quite that number
        constant = torch.full((rows, 3), 0.7)
        everywhere = torch.ones(rows, 3, dtype=torch.bool)
        assert whiten(constant, everywhere).eq(0).all()
        assert torch.equal(whiten(constant, everywhere, centre=False), constant)
    constant = constant[:2, :2]
    alone = torch.tensor([[True, False], [False, False]])
    assert whiten(constant, alone).tolist() == [[pytest.approx(0.7), 0], [0, 0]]


@pytest.mark.parametrize(("kl", "coef"), [(6, 0.2), (12, 0.201024), (600, 0.201024), (3, 0.198976), (0, 0.198976)])
def test_adaptive_weight(kl: float, coef: float) -> None:
    controller = KLController(0.2, target=6.0, horizon=10_000)
    controller.update(kl, 256)
    assert controller.coef == pytest.approx(coef, abs=1e-15)


def test_a_weight_without_target_stays() -> None:
    controller = KLController(0.2)
    controller.update(100.0, 256)
    assert controller.coef == 0.2


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        gae(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([3]))
    with pytest.raises(ValueError, match="rewards"):
        gae(torch.zeros(2, 1), torch.zeros(2, 3), torch.tensor([3, 3]))
    with pytest.raises(ValueError, match="scores"):
        token_rewards(torch.zeros(1), torch.zeros(2, 3), torch.tensor([3, 3]), kl_coef=0.1)
    with pytest.raises(ValueError, match="mask"):
        whiten(torch.zeros(2, 3), torch.ones(2, 1, dtype=torch.bool))
