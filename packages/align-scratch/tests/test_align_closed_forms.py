"""The clip, weights and losses against closed forms, in float64; nothing is sampled."""

from __future__ import annotations

import math

import pytest
import torch
from closed_forms import batch, close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from align_scratch.advantages import group_advantages
from align_scratch.losses import clipped, clipped_surrogate, kl_penalty, row_weights, split, weighted_sum

pytestmark = pytest.mark.usefixtures("double")

LOW, HIGH = 0.2, 0.28
NAN = math.nan


# --- the clip --------------------------------------------------------------------------------------------------------


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


# --- weights and sums ------------------------------------------------------------------------------------------------


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
