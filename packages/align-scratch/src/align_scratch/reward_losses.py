"""Losses of reward models as pure functions: scores of chosen and rejected completions (P,) -> one loss a pair (P,).

Swapping the sides of a pair turns its Bradley-Terry probability s(d) into 1 - s(d), with d = chosen - rejected and s
the logistic function; adding a constant to all scores changes none of these losses but `centring`, which is there to
fix that constant.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """-log s(chosen - rejected - margin), the negative log-likelihood of the preference; ln 2 at a tie.

    Bradley & Terry 1952; Ouyang et al. 2022, eq. 1; with a margin for how much better: Touvron et al. 2023
    (arXiv:2307.09288), eq. 2.
    """
    _check(chosen, rejected)
    return -F.logsigmoid(chosen - rejected - margin)


def margin_ranking(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 1.0) -> Tensor:
    """max(0, margin - (chosen - rejected)): nothing is left to learn from a pair that is `margin` apart."""
    _check(chosen, rejected)
    return torch.relu(margin - (chosen - rejected))


def hinge(chosen: Tensor, rejected: Tensor) -> Tensor:
    """max(0, 1 - (chosen - rejected)): margin ranking with the margin 1."""
    return margin_ranking(chosen, rejected, 1.0)


def centring(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(chosen + rejected)^2, which pins the sum of a pair's scores to 0 (Eisenstein et al. 2023, arXiv:2312.09244)."""
    _check(chosen, rejected)
    return (chosen + rejected).square()


def _check(chosen: Tensor, rejected: Tensor) -> None:
    """Broadcasting would turn (P, 1) against (P,) into a silent (P, P)."""
    if chosen.ndim != 1 or chosen.shape != rejected.shape:
        raise ValueError(f"got scores of shapes {tuple(chosen.shape)} and {tuple(rejected.shape)}, must both be (P,)")
