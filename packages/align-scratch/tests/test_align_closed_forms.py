"""Advantages, losses and schedules against closed forms, in float64 and by exact enumeration; nothing is sampled."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from align_scratch.advantages import EPS, group_advantages, zero_variance
from align_scratch.losses import clipped, clipped_surrogate, kl_penalty, row_weights, split, weighted_sum
from align_scratch.schedule import Shuffled, derived_seed, learning_rate
from align_scratch.scoring import kl_divergence

LOW, HIGH = 0.2, 0.28
NAN = math.nan


@pytest.fixture(autouse=True)
def _one_thread_and_double() -> Iterator[None]:
    """Closed forms hold to 1e-12 only where weights, too, are float64."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def close(got: Tensor, wanted: Tensor | list[float] | float, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=got.dtype), atol=tolerance, rtol=tolerance)


def batch(b: int = 6, t: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-ratios (B, T) on both sides of both bounds, advantages (B,), lengths (B,), mask (B, T)."""
    generator = torch.Generator().manual_seed(seed)
    log_ratio = torch.randn(b, t, generator=generator) * 0.4
    advantages = torch.randn(b, generator=generator)
    lengths = torch.randint(1, t + 1, (b,), generator=generator)
    return log_ratio, advantages, lengths, torch.arange(t) < lengths[:, None]


# --- advantages ----------------------------------------------------------------------------------------------------


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


# --- the clip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [
        # advantage, then the ratio from below to above; slope = d term / d log-ratio
        (0.5, 2.0, -1.0, -1.0),  # below, but raising the ratio is what a good action asks for
        (0.9, 2.0, -1.8, -1.8),
        (1.0, 2.0, -2.0, -2.0),
        (1.2, 2.0, -2.4, -2.4),  # above 1 + clip_low: the upper bound is another
        (1.27, 2.0, -2.54, -2.54),
        (1.29, 2.0, -2.56, 0.0),  # has risen enough
        (9.0, 2.0, -2.56, 0.0),
        (0.5, -2.0, 1.6, 0.0),  # has fallen enough
        (0.79, -2.0, 1.6, 0.0),
        (0.81, -2.0, 1.62, 1.62),
        (1.0, -2.0, 2.0, 2.0),
        (1.29, -2.0, 2.58, 2.58),
        (9.0, -2.0, 18.0, 18.0),  # above, but a bad action may always be pushed down
        (0.5, 0.0, 0.0, 0.0),
        (1.0, 0.0, 0.0, 0.0),
        (2.0, 0.0, 0.0, 0.0),
    ],
)
def test_every_branch_of_the_clip_by_hand(ratio: float, advantage: float, value: float, slope: float) -> None:
    log_ratio = torch.tensor([[math.log(ratio)]], requires_grad=True)
    advantages = torch.tensor([advantage])
    term = clipped_surrogate(log_ratio, advantages, LOW, HIGH)
    close(term, [[value]])
    (gradient,) = torch.autograd.grad(term.sum(), log_ratio)
    close(gradient, [[slope]])
    below, above = clipped(log_ratio.detach(), advantages, LOW, HIGH)
    assert bool(below | above) == (slope == 0.0 and advantage != 0.0)
    assert bool(below) == (ratio < 0.8 and advantage < 0)
    assert bool(above) == (ratio > 1.28 and advantage > 0)


def test_at_the_bounds_nothing_is_clipped_and_the_gradient_is_whole() -> None:
    """With bounds that are powers of two the ratio stands exactly on them: 1/2 and 2."""
    log_ratio = torch.tensor([[-math.log(2), math.log(2)]] * 2, requires_grad=True)
    assert log_ratio.exp().tolist() == [[0.5, 2.0]] * 2
    advantages = torch.tensor([3.0, -3.0])
    below, above = clipped(log_ratio.detach(), advantages, 0.5, 1.0)
    assert not below.any()
    assert not above.any()
    terms = clipped_surrogate(log_ratio, advantages, 0.5, 1.0)
    close(terms, torch.tensor([[-1.5, -6.0], [1.5, 6.0]]))
    (gradient,) = torch.autograd.grad(terms.sum(), log_ratio)
    close(gradient, torch.tensor([[-1.5, -6.0], [1.5, 6.0]]))
    # A hair inside and outside of each bound.
    hair = 1e-9
    near = log_ratio.detach() + torch.tensor([[-hair, hair]])
    below, above = clipped(near, advantages, 0.5, 1.0)
    assert below.tolist() == [[False, False], [True, False]]
    assert above.tolist() == [[False, True], [False, False]]
    below, above = clipped(log_ratio.detach() - torch.tensor([[-hair, hair]]), advantages, 0.5, 1.0)
    assert not (below | above).any()


@given(
    logs=st.lists(st.floats(-3, 3), min_size=1, max_size=8),
    advantage=st.floats(-5, 5),
    low=st.floats(0, 1),
    high=st.floats(0.01, 5),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_counters_say_where_the_gradient_is_gone(
    logs: list[float], advantage: float, low: float, high: float
) -> None:
    log_ratio = torch.tensor([logs], requires_grad=True)
    advantages = torch.tensor([advantage])
    terms = clipped_surrogate(log_ratio, advantages, low, high)
    (gradient,) = torch.autograd.grad(terms.sum(), log_ratio)
    below, above = clipped(log_ratio.detach(), advantages, low, high)
    assert not (below & above).any()
    if abs(advantage) > 1e-9:
        assert torch.equal(gradient == 0, below | above)
    # A pessimistic bound: never better than without the clip.
    assert (terms >= -log_ratio.exp() * advantage - 1e-12).all()


@pytest.mark.parametrize("norm", ["tokens", "mean"])
def test_on_policy_the_gradient_is_minus_the_advantage_over_the_normaliser(norm: str) -> None:
    _, advantages, lengths, mask = batch()
    log_probs = torch.randn(mask.shape, generator=torch.Generator().manual_seed(3)).requires_grad_()
    terms = clipped_surrogate(log_probs - log_probs.detach(), advantages, LOW, HIGH)
    loss = weighted_sum(terms, mask, row_weights(norm, lengths))
    (gradient,) = torch.autograd.grad(loss, log_probs)
    normaliser = lengths.sum().expand(6) if norm == "tokens" else 6 * lengths
    close(gradient, -advantages[:, None] * mask / normaliser[:, None])
    assert gradient[~mask].eq(0).all()
    below, above = clipped((log_probs - log_probs).detach(), advantages, LOW, HIGH)
    assert not below.any()
    assert not above.any()
    close(loss, -(advantages * lengths / normaliser).sum())


def test_a_clip_of_one_and_infinity_is_importance_sampling() -> None:
    log_ratio, advantages, _, _ = batch(seed=4)
    close(clipped_surrogate(log_ratio, advantages, 1.0, math.inf), -log_ratio.exp() * advantages[:, None])


# --- weights and sums ----------------------------------------------------------------------------------------------


def test_row_weights_by_hand() -> None:
    lengths = torch.tensor([1, 4, 5])
    close(row_weights("tokens", lengths), [0.1, 0.1, 0.1])
    close(row_weights("mean", lengths), [1 / 3, 1 / 12, 1 / 15])
    close((row_weights("tokens", lengths) * lengths).sum(), 1.0)
    close((row_weights("mean", lengths) * lengths).sum(), 1.0)
    for norm in ("tokens", "mean"):
        assert row_weights(norm, torch.tensor([0, 0])).isfinite().all()
        assert row_weights(norm, torch.tensor([], dtype=torch.int64)).shape == (0,)
    with pytest.raises(ValueError, match=r"^length_norm: got 'bnpo'"):
        row_weights("bnpo", lengths)


@pytest.mark.parametrize("norm", ["tokens", "mean"])
def test_the_whole_loss_is_that_of_two_plain_loops(norm: str) -> None:
    log_ratio, advantages, lengths, mask = batch(seed=5)
    reference = torch.randn(mask.shape, generator=torch.Generator().manual_seed(6))
    total = 0.0
    for i, n in enumerate(lengths.tolist()):
        for t in range(n):
            rho, a, u = math.exp(log_ratio[i, t]), float(advantages[i]), float(log_ratio[i, t] - reference[i, t])
            term = -min(rho * a, min(max(rho, 1 - LOW), 1 + HIGH) * a) + 0.04 * (math.exp(-u) - 1 + u)
            total += term / (int(lengths.sum()) if norm == "tokens" else n * len(lengths))
    terms = clipped_surrogate(log_ratio, advantages, LOW, HIGH) + 0.04 * kl_penalty(log_ratio, reference)
    close(weighted_sum(terms, mask, row_weights(norm, lengths)), total)


def test_a_dapo_loss_weighs_tokens_alike_and_a_grpo_loss_sequences() -> None:
    """Lengths 1 and 3: a term of 1 on every token of the long row only."""
    lengths, mask = torch.tensor([1, 3]), torch.arange(3) < torch.tensor([1, 3])[:, None]
    terms = torch.tensor([[0.0, 9.0, 9.0], [1.0, 1.0, 1.0]])
    close(weighted_sum(terms, mask, row_weights("tokens", lengths)), 3 / 4)
    close(weighted_sum(terms, mask, row_weights("mean", lengths)), 1 / 2)


def test_what_stands_at_padding_is_never_read() -> None:
    mask = torch.tensor([[True, False], [True, True]])
    for rubbish in (NAN, math.inf, -math.inf, 1e308):
        terms = torch.tensor([[1.0, rubbish], [2.0, 3.0]], requires_grad=True)
        total = weighted_sum(terms, mask, torch.tensor([1.0, 10.0]))
        close(total, 51.0)
        (gradient,) = torch.autograd.grad(total, terms)
        assert gradient.tolist() == [[1.0, 0.0], [10.0, 10.0]]


def step_gradient(
    log_probs: Tensor,
    old: Tensor,
    reference: Tensor,
    advantages: Tensor,
    lengths: Tensor,
    norm: str,
    parts: list[Tensor],
) -> tuple[float, Tensor]:
    """Loss and gradient of one update computed part by part, as a trainer accumulates them."""
    leaf = log_probs.clone().requires_grad_()
    mask = torch.arange(leaf.shape[1]) < lengths[:, None]
    weights = row_weights(norm, lengths)  # before the split
    total = 0.0
    for rows in parts:
        terms = clipped_surrogate((leaf - old)[rows], advantages[rows], LOW, HIGH)
        terms = terms + 0.1 * kl_penalty(leaf[rows], reference[rows])
        loss = weighted_sum(terms, mask[rows], weights[rows])
        loss.backward()
        total += loss.item()
    assert leaf.grad is not None
    return total, leaf.grad


@pytest.mark.parametrize("norm", ["tokens", "mean"])
@given(seed=st.integers(0, 10**6), b=st.integers(1, 9), t=st.integers(1, 6), parts=st.integers(1, 12))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_neither_the_split_nor_the_order_nor_padding_changes_a_gradient(
    norm: str, seed: int, b: int, t: int, parts: int
) -> None:
    old, advantages, lengths, mask = batch(b, t, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    log_probs = old + torch.randn(b, t, generator=generator) * 0.3
    reference = old + torch.randn(b, t, generator=generator)
    whole = torch.arange(b)
    loss, gradient = step_gradient(log_probs, old, reference, advantages, lengths, norm, [whole])
    assert gradient[~mask].eq(0).all()

    pieces = split(whole, parts)
    assert torch.equal(torch.cat(pieces), whole)
    loss_split, gradient_split = step_gradient(log_probs, old, reference, advantages, lengths, norm, pieces)
    assert loss_split == pytest.approx(loss, abs=1e-12)
    close(gradient_split, gradient)

    order = torch.randperm(b, generator=generator)
    moved = step_gradient(
        log_probs[order], old[order], reference[order], advantages[order], lengths[order], norm, pieces
    )
    assert moved[0] == pytest.approx(loss, abs=1e-12)
    close(moved[1], gradient[order])

    pad = torch.randn(b, 3, generator=generator) * 20  # ratios of up to e^60 at padding
    wider = step_gradient(
        torch.cat((log_probs, pad), 1),
        torch.cat((old, -pad), 1),
        torch.cat((reference, pad.flip(0)), 1),
        advantages,
        lengths,
        norm,
        pieces,
    )
    assert wider[0] == pytest.approx(loss, abs=1e-12)
    close(wider[1][:, :t], gradient)
    assert wider[1][:, t:].eq(0).all()


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_group_whose_rewards_are_equal_has_exactly_no_gradient(scale: str) -> None:
    log_ratio, _, lengths, mask = batch(b=8, seed=7)
    leaf = log_ratio.requires_grad_()
    rewards = torch.tensor([[0.7] * 4, [1.0, 0.0, 0.0, 1.0]], dtype=torch.float32)
    advantages = group_advantages(rewards, scale=scale).flatten().double()
    terms = clipped_surrogate(leaf, advantages, LOW, HIGH)
    (gradient,) = torch.autograd.grad(weighted_sum(terms, mask, row_weights("tokens", lengths)), leaf)
    assert gradient[:4].eq(0).all()
    assert gradient[4:].ne(0).any()


@given(n=st.integers(0, 40), parts=st.integers(1, 50))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_split_is_nearly_even_and_in_order(n: int, parts: int) -> None:
    pieces = split(torch.arange(n), parts)
    assert [i for piece in pieces for i in piece.tolist()] == list(range(n))
    sizes = [len(piece) for piece in pieces]
    assert len(sizes) == min(n, parts)
    assert all(sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_rows_and_their_weights_are_split_alike() -> None:
    rows = torch.tensor([7, 3, 9, 1, 4])
    weights = rows * 0.5
    for parts in range(1, 8):
        for piece, weight in zip(split(rows, parts), split(weights, parts), strict=True):
            close(weight, piece * 0.5)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1), (2, 5), ()])
def test_advantages_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """(B, 1) against (B, T) would broadcast to (B, B, T), where group-centred advantages cancel to no gradient."""
    with pytest.raises(ValueError, match=r"^advantages: got shape"):
        clipped_surrogate(torch.zeros(2, 5), torch.zeros(shape), LOW, HIGH)


def test_weights_and_masks_of_another_length_are_refused() -> None:
    terms, mask = torch.zeros(2, 5), torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises((ValueError, RuntimeError)):
        weighted_sum(terms, mask, torch.ones(3))
    with pytest.raises((ValueError, RuntimeError)):
        weighted_sum(terms, mask[:, :4], torch.ones(2))


# --- the divergence ------------------------------------------------------------------------------------------------


def test_kl_estimators_by_hand() -> None:
    log_probs, reference = torch.log(torch.tensor([0.5, 0.2, 0.9])), torch.log(torch.tensor([0.25, 0.4, 0.9]))
    u = [math.log(2), -math.log(2), 0.0]
    close(kl_penalty(log_probs, reference, "k1"), u)
    close(kl_penalty(log_probs, reference, "k2"), [math.log(2) ** 2 / 2, math.log(2) ** 2 / 2, 0.0])
    close(kl_penalty(log_probs, reference, "k3"), [0.5 - 1 + math.log(2), 2 - 1 - math.log(2), 0.0])
    assert torch.equal(kl_penalty(log_probs, reference), kl_penalty(log_probs, reference, "k3"))
    with pytest.raises(ValueError, match=r"^kl_estimator: got 'k4'"):
        kl_penalty(log_probs, reference, "k4")


def test_k3_is_never_negative_and_keeps_tiny_divergences() -> None:
    u = torch.linspace(-20, 20, 4001)
    assert (kl_penalty(u, torch.zeros_like(u), "k3") >= 0).all()
    tiny = torch.tensor([1e-7])  # exp(-u) - 1 + u written out would leave rounding errors of 1e-16 of 5e-15
    close(kl_penalty(tiny, torch.zeros(1), "k3") / 5e-15, [1.0], 1e-6)


LOGITS = (torch.tensor([0.3, -1.2, 0.8, 0.1, -0.4]), torch.tensor([-0.5, 0.6, 0.2, -0.9, 1.1]))


def expected(loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Value and expected gradient of a token's loss(log pi, log ref) over samples of pi: all V of them.

    Sampling is not differentiated: each sample's gradient counts with the probability that it was drawn.
    """
    logits = LOGITS[0].double().requires_grad_()
    log_pi, log_ref = logits.log_softmax(0), LOGITS[1].double().log_softmax(0)
    drawn = (log_pi.detach().exp() * loss(log_pi, log_ref)).sum()
    return drawn.detach(), torch.autograd.grad(drawn, logits)[0]


def divergences() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Values and gradients of KL(pi || ref) and KL(ref || pi)."""
    logits = LOGITS[0].double().requires_grad_()
    log_pi, log_ref = logits.log_softmax(0), LOGITS[1].double().log_softmax(0)
    reverse = (log_pi.exp() * (log_pi - log_ref)).sum()
    forward = (log_ref.exp() * (log_ref - log_pi)).sum()
    return tuple((kl.detach(), torch.autograd.grad(kl, logits, retain_graph=True)[0]) for kl in (reverse, forward))


def test_what_the_estimators_estimate() -> None:
    (reverse, _), (forward, _) = divergences()
    assert abs(float(reverse - forward)) > 0.01
    for estimator in ("k1", "k3"):
        close(expected(lambda p, q, e=estimator: kl_penalty(p, q, e))[0], reverse)
    assert abs(float(expected(lambda p, q: kl_penalty(p, q, "k2"))[0] - reverse)) > 1e-3  # biased


def test_what_the_gradients_of_the_estimators_are() -> None:
    (_, reverse), (_, forward) = divergences()
    assert float((reverse - forward).abs().max()) > 0.01
    close(expected(lambda p, q: kl_penalty(p, q, "k1"))[1], torch.zeros(5), 1e-15)
    close(expected(lambda p, q: kl_penalty(p, q, "k2"))[1], reverse)
    close(expected(lambda p, q: kl_penalty(p, q, "k3"))[1], forward)
    for estimator in ("k1", "k3"):  # corrected by the ratio, either is the reverse divergence
        corrected = expected(lambda p, q, e=estimator: (p - p.detach()).exp() * kl_penalty(p, q, e))[1]
        close(corrected, reverse)


def test_the_exact_divergence() -> None:
    (reverse, gradient), (forward, _) = divergences()
    log_pi, log_ref = (logits.double().log_softmax(0) for logits in LOGITS)
    close(kl_divergence(log_pi, log_ref), reverse)
    close(
        kl_divergence(torch.stack((log_pi, log_ref)), torch.stack((log_ref, log_pi))), torch.stack((reverse, forward))
    )
    close(kl_divergence(log_pi, log_pi), 0.0)
    logits = LOGITS[0].double().requires_grad_()
    (got,) = torch.autograd.grad(kl_divergence(logits.log_softmax(0), log_ref), logits)
    close(got, gradient)


# --- schedules -----------------------------------------------------------------------------------------------------


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
