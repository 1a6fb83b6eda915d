"""Samplers: rules that turn logits into a distribution, and ids drawn from exactly that distribution.

A sampler is `log_probs`; `sample` is defined once, as a draw from it, so the two cannot disagree. Speculative decoding,
reinforcement learning and scoring rely on that. Samplers hold no state: randomness comes from the caller's generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inference_scratch import filters
from inference_scratch.config import GreedyConfig, MultinomialConfig, TopKConfig, TopPConfig
from inference_scratch.drawing import draw


class Sampler(ABC):
    """The base of this package's samplers; others need only have the same two methods."""

    @abstractmethod
    def log_probs(self, logits: Tensor, /) -> Tensor:
        """Logits (..., V) -> log-probabilities (..., V) that `sample` draws from, -inf for masked ids.

        fp32 (fp64 for fp64 logits); differentiable. NaN where the logits of a row hold NaN or +inf, or are all -inf.
        """

    def sample(self, logits: Tensor, /, generator: torch.Generator) -> Tensor:
        """Logits (B, V) -> ids (B,), int64. Raises NoDistribution if a row has nothing to draw from."""
        return draw(self.log_probs(logits), generator)


class Greedy(Sampler):
    """The largest logit, and the smallest id among equals. Its distribution is one-hot: 0 there, -inf elsewhere."""

    def __init__(self, config: GreedyConfig) -> None:
        self.config = config

    def log_probs(self, logits: Tensor, /) -> Tensor:
        logits = filters.apply(logits, self.config)
        best = logits.argmax(-1, keepdim=True)  # (..., 1); argmax promises the first of equal maxima
        largest = logits.gather(-1, best)  # (..., 1)
        # Largest minus itself is 0 with gradient 0, and NaN exactly where there is no distribution.
        return torch.full_like(logits, -torch.inf).scatter(-1, best, largest - largest)


class Multinomial(Sampler):
    """The model's distribution at a temperature: every id keeps a positive probability."""

    def __init__(self, config: MultinomialConfig) -> None:
        self.config = config

    def log_probs(self, logits: Tensor, /) -> Tensor:
        return filters.apply(logits, self.config).log_softmax(-1)


class TopK(Sampler):
    """The k most probable ids, and those that tie with the k-th, renormalised; temperature first."""

    def __init__(self, config: TopKConfig) -> None:
        self.config = config

    def log_probs(self, logits: Tensor, /) -> Tensor:
        return filters.apply(logits, self.config).log_softmax(-1)


class TopP(Sampler):
    """The nucleus: the smallest set of ids with probability `top_p`, renormalised; temperature and top-k first."""

    def __init__(self, config: TopPConfig) -> None:
        self.config = config

    def log_probs(self, logits: Tensor, /) -> Tensor:
        return filters.apply(logits, self.config).log_softmax(-1)
