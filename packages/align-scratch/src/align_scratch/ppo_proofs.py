"""What `scratch doctor --verify` reruns of PPO and of best of n: definitions, limits and a fixed point."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from align_scratch.best_of_n import best_of_curve
from align_scratch.gae import KLController, gae, token_rewards, valid
from align_scratch.losses import kl_penalty, weighted_sum
from align_scratch.ppo_losses import policy_terms, value_terms
from align_scratch.proofs import Proof, deviation
from align_scratch.tabular import Tabular, optimum, total_variation


def proofs() -> Iterator[Proof]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([7, 1, 4, 6, 7])
    rewards, values = (torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    real = valid(rewards, lengths)
    rewards, values = rewards * real, values * real

    got, returns = gae(rewards, values, lengths, gamma=0.9, lam=0.7)
    yield Proof(
        claim="advantages by one backward pass equal their definition, a sum over all later tokens, in ragged rows",
        measured=max(
            deviation(got, defined(rewards, values, lengths, 0.9, 0.7)), deviation(returns, (got + values) * real)
        ),
        tolerance=1e-12,
    )
    to_go = rewards.flip(1).cumsum(1).flip(1)
    yield Proof(
        claim="with gamma = lam = 1 an advantage is what is still to come, less the value",
        measured=deviation(gae(rewards, values, lengths, lam=1.0)[0], (to_go - values) * real),
        tolerance=1e-12,
    )
    later = torch.cat((values[:, 1:], torch.zeros(5, 1)), 1)
    yield Proof(
        claim="with lam = 0 an advantage is the error of one step's foresight",
        measured=deviation(gae(rewards, values, lengths, lam=0.0)[0], (rewards + later - values) * real),
        tolerance=1e-12,
    )
    log_pi, log_ref = (-torch.rand(5, 7, generator=generator, dtype=torch.float64) * real for _ in range(2))
    paid = token_rewards(torch.zeros(5), kl_penalty(log_pi, log_ref, "k1"), lengths, kl_coef=0.3)
    yield Proof(
        claim="the divergence's rewards of a completion sum to -kl_coef times its log-ratio",
        measured=deviation(paid.sum(1), -0.3 * (log_pi - log_ref).sum(1)),
        tolerance=1e-12,
    )
    yield Proof(
        claim="the adaptive weight follows its table: .2 at the target, .201024 above it, .198976 below",
        measured=max(abs(adapted(kl) - want) for kl, want in ((6, 0.2), (12, 0.201024), (3, 0.198976), (0, 0.198976))),
        tolerance=1e-15,
    )
    yield Proof(
        claim="with gamma = lam = 1, V = 0 and no divergence PPO's first gradient is REINFORCE's, over all sequences",
        measured=first_gradient(),
        tolerance=1e-12,
    )
    yield Proof(
        claim="with the divergence in the reward PPO ends at pi_ref exp(r / beta) / Z: distance over 27 sequences",
        measured=fixed_point(),
        tolerance=1e-3,
    )
    proxy = torch.randint(0, 3, (4, 6), generator=generator).double()  # with ties
    gold = torch.rand(4, 6, generator=generator, dtype=torch.float64)
    yield Proof(
        claim="the worth of the best of n equals the mean over all subsets of n samples, ties broken evenly",
        measured=max(abs(best_of_curve(proxy, gold, [n])[0] - best_of_all(proxy, gold, n)) for n in range(1, 7)),
        tolerance=1e-12,
    )


def defined(rewards: Tensor, values: Tensor, lengths: Tensor, gamma: float, lam: float) -> Tensor:
    """A_t = sum_l (gamma lam)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}), as it is written: (N, T)."""
    found = torch.zeros_like(values)
    for i, length in enumerate(lengths.tolist()):
        for t in range(length):
            for k in range(t, length):
                following = values[i, k + 1] if k + 1 < length else 0.0
                found[i, t] += (gamma * lam) ** (k - t) * (rewards[i, k] + gamma * following - values[i, k])
    return found


def adapted(kl: float) -> float:
    """The weight after 256 completions with this divergence: target 6, from .2, horizon 10,000."""
    controller = KLController(0.2, target=6.0, horizon=10_000)
    controller.update(kl, 256)
    return controller.coef


def scores_of(policy: Tabular, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(policy.tokens), generator=generator, dtype=torch.float64)


def first_gradient() -> float:
    """How far PPO's expected gradient is from that of the expected score."""
    policy = Tabular()
    scores, log_probs = scores_of(policy), policy.log_probs()  # (N,), (N, T)
    zeros, lengths = torch.zeros_like(log_probs), torch.full((len(scores),), policy.length)
    advantages, _ = gae(token_rewards(scores, zeros, lengths, kl_coef=0.0), zeros, lengths, lam=1.0)
    terms = policy_terms(log_probs - log_probs.detach(), advantages, 0.2)
    got = policy.gradient(weighted_sum(terms, valid(terms, lengths), policy.probabilities().detach()))
    return deviation(got, -policy.gradient((policy.probabilities() * scores).sum()))


def fixed_point(beta: float = 0.5, steps: int = 600, lam: float = 0.95) -> float:
    """Total variation between where PPO ends, every sequence weighed by its probability, and where it should.

    Two clipped updates a batch, a value for every prefix learned beside the policy, lam below 1: what is left to chance
    in training is written out here, and nothing else differs.
    """
    policy, reference = Tabular(), Tabular().log_probs().detach()  # (N, T)
    scores, lengths = scores_of(policy), torch.full((len(reference),), policy.length)
    mask = torch.ones_like(reference, dtype=torch.bool)
    table = torch.zeros(len(policy.logits), dtype=torch.float64, requires_grad=True)  # V of each prefix
    # Coordinates of rare prefixes have small gradients: Adam's scale brings them along, its decay lets them settle.
    optimizer = torch.optim.Adam([policy.logits, table], lr=0.05, eps=1e-5)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (2 * steps))
    for _ in range(steps):
        old, chances = policy.log_probs().detach(), policy.probabilities().detach()  # (N, T), (N,)
        values = table.detach()[policy.prefixes]  # (N, T)
        paid = token_rewards(scores, kl_penalty(old, reference, "k1"), lengths, kl_coef=beta)
        advantages, returns = gae(paid, values, lengths, lam=lam)
        for _ in range(2):
            terms = policy_terms(policy.log_probs() - old, advantages, 0.2)
            terms = terms + value_terms(table[policy.prefixes], values, returns, 0.2)[0]
            optimizer.zero_grad()
            weighted_sum(terms, mask, chances).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            decay.step()
    return total_variation(policy.probabilities().detach(), optimum(reference.sum(1).exp(), scores, beta))


def best_of_all(rewards: Tensor, gold: Tensor, n: int) -> float:
    """Over every subset of n samples, the mean gold mark of those that share its highest reward."""
    total, count = 0.0, 0
    for row, marks in zip(rewards.tolist(), gold.tolist(), strict=True):
        for chosen in combinations(range(len(row)), n):
            best = max(row[i] for i in chosen)
            among = [marks[i] for i in chosen if row[i] == best]
            total, count = total + sum(among) / len(among), count + 1
    return total / count
