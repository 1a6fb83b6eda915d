"""Estimators of the divergence: by hand, in expectation, and in their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from closed_forms import close
from torch import Tensor

from align_scratch.losses import kl_penalty
from align_scratch.scoring import kl_divergence

pytestmark = pytest.mark.usefixtures("double")


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
