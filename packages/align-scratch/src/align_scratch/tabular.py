"""A policy small enough to be written out: expectations over all it can do are sums, and equalities hold to rounding.

A logit for each next symbol after each prefix is any distribution over sequences there is. With V symbols and T tokens
there are V^T sequences, in the order in which a number with T digits in base V counts.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Tabular:
    """A table of logits (prefixes, V) for sequences of exactly T of V symbols; `logits` is the one parameter."""

    def __init__(self, vocab_size: int = 3, length: int = 3, *, seed: int = 0, spread: float = 1.0) -> None:
        self.vocab_size, self.length = vocab_size, length
        steps = [torch.arange(vocab_size)] * length
        self.tokens = torch.cartesian_prod(*steps).view(-1, length)  # (N, T)
        prefixes, first = [], 0
        for t in range(length):
            number = torch.zeros(len(self.tokens), dtype=torch.int64)
            for token in self.tokens[:, :t].unbind(1):
                number = number * vocab_size + token
            prefixes.append(first + number)
            first += vocab_size**t
        self.prefixes = torch.stack(prefixes, 1)  # (N, T): which row of the table each token is drawn from
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(first, vocab_size, generator=generator, dtype=torch.float64) * spread
        self.logits = logits.requires_grad_()

    def log_probs(self) -> Tensor:
        """Of each token of each sequence: (N, T) fp64, differentiable."""
        rows = self.logits.log_softmax(-1)[self.prefixes]  # (N, T, V)
        return rows.gather(2, self.tokens[:, :, None])[:, :, 0]

    def probabilities(self) -> Tensor:
        """Of each sequence: (N,) fp64, differentiable; they sum to 1."""
        return self.log_probs().sum(1).exp()

    def gradient(self, value: Tensor) -> Tensor:
        """Of a scalar with respect to the table: (prefixes, V)."""
        return torch.autograd.grad(value, self.logits, retain_graph=True)[0]


def optimum(reference: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """pi*(y) = pi_ref(y) exp(r(y) / beta) / Z, where E[r] - beta KL(pi || pi_ref) is largest: (N,) -> (N,)."""
    return (reference.log() + rewards / beta).softmax(0)


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the sum of |p - q| over all outcomes: 0 for equal distributions, 1 for disjoint ones."""
    return float((p - q).abs().sum() / 2)
