"""What `scratch doctor --verify` reruns of the policy gradient, by enumeration of a tabular policy."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from align_scratch.losses import clipped_surrogate, weighted_sum
from align_scratch.proofs import Proof, deviation
from align_scratch.tabular import Tabular


def proofs() -> Iterator[Proof]:
    policy = Tabular()
    rewards = torch.randn(len(policy.tokens), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_probs = policy.log_probs()  # (N, T)
    chances, mask = policy.probabilities().detach(), torch.ones_like(log_probs, dtype=torch.bool)
    exact = policy.gradient((policy.probabilities() * rewards).sum())

    terms = clipped_surrogate(log_probs - log_probs.detach(), rewards, 0.2, 0.28)
    got = policy.gradient(weighted_sum(terms, mask, chances))
    yield Proof(
        claim="the clipped surrogate's expected gradient is the policy gradient, over all 27 sequences of 3 tokens",
        measured=deviation(got, -exact),
        tolerance=1e-12,
    )
