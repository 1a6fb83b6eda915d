"""What `scratch doctor --verify` reruns of reward models and preference learning, on tables that are written out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from align_scratch.preference_losses import (
    Side,
    apo_zero,
    cdpo,
    ipo,
    kto,
    log1mexp,
    preference_loss,
    robust,
    sigmoid,
    sppo_hard,
)
from align_scratch.proofs import Proof, deviation
from align_scratch.reward_losses import bradley_terry, centring
from align_scratch.reward_probes import best_of_n_kl
from align_scratch.tabular import Tabular, optimum, total_variation

BETA = 0.5


def proofs() -> Iterator[Proof]:
    yield from _reward_models()
    yield from _fixed_point()
    yield from _at_the_reference()
    yield from _noise()
    yield from _gradients()
    yield from _best_of_n()


def all_pairs(n: int) -> tuple[Tensor, Tensor]:
    """Numbers of the two sides of every pair of different outcomes, both ways round: two (n (n - 1),)."""
    left, right = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    return left[left != right], right[left != right]


def minimise(parameter: Tensor, loss: Callable[[], Tensor], *, rounds: int = 200) -> None:
    """Of a convex loss, or nearly so, to rounding."""
    optimizer = torch.optim.LBFGS(
        [parameter], lr=1, max_iter=rounds, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _reward_models() -> Iterator[Proof]:
    generator = torch.Generator().manual_seed(2)
    rewards = torch.randn(9, generator=generator, dtype=torch.float64)
    left, right = all_pairs(9)
    chance = torch.sigmoid(rewards[left] - rewards[right])  # that left is preferred

    found = torch.zeros(9, dtype=torch.float64, requires_grad=True)
    minimise(found, lambda: (chance * bradley_terry(found[left], found[right])).mean())
    yield Proof(
        claim="Bradley-Terry on all preferences recovers the rewards up to a constant",
        measured=deviation((found - found.mean()).detach(), rewards - rewards.mean()),
        tolerance=1e-6,
    )

    pairs = torch.randn(2, 9, generator=generator, dtype=torch.float64).requires_grad_()
    chance = torch.sigmoid(rewards)

    def centred() -> Tensor:
        chosen, rejected = pairs
        likelihood = chance * bradley_terry(chosen, rejected) + (1 - chance) * bradley_terry(rejected, chosen)
        return (likelihood + 0.01 * centring(chosen, rejected)).mean()

    minimise(pairs, centred)
    yield Proof(
        claim="the centring term brings the sum of a pair's scores to 0 and leaves their difference alone",
        measured=deviation(
            torch.stack((pairs.sum(0), pairs[0] - pairs[1])).detach(), torch.stack((0 * rewards, rewards))
        ),
        tolerance=1e-6,
    )
    chosen, rejected = pairs.detach()
    yield Proof(
        claim="the probabilities of a preference and of its opposite sum to 1",
        measured=deviation(
            (-bradley_terry(chosen, rejected)).exp() + (-bradley_terry(rejected, chosen)).exp(),
            torch.ones_like(chosen),
        ),
        tolerance=1e-12,
    )


def _fixed_point() -> Iterator[Proof]:
    reference = Tabular(length=2, seed=3).probabilities().detach()  # (9,)
    policy = Tabular(length=2, seed=4)
    rewards = torch.randn(9, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    left, right = all_pairs(9)
    chance = torch.sigmoid(rewards[left] - rewards[right])

    def loss() -> Tensor:
        ratio = policy.log_probs().sum(1) - reference.log()  # (9,)
        return (chance * sigmoid(ratio[left] - ratio[right], BETA)).mean()

    minimise(policy.logits, loss)
    wanted = optimum(reference, rewards, BETA)
    yield Proof(
        claim="DPO on exact preferences reaches pi_ref exp(r / beta) / Z (total variation)",
        measured=total_variation(policy.probabilities().detach(), wanted),
        tolerance=1e-6,
    )


def _at_the_reference() -> Iterator[Proof]:
    zero, lengths = torch.zeros(1, dtype=torch.float64), torch.full((1,), 7.0, dtype=torch.float64)
    found = {
        "sigmoid": (sigmoid(zero, 0.1), math.log(2)),
        "ipo": (ipo(zero, zero, lengths, lengths, 0.1), 25.0),
        "cdpo": (cdpo(zero, 0.1, 0.2), math.log(2)),
        "robust": (robust(zero, 0.1, 0.2), math.log(2)),
        "apo_zero": (apo_zero(zero, zero, 0.1), 1.0),
        "sppo_hard": (sppo_hard(zero, zero, 0.1), 50.0),
        "kto": (
            kto(zero, zero == 0, zero[0], beta=0.1, desirable_weight=1.0, undesirable_weight=1.0),
            0.5,
        ),
    }
    yield Proof(
        claim="at the reference DPO's loss is ln 2, IPO's 1 / (4 beta^2), KTO's 1/2, and so on",
        measured=max(abs(float(got[0]) - wanted) for got, wanted in found.values()),
        tolerance=1e-12,
    )


def _noise() -> Iterator[Proof]:
    h = torch.linspace(-8, 8, 33, dtype=torch.float64)
    yield Proof(
        claim="robust DPO, averaged over flipped labels, is the DPO loss of the true ones",
        measured=deviation(0.7 * robust(h, BETA, 0.3) + 0.3 * robust(-h, BETA, 0.3), sigmoid(h, BETA)),
        tolerance=1e-12,
    )
    found = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    minimise(found, lambda: cdpo(found, BETA, 0.2).sum())
    yield Proof(
        claim="conservative DPO is lowest where the preference is believed with probability 1 - label_smoothing",
        measured=abs(float(torch.sigmoid(BETA * found.detach())[0]) - 0.8),
        tolerance=1e-6,
    )


def _gradients() -> Iterator[Proof]:
    generator = torch.Generator().manual_seed(6)
    c, q, reference_c, reference_q = (torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(4))
    c.requires_grad_()
    q.requires_grad_()
    lengths = torch.tensor([1, 2, 3, 4, 5])
    chosen, rejected = (
        Side(log_probs=policy, reference=held_to, lengths=lengths)
        for policy, held_to in ((c, reference_c), (q, reference_q))
    )
    loss = preference_loss("sigmoid", chosen, rejected, beta=BETA).sum()
    got = torch.stack(torch.autograd.grad(loss, (c, q)))
    wrong = torch.sigmoid(-BETA * (chosen.log_ratio - rejected.log_ratio)).detach()  # how wrong the implicit reward is
    yield Proof(
        claim="DPO pulls both sides apart by beta s(-beta h), its gradient written out",
        measured=deviation(got, torch.stack((-BETA * wrong, BETA * wrong))),
        tolerance=1e-12,
    )
    x = -torch.logspace(-12, 2, 57, dtype=torch.float64)
    values = [math.log(-math.expm1(v)) if v > -1 else math.log1p(-math.exp(v)) for v in x.tolist()]
    yield Proof(
        claim="the log odds of ORPO are exact from certain to impossible tokens",
        measured=deviation(log1mexp(x), torch.tensor(values, dtype=torch.float64)),
        tolerance=1e-12,
    )


def _best_of_n() -> Iterator[Proof]:
    # Best of n of a continuum: at quantile u the density is n u^(n-1), so KL = integral of it times its logarithm.
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    density = 4 * u**3
    yield Proof(
        claim="the divergence of best-of-n is ln n - (n - 1) / n",
        measured=abs(float((density * density.log()).mean()) - best_of_n_kl(4)),
        tolerance=1e-8,
    )
