"""How far the student is from its teacher, token by token (arXiv:2601.20802, section 3; official code, `core_algos`).

With p the student's distribution of the next token and q the teacher's, which has no gradient:

    alpha = 0       KL(q || p), forward: cover what the teacher would say      gradient on the logits  p - q
    alpha = 1       KL(p || q), reverse: say only what the teacher would       p (log(p/q) - KL(p||q))
    0 < alpha < 1   (1-alpha) KL(p || m) + alpha KL(q || m),                   (1-alpha) p (log(p/m) - KL(p||m))
                    m = (1-alpha) p + alpha q, the generalised Jensen-Shannon divergence

Top-k: the student's k likeliest tokens, with one more for all others together (`add_tail`), or renormalised without.
With the tail the value is a lower bound of the full one, which k = V - 1 reaches. Sampled token: log p at the token
that was sampled, times the constant log p - log q, whose expected gradient is that of the reverse KL.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from papers_scratch.config.sdpo import SDPOConfig

_LARGEST_LOG_MASS = -1e-7  # log of the top-k's mass at most: the tail's logarithm stays finite


def compare(config: SDPOConfig, student: Tensor, teacher: Tensor, ids: Tensor) -> Tensor:
    """D(p, q) at M tokens, as `distillation` says: log-probabilities (M, V) of both, sampled ids (M,) -> (M,)."""
    if config.distillation == "sampled":
        return at_sampled_token(student, teacher, ids)
    if config.distillation == "topk":
        student, teacher = on_student_top_k(student, teacher, config.top_k, add_tail=config.add_tail)
    return divergence(student, teacher, config.alpha)


def divergence(student: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """Log-probabilities (M, V) of both -> the divergence (M,) in nats; gradients reach the student only."""
    teacher = teacher.detach()
    if alpha == 0.0:
        return _kl(teacher, student)
    if alpha == 1.0:
        return _kl(student, teacher)
    mixture = torch.logaddexp(student + math.log1p(-alpha), teacher + math.log(alpha))  # (M, V)
    return (1 - alpha) * _kl(student, mixture) + alpha * _kl(teacher, mixture)


def on_student_top_k(student: Tensor, teacher: Tensor, k: int, *, add_tail: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities (M, V) of both, on the student's k likeliest tokens: (M, k + 1) with a tail, else (M, k)."""
    if k >= student.shape[-1]:
        return student, teacher
    student, ids = student.topk(k, dim=-1)  # (M, k)
    teacher = teacher.gather(-1, ids)  # (M, k)
    return (_with_tail(student), _with_tail(teacher)) if add_tail else (_renormalised(student), _renormalised(teacher))


def at_sampled_token(student: Tensor, teacher: Tensor, ids: Tensor) -> Tensor:
    """sg(log p(y) - log q(y)) log p(y) of the sampled tokens: log-probabilities (M, V), ids (M,) -> (M,)."""
    p = student.gather(-1, ids[:, None])[:, 0]  # (M,)
    q = teacher.gather(-1, ids[:, None])[:, 0]  # (M,)
    return (p - q).detach() * p


def one_sided_weight(log_probs: Tensor, old: Tensor, cap: float) -> Tensor:
    """min(pi / pi_old, cap), detached: how much a sampled token counts once the policy has moved; same shape."""
    return (log_probs - old).detach().clamp(-20, 20).exp().clamp(max=cap)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities (M, V); where p is 0 the term is 0."""
    return (p.exp() * (p - q).masked_fill(p == -math.inf, 0)).sum(-1)


def _with_tail(log_probs: Tensor) -> Tensor:
    mass = log_probs.logsumexp(-1, keepdim=True).clamp(max=_LARGEST_LOG_MASS)  # (M, 1)
    return torch.cat((log_probs, torch.log(-torch.expm1(mass))), -1)  # (M, k + 1)


def _renormalised(log_probs: Tensor) -> Tensor:
    return log_probs - log_probs.logsumexp(-1, keepdim=True)
