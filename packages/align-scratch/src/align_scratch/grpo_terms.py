"""What a token adds to the loss of GRPO, for every member of the family: a choice among the terms in `losses`."""

from __future__ import annotations

import torch
from torch import Tensor

from align_scratch.config.grpo import GRPOConfig
from align_scratch.losses import (
    cispo,
    clipped,
    clipped_surrogate,
    kl_penalty,
    mean_log_ratio,
    reinforce,
    sapo,
    sequence_terms,
    unclipped_surrogate,
)


def policy_terms(config: GRPOConfig, log_probs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Terms (B, T) from log-probabilities now and then (B, T), advantages (B,) and the mask (B, T)."""
    kind = config.form.policy_loss
    if kind == "reinforce":
        return reinforce(log_probs, advantages)
    log_ratio = ratio_level(config, log_probs - old, mask)  # (B, T)
    if kind == "clip":
        return clipped_surrogate(log_ratio, advantages, config.clip_low, config.clip_high, config.delta)
    if kind == "no_clip":
        return unclipped_surrogate(log_ratio, advantages)
    if kind == "cispo":
        return cispo(log_probs, log_ratio, advantages, config.cispo_cap)
    return sapo(log_ratio, advantages, config.sapo_temperature_pos, config.sapo_temperature_neg)


def kl_terms(config: GRPOConfig, log_probs: Tensor, old: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Terms (B, T) of the divergence in the loss; the estimate of a whole sequence stands at its first token."""
    if config.kl_level == "sequence":
        divergence = sequence_kl(config, log_probs, reference, mask)  # (B,)
        if config.kl_unbiased:
            divergence = divergence * (log_probs - old).masked_fill(~mask, 0).sum(1).exp()
        return sequence_terms(divergence, mask)
    terms = kl_penalty(log_probs, reference, config.kl_estimator)  # (B, T)
    return terms * ratio_level(config, log_probs - old, mask).exp() if config.kl_unbiased else terms


def sequence_kl(config: GRPOConfig, log_probs: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """The divergence of whole sequences (B,): estimated from their tokens together, or as the sum of the tokens'."""
    log_probs, reference = log_probs.masked_fill(~mask, 0), reference.masked_fill(~mask, 0)
    if config.kl_level == "sequence":
        return kl_penalty(log_probs.sum(1), reference.sum(1), config.kl_estimator)
    return kl_penalty(log_probs, reference, config.kl_estimator).sum(1)


def held_back(config: GRPOConfig, log_ratio: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens that the bound on the ratio takes gradient from, below and above: two (B, T) bool. Detached log-ratios."""
    log_ratio = ratio_level(config, log_ratio, mask)
    if config.form.policy_loss == "clip":
        return clipped(log_ratio, advantages, config.clip_low, config.clip_high)
    if config.form.policy_loss == "cispo":
        return torch.zeros_like(mask), (log_ratio.exp() > config.cispo_cap) & (advantages > 0)[:, None]
    return torch.zeros_like(mask), torch.zeros_like(mask)


def ratio_level(config: GRPOConfig, log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Log-ratios (B, T) of tokens, or of their sequences."""
    return mean_log_ratio(log_ratio, mask) if config.form.ratio_level == "sequence" else log_ratio
