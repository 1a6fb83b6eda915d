"""Preference losses by hand, the traps among them, and the claims that a user can rerun."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from align_scratch import preference_proofs
from align_scratch.preference_losses import (
    PAIRED,
    Side,
    apo_zero,
    cdpo,
    divergence_score,
    hinge,
    ipo,
    kto,
    kto_reference_point,
    log1mexp,
    orpo,
    preference_loss,
    robust,
    sigmoid,
    sigmoid_norm,
    simpo,
    sppo_hard,
)
from align_scratch.reward_losses import bradley_terry, centring, margin_ranking
from align_scratch.reward_losses import hinge as reward_hinge

PROOFS = list(preference_proofs.proofs())


def s(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_odds(p: float) -> float:
    return math.log(p / (1 - p))


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("proof", PROOFS, ids=[proof.claim for proof in PROOFS])
def test_claims(proof) -> None:
    assert proof.ok, (proof.claim, proof.measured, proof.tolerance)


# c = 0.6 over 3 tokens, q = -1.0 over 2 tokens, beta 0.5, so h = 1.6 and the means are 0.2 and -0.5.
BY_HAND = [
    (sigmoid(t(1.6), 0.5), -math.log(s(0.8))),
    (hinge(t(1.6), 0.5), 0.2),
    (hinge(t(2.6), 0.5), 0.0),
    (cdpo(t(1.6), 0.5, 0.1), -0.9 * math.log(s(0.8)) - 0.1 * math.log(s(-0.8))),
    (robust(t(1.6), 0.5, 0.1), (-0.9 * math.log(s(0.8)) + 0.1 * math.log(s(-0.8))) / 0.8),
    (ipo(t(0.6), t(-1.0), t(3), t(2), 0.5), (0.2 + 0.5 - 1.0) ** 2),
    (sigmoid_norm(t(0.6), t(-1.0), t(3), t(2), 0.5), -math.log(s(0.35))),
    (apo_zero(t(0.6), t(-1.0), 0.5), 1 - s(0.3) + s(-0.5)),
    (sppo_hard(t(0.6), t(-1.0), 0.5), 0.4**2 + 0.0**2),
    (simpo(t(-0.2), t(-0.9), 2.0, 0.5), -math.log(s(1.4 - 0.5))),
    (
        orpo(t(-0.2), t(-0.9), 0.5),
        -0.5 * math.log(s(log_odds(math.exp(-0.2)) - log_odds(math.exp(-0.9)))),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("got", "wanted"), BY_HAND)
def test_by_hand(got: Tensor, wanted: float) -> None:
    assert float(got) == pytest.approx(wanted, abs=1e-12)


def test_kto_by_hand() -> None:
    got = kto(
        t(0.6, -1.0), torch.tensor([True, False]), t(0.2)[0], beta=0.5, desirable_weight=1.5, undesirable_weight=2
    )
    assert got.tolist() == pytest.approx([1.5 * (1 - s(0.2)), 2 * (1 - s(0.6))])


def test_the_reference_point_is_never_negative_and_has_no_gradient() -> None:
    ratio = t(-1.0, -2.0).requires_grad_()
    assert float(kto_reference_point(ratio)) == 0
    point = kto_reference_point(-ratio)
    assert float(point) == 1.5
    assert not point.requires_grad
    # Even a z0 that has a history takes none of the gradient.
    leaf = t(0.5).requires_grad_()
    loss = kto(leaf, torch.tensor([True]), leaf[0] * 1, beta=1.0, desirable_weight=1.0, undesirable_weight=1.0).sum()
    loss.backward()
    assert leaf.grad is not None
    assert float(leaf.grad) == pytest.approx(-s(0.0) * (1 - s(0.0)))


def side(log_prob: float, reference: float | None = 0.0, length: int = 2) -> Side:
    held_to = None if reference is None else t(reference)
    return Side(log_probs=t(log_prob), reference=held_to, lengths=torch.tensor([length]))


@pytest.mark.parametrize("name", PAIRED)
def test_each_prefers_the_chosen(name: str) -> None:
    """Raising the chosen lowers the loss, raising the rejected does not lower it."""
    chosen, rejected = t(-3.0).requires_grad_(), t(-3.0).requires_grad_()
    loss = preference_loss(
        name,
        Side(log_probs=chosen, reference=t(-3.0), lengths=torch.tensor([4])),
        Side(log_probs=rejected, reference=t(-3.0), lengths=torch.tensor([4])),
        beta=0.1,
        label_smoothing=0.1,
    ).sum()
    loss.backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert float(chosen.grad) < 0 < float(rejected.grad)


@pytest.mark.parametrize("name", ["sigmoid", "hinge", "cdpo", "robust", "apo_zero", "sppo_hard"])
def test_sums_do_not_know_lengths_and_means_do(name: str) -> None:
    def loss(kind: str, length: int) -> float:
        return float(preference_loss(kind, side(-1.0, -1.5, length), side(-2.0), beta=0.3, label_smoothing=0.1))

    assert loss(name, 2) == loss(name, 20)
    assert loss("ipo", 2) != loss("ipo", 20)
    assert loss("sigmoid_norm", 2) != loss("sigmoid_norm", 20)


def test_losses_without_a_reference_take_none() -> None:
    for name in PAIRED:
        sides = side(-1.0, None), side(-2.0, None)
        if name in ("orpo", "simpo"):
            assert preference_loss(name, *sides, beta=1.0).isfinite().all()
        else:
            with pytest.raises(ValueError, match="reference: none"):
                preference_loss(name, *sides, beta=1.0)


def test_shapes_and_names_are_checked() -> None:
    column = Side(log_probs=torch.zeros(3, 1), reference=torch.zeros(3, 1), lengths=torch.ones(3, 1))
    row = Side(log_probs=torch.zeros(3), reference=torch.zeros(3), lengths=torch.ones(3))
    with pytest.raises(ValueError, match="must all be"):
        preference_loss("sigmoid", column, row, beta=1.0)
    with pytest.raises(ValueError, match="must all be"):
        preference_loss("sigmoid", row, column, beta=1.0)
    with pytest.raises(ValueError, match="loss_type: got 'dpo', must be one of sigmoid"):
        preference_loss("dpo", row, row, beta=1.0)
    with pytest.raises(ValueError, match=r"label_smoothing: got 0\.5"):
        robust(torch.zeros(1), 1.0, 0.5)
    with pytest.raises(ValueError, match="must both be"):
        bradley_terry(torch.zeros(3, 1), torch.zeros(3))


@pytest.mark.parametrize("kind", ["forward_kl", "js_divergence", "alpha_divergence"])
def test_divergences_agree_near_the_reference(kind: str) -> None:
    """All are the log-ratio to first order, times f''(1): 1, 1/2, and 1."""
    slope = {"forward_kl": 1.0, "js_divergence": 0.5, "alpha_divergence": 1.0}[kind]
    u = t(1e-6)
    at_zero = divergence_score(t(0.0), kind)
    assert float(at_zero) == pytest.approx(0.0, abs=1e-12)
    assert float(divergence_score(u, kind) - at_zero) == pytest.approx(slope * 1e-6, rel=1e-5)
    assert torch.equal(divergence_score(u, "alpha_divergence", 1.0), u)
    with pytest.raises(ValueError, match="f_divergence: got 'kl'"):
        divergence_score(u, "kl")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_certain_token_has_finite_odds_and_gradient(dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, -1e-30, -1e-8, -0.69, -0.7, -50.0, -1e30], dtype=dtype, requires_grad=True)
    y = log1mexp(x)
    assert y.isfinite().all()
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_far_apart_sides_stay_finite() -> None:
    for name in PAIRED:
        chosen = Side(log_probs=torch.tensor([-1e4]), reference=torch.tensor([-1.0]), lengths=torch.tensor([3]))
        rejected = Side(log_probs=torch.tensor([-1e-4]), reference=torch.tensor([-1.0]), lengths=torch.tensor([3]))
        assert preference_loss(name, chosen, rejected, beta=0.1, label_smoothing=0.1).isfinite().all(), name


# --- reward models


def test_reward_losses_by_hand() -> None:
    chosen, rejected = t(1.0, 0.5), t(0.2, 0.5)
    assert bradley_terry(chosen, rejected).tolist() == pytest.approx([-math.log(s(0.8)), math.log(2)])
    assert bradley_terry(chosen, rejected, t(0.3, -1.0)).tolist() == pytest.approx(
        [-math.log(s(0.5)), -math.log(s(1.0))]
    )
    assert margin_ranking(chosen, rejected, 0.7).tolist() == pytest.approx([0.0, 0.7])
    assert reward_hinge(chosen, rejected).tolist() == pytest.approx([0.2, 1.0])
    assert centring(chosen, rejected).tolist() == pytest.approx([1.44, 1.0])


def test_margin_ranking_is_torchs() -> None:
    chosen, rejected = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.margin_ranking_loss(chosen, rejected, torch.ones(7), margin=0.4)
    assert torch.allclose(margin_ranking(chosen, rejected, 0.4).mean(), wanted)


def test_a_constant_changes_nothing_but_the_centring() -> None:
    chosen, rejected = torch.randn(2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for loss in (bradley_terry, margin_ranking, reward_hinge):
        torch.testing.assert_close(loss(chosen + 5, rejected + 5), loss(chosen, rejected))
    assert not torch.allclose(centring(chosen + 5, rejected + 5), centring(chosen, rejected))
