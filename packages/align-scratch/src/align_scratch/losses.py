"""Losses of policy optimization as pure functions of tensors.

Every loss here has the form  sum_i w_i sum_t m_it L_it  over rows i and positions t: a token term L, a mask m, and row
weights w that are known before the batch is split. So no split into micro-batches, order of rows or width of padding
changes a gradient; two row weights depend on the split, and are named after it. A member of the family is a choice of
token term and of row weights.
"""

from __future__ import annotations

import torch
from torch import Tensor


def row_weights(norm: str, lengths: Tensor, *, constant: float | None = None, parts: int = 1) -> Tensor:
    """How much each token of a row counts: (B,) for the `lengths` (B,) of *all* rows of an optimizer update.

    tokens: 1 / sum of lengths, every token alike (Yu et al. 2025, DAPO, eq. 8).
    mean: 1 / (B |o_i|), the mean over sequences of their means (Shao et al. 2024, DeepSeekMath, eq. 3).
    constant: 1 / (B constant), long sequences count more (Liu et al. 2025, Dr. GRPO).
    sum: 1 / B, the mean over sequences of their sums.
    microbatch: 1 / (B longest), the longest row being that of the row's own micro-batch.
    microbatch_tokens: the token mean of each micro-batch, then their mean (TRL's bnpo).
    The last two depend, as their names say, on the split into `parts` micro-batches (see `split`); no other does.
    A row of length 0 has weight but no token to use it on.
    """
    lengths = lengths.to(torch.get_default_dtype())
    if norm == "tokens":
        return (1 / lengths.sum().clamp(min=1)).expand_as(lengths)
    if norm == "mean":
        return 1 / (len(lengths) * lengths.clamp(min=1))
    if norm == "constant":
        if constant is None:
            raise ValueError("constant: got None, must be a number: it is what length_norm=constant divides by")
        return torch.full_like(lengths, 1 / (max(len(lengths), 1) * constant))
    if norm == "sum":
        return torch.full_like(lengths, 1 / max(len(lengths), 1))
    if norm not in ("microbatch", "microbatch_tokens"):
        raise ValueError(
            f"length_norm: got {norm!r}, must be tokens, mean, constant, sum, microbatch or microbatch_tokens"
        )
    rows = split(lengths, parts)
    if norm == "microbatch":
        weights = [torch.full_like(part, 1 / len(lengths)) / part.max().clamp(min=1) for part in rows]
    else:
        weights = [torch.full_like(part, 1 / len(rows)) / part.sum().clamp(min=1) for part in rows]
    return torch.cat([lengths[:0], *weights])


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, delta: float | None = None
) -> Tensor:
    """Token term  -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A),  rho = exp(log_ratio).

    Log-ratios (B, T) of the policy to the one that sampled, advantages (B,). PPO's clip (Schulman et al. 2017, eq. 7)
    with the upper bound of its own that DAPO calls clip-higher (eq. 10). `delta` caps rho in the first product, which
    bounds the term where A is negative (dual clip, Ye et al. 2020, eq. 5; two-sided clip, INTELLECT-2, 2025).
    """
    _check_rows(log_ratio, advantages=advantages)
    advantage = advantages[:, None]  # (B, 1)
    ratio = _ratio(log_ratio, advantage)  # (B, T)
    capped = ratio if delta is None else ratio.clamp(max=delta)  # (B, T)
    return -torch.minimum(capped * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)


def unclipped_surrogate(log_ratio: Tensor, advantages: Tensor) -> Tensor:
    """Token term  -rho A:  log-ratios (B, T), advantages (B,). Importance sampling without a bound."""
    _check_rows(log_ratio, advantages=advantages)
    return -_ratio(log_ratio, advantages[:, None]) * advantages[:, None]


def reinforce(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """Token term  -A log pi(o_t):  log-probabilities (B, T), advantages (B,) (Williams 1992). Knows no old policy."""
    _check_rows(log_probs, advantages=advantages)
    return -advantages[:, None] * log_probs


def cispo(log_probs: Tensor, log_ratio: Tensor, advantages: Tensor, cap: float) -> Tensor:
    """Token term  -sg(min(rho, cap)) A log pi(o_t)  (MiniMax-M1 2025, arXiv:2506.13585, eq. 4): (B, T), (B,).

    Every token keeps its gradient, at a bounded weight. `cap` is the bound itself: a cap of 0.2 scales every gradient
    by 0.2, on-policy too.
    """
    _check_rows(log_probs, advantages=advantages)
    _check_same(log_probs, log_ratio=log_ratio)
    weight = _ratio(log_ratio, advantages[:, None]).clamp(max=cap).detach()  # (B, T)
    return -weight * advantages[:, None] * log_probs


def sapo(log_ratio: Tensor, advantages: Tensor, positive: float, negative: float) -> Tensor:
    """Token term  -A 4 sigmoid(tau (rho - 1)) / tau  (Gao et al. 2025, SAPO, arXiv:2511.20347): (B, T), (B,).

    A soft gate in place of the clip: its slope at rho = 1 is 1, and falls off on both sides, the faster the larger the
    temperature tau, which is `positive` where A > 0 and `negative` elsewhere.
    """
    _check_rows(log_ratio, advantages=advantages)
    advantage = advantages[:, None]  # (B, 1)
    tau = torch.where(advantage > 0, positive, negative).to(log_ratio.dtype)  # (B, 1)
    return -(tau * (_ratio(log_ratio, advantage) - 1)).sigmoid() * 4 / tau * advantage


def mean_log_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """One ratio for a sequence, the geometric mean of its tokens' (Zheng et al. 2025, GSPO, arXiv:2507.18071, eq. 7).

    Log-ratios (B, T), mask (B, T) bool -> (B, T), the same for all T tokens of a row.
    """
    _check_same(log_ratio, mask=mask)
    total = log_ratio.masked_fill(~mask, 0).sum(1, keepdim=True)  # (B, 1)
    return (total / mask.sum(1, keepdim=True).clamp(min=1)).expand_as(log_ratio)


def clipped(log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """Where the clip takes the gradient away, below and above: two (B, T) bool.

    Only the side that bites counts: a ratio below the lower bound does so where the advantage is negative.
    """
    _check_rows(log_ratio, advantages=advantages)
    ratio, advantage = log_ratio.exp(), advantages[:, None]  # (B, T), (B, 1)
    return (ratio < 1 - clip_low) & (advantage < 0), (ratio > 1 + clip_high) & (advantage > 0)


def kl_penalty(log_probs: Tensor, reference: Tensor, estimator: str = "k3") -> Tensor:
    """A token's estimate of KL(policy || reference) from samples of the policy (Schulman 2020): same shape as given.

    With u = log policy - log reference: k1 = u, unbiased, may be negative, and as a loss without gradient on-policy;
    k2 = u^2 / 2, whose gradient is that of the reverse KL; k3 = exp(-u) - 1 + u, unbiased and never negative
    (DeepSeekMath, eq. 4), whose gradient is that of the forward KL. Times the ratio, k1 and k3 have the reverse KL's.
    All of that holds for a token given what comes before it. Given log-probabilities of whole sequences (B,) instead,
    it holds for sequences, and only then is it the gradient of what is usually meant by a KL penalty.
    """
    _check_same(log_probs, reference=reference)
    u = log_probs - reference
    if estimator == "k1":
        return u
    if estimator == "k2":
        return u.square() / 2
    if estimator == "k3":
        return torch.expm1(-u) + u
    raise ValueError(f"kl_estimator: got {estimator!r}, must be k1, k2 or k3")


def weighted_sum(terms: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i sum_t m_it L_it: terms (B, T), mask (B, T) bool, weights (B,) -> scalar."""
    _check_rows(terms, weights=weights)
    _check_same(terms, mask=mask)
    return (terms.masked_fill(~mask, 0).sum(1) * weights).sum()


def sequence_terms(rows: Tensor, mask: Tensor) -> Tensor:
    """One term a row as token terms: values (B,), mask (B, T) -> (B, T), the value at the first column and 0 elsewhere.

    So a row's weight applies to it once, as it does to the sum of the row's token terms.
    """
    return torch.nn.functional.pad(rows[:, None], (0, mask.shape[1] - 1))


def truncated_ratio(log_ratio: Tensor, cap: float) -> Tensor:
    """min(exp(log_ratio), cap), detached: how much a token counts if another than the policy drew it (Yao et al. 2025).

    Log-ratios (B, T) of the policy as it is scored to the engine that sampled -> (B, T).
    """
    return log_ratio.detach().exp().clamp(max=cap)


def split(rows: Tensor, parts: int) -> list[Tensor]:
    """`rows` (B, ...) in up to `parts` nearly equal runs, none of them empty."""
    return [part for part in rows.tensor_split(parts) if len(part)]


def _ratio(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """exp(log_ratio) (B, T), and 1 where the advantage (B, 1) is 0.

    Without an advantage there is nothing to weigh, and exp of a far ratio times 0 would be NaN.
    """
    return log_ratio.masked_fill(advantage == 0, 0).exp()


def _check_rows(terms: Tensor, **rows: Tensor) -> None:
    """One number a row of `terms` (B, T). Broadcasting would turn (B,) against (B, T) into a silent (B, B)."""
    if terms.ndim != 2:
        raise ValueError(f"got terms of shape {tuple(terms.shape)}, must be (B, T)")
    for name, value in rows.items():
        if value.shape != terms.shape[:1]:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, must be {tuple(terms.shape[:1])}")


def _check_same(terms: Tensor, **others: Tensor) -> None:
    for name, value in others.items():
        if value.shape != terms.shape:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, must be {tuple(terms.shape)}")
