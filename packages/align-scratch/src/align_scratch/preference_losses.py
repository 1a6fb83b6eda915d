"""Losses of preference learning as pure functions: sums of log-probabilities -> one loss a pair, or a labelled row.

Symbols, per pair of chosen and rejected completions of one prompt, each (P,): c and q = log pi - log pi_ref summed over
the tokens of the chosen and of the rejected; h = c - q; n_c and n_q tokens; a_c and a_q mean log pi a token; s the
logistic function. Each loss here takes the sums and lengths that it needs, and no padding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LN_2 = math.log(2.0)


@dataclass(frozen=True, kw_only=True)
class Side:
    """The chosen, or the rejected, of P pairs."""

    log_probs: Tensor
    """(P,): log pi of a completion, summed over its tokens."""
    lengths: Tensor
    """(P,): tokens of a completion, its end mark included."""
    reference: Tensor | None = None
    """(P,): log pi_ref likewise; None for losses without a reference."""

    @property
    def log_ratio(self) -> Tensor:
        """log pi - log pi_ref: (P,)."""
        if self.reference is None:
            raise ValueError("reference: none, but this loss compares the policy with one")
        return self.log_probs - self.reference

    @property
    def mean_log_prob(self) -> Tensor:
        """log pi a token: (P,)."""
        return self.log_probs / self.lengths.clamp(min=1)


# --- with a reference: of h ------------------------------------------------------------------------------------------


def sigmoid(h: Tensor, beta: float) -> Tensor:
    """-log s(beta h): DPO (Rafailov et al. 2023, arXiv:2305.18290, eq. 7). ln 2 at the reference."""
    return -F.logsigmoid(beta * h)


def hinge(h: Tensor, beta: float) -> Tensor:
    """max(0, 1 - beta h): SLiC (Zhao et al. 2023, arXiv:2305.10425) on DPO's rewards (Liu et al. 2023)."""
    return torch.relu(1 - beta * h)


def cdpo(h: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """-(1 - e) log s(beta h) - e log s(-beta h): conservative DPO, if a share e of the labels may be wrong.

    Mitchell 2023, "A note on DPO with noisy preferences". Lowest where s(beta h) = 1 - e.
    """
    return -(1 - label_smoothing) * F.logsigmoid(beta * h) - label_smoothing * F.logsigmoid(-beta * h)


def robust(h: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """(-(1 - e) log s(beta h) + e log s(-beta h)) / (1 - 2e): unbiased if a share e < 1/2 of the labels is flipped.

    Chowdhury et al. 2024, arXiv:2403.00409, eq. 12: its mean over such flips is the DPO loss of the true labels.
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing: got {label_smoothing}, must be at least 0 and below 0.5")
    clean, flipped = -F.logsigmoid(beta * h), -F.logsigmoid(-beta * h)
    return ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)


# --- with a reference: of c and q apart ------------------------------------------------------------------------------


def ipo(c: Tensor, q: Tensor, n_c: Tensor, n_q: Tensor, beta: float) -> Tensor:
    """(c / n_c - q / n_q - 1 / (2 beta))^2: IPO (Azar et al. 2023, arXiv:2310.12036, eq. 17, beta is its tau).

    On log-ratios a token, as its authors meant it: with sums, what a pair should reach would not know its length.
    25 at the reference for beta 0.1.
    """
    return (c / n_c.clamp(min=1) - q / n_q.clamp(min=1) - 1 / (2 * beta)).square()


def sigmoid_norm(c: Tensor, q: Tensor, n_c: Tensor, n_q: Tensor, beta: float) -> Tensor:
    """-log s(beta (c / n_c - q / n_q)): length-normalised DPO (Lambert et al. 2024, arXiv:2411.15124, eq. 6)."""
    return -F.logsigmoid(beta * (c / n_c.clamp(min=1) - q / n_q.clamp(min=1)))


def apo_zero(c: Tensor, q: Tensor, beta: float) -> Tensor:
    """1 - s(beta c) + s(beta q): APO-zero (D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7).

    Raises the chosen and lowers the rejected, each against the reference: for pairs whose chosen is better than what
    the model writes.
    """
    return 1 - torch.sigmoid(beta * c) + torch.sigmoid(beta * q)


def sppo_hard(c: Tensor, q: Tensor, beta: float) -> Tensor:
    """(c - 1 / (2 beta))^2 + (q + 1 / (2 beta))^2: SPPO (Wu et al. 2024, arXiv:2405.00675, eq. 4.7), sure who won."""
    return (c - 0.5 / beta).square() + (q + 0.5 / beta).square()


def kto(
    log_ratio: Tensor, desirable: Tensor, z0: Tensor, *, beta: float, desirable_weight: float, undesirable_weight: float
) -> Tensor:
    """KTO (Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8), of single rows with a label (N,) bool: (N,).

    Desirable rows w_d (1 - s(beta (l - z0))), undesirable ones w_u (1 - s(beta (z0 - l))), with l the row's log-ratio.
    `z0` is the reference point that `kto_reference_point` makes; no gradient flows through it.
    """
    z0 = z0.detach()
    return torch.where(
        desirable,
        desirable_weight * (1 - torch.sigmoid(beta * (log_ratio - z0))),
        undesirable_weight * (1 - torch.sigmoid(beta * (z0 - log_ratio))),
    )


def kto_reference_point(log_ratio: Tensor) -> Tensor:
    """z0 = max(0, mean log-ratio) of prompts with completions of *other* prompts (N,): a scalar without gradient.

    A biased stand-in for KL(pi || pi_ref) (KTO, section 4.1).
    """
    return log_ratio.detach().mean().clamp(min=0)


# --- without a reference ---------------------------------------------------------------------------------------------


def log_odds_ratio(a_c: Tensor, a_q: Tensor) -> Tensor:
    """log [odds(chosen) / odds(rejected)], odds = p / (1 - p), p = exp(mean log pi a token) (ORPO, eq. 4)."""
    return (a_c - a_q) - (log1mexp(a_c) - log1mexp(a_q))


def orpo(a_c: Tensor, a_q: Tensor, beta: float) -> Tensor:
    """-beta log s(log odds ratio): the second half of ORPO (Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7).

    The first half, the negative log-likelihood of the chosen a token, is the trainer's `nll_coef`.
    """
    return -beta * F.logsigmoid(log_odds_ratio(a_c, a_q))


def simpo(a_c: Tensor, a_q: Tensor, beta: float, gamma: float) -> Tensor:
    """-log s(beta (a_c - a_q) - gamma): SimPO (Meng et al. 2024, arXiv:2405.14734, eq. 6); beta 2 to 10 there."""
    return -F.logsigmoid(beta * (a_c - a_q) - gamma)


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, exact near both ends (Mächler 2012). x = 0 counts as the next number below it."""
    x = x.clamp(max=-torch.finfo(x.dtype).tiny)
    near = x > -LN_2
    # Each branch gets an argument it can take a finite gradient at, also where the other is chosen.
    return torch.where(
        near,
        torch.log(-torch.expm1(x.masked_fill(~near, -LN_2))),
        torch.log1p(-torch.exp(x.masked_fill(near, -LN_2))),
    )


# --- other divergences -----------------------------------------------------------------------------------------------


def divergence_score(log_ratio: Tensor, kind: str, alpha: float = 0.5) -> Tensor:
    """f'(pi / pi_ref) up to a constant, what stands for the log-ratio under another divergence than the reverse KL.

    Wang et al. 2023, f-DPO (arXiv:2309.16240, table 1), of log-ratios u of any shape: reverse_kl u; forward_kl
    1 - e^-u; js_divergence ln 2 + log s(u); alpha_divergence (e^((alpha - 1) u) - 1) / (alpha - 1).
    """
    if kind == "reverse_kl":
        return log_ratio
    if kind == "forward_kl":
        return -torch.expm1(-log_ratio)
    if kind == "js_divergence":
        return LN_2 + F.logsigmoid(log_ratio)
    if kind == "alpha_divergence":
        if abs(alpha - 1) < 1e-6:  # the limit
            return log_ratio
        return torch.expm1(((alpha - 1) * log_ratio).clamp(max=80.0)) / (alpha - 1)
    raise ValueError(f"f_divergence: got {kind!r}, must be reverse_kl, forward_kl, js_divergence or alpha_divergence")


# --- all by name -----------------------------------------------------------------------------------------------------

PAIRED = (
    "sigmoid", "ipo", "hinge", "cdpo", "robust", "sigmoid_norm", "apo_zero", "sppo_hard", "orpo", "simpo",
)  # fmt: skip


def preference_loss(
    name: str,
    chosen: Side,
    rejected: Side,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    simpo_gamma: float = 0.5,
    f_divergence: str = "reverse_kl",
    f_alpha: float = 0.5,
) -> Tensor:
    """The loss of each pair (P,) under one of PAIRED. `f_divergence` concerns the losses of h, ipo and sigmoid_norm."""
    _check(chosen, rejected)
    if name == "orpo":
        return orpo(chosen.mean_log_prob, rejected.mean_log_prob, beta)
    if name == "simpo":
        return simpo(chosen.mean_log_prob, rejected.mean_log_prob, beta, simpo_gamma)
    c, q = chosen.log_ratio, rejected.log_ratio
    if name == "apo_zero":
        return apo_zero(c, q, beta)
    if name == "sppo_hard":
        return sppo_hard(c, q, beta)
    c, q = divergence_score(c, f_divergence, f_alpha), divergence_score(q, f_divergence, f_alpha)
    if name == "ipo":
        return ipo(c, q, chosen.lengths, rejected.lengths, beta)
    if name == "sigmoid_norm":
        return sigmoid_norm(c, q, chosen.lengths, rejected.lengths, beta)
    if name == "sigmoid":
        return sigmoid(c - q, beta)
    if name == "hinge":
        return hinge(c - q, beta)
    if name == "cdpo":
        return cdpo(c - q, beta, label_smoothing)
    if name == "robust":
        return robust(c - q, beta, label_smoothing)
    raise ValueError(f"loss_type: got {name!r}, must be one of {', '.join(PAIRED)}")


def _check(chosen: Side, rejected: Side) -> None:
    """Broadcasting would turn (P, 1) against (P,) into a silent (P, P)."""
    wanted = chosen.log_probs.shape
    for tensor in (*_tensors(chosen), *_tensors(rejected)):
        if tensor.ndim != 1 or tensor.shape != wanted:
            raise ValueError(f"got shapes {tuple(wanted)} and {tuple(tensor.shape)}, must all be (P,)")


def _tensors(side: Side) -> list[Tensor]:
    return [side.log_probs, side.lengths, *([] if side.reference is None else [side.reference])]
