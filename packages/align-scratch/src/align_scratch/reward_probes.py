"""What to ask of a reward model beyond its accuracy: can its confidence be trusted, does it like length, and what does
a policy gain in truth when it gains in the model's eyes?
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from align_scratch.best_of_n import best_of_curve


def calibration_error(difference: Tensor, *, bins: int = 10) -> float:
    """Expected calibration error of pair predictions, in 0..1: score differences chosen - rejected (P,).

    The model says with confidence s(|d|) in [1/2, 1] which one was chosen, and is right where d > 0 (half right at a
    tie). Mean over equal bins of |share right - mean confidence|, weighted by how full they are (Naeini et al. 2015).
    """
    if not len(difference):
        return math.nan
    confidence = torch.sigmoid(difference.double().abs())  # (P,)
    right = (difference > 0).double() + (difference == 0).double() / 2
    place = ((confidence - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64).index_add(0, place.cpu(), (right - confidence).cpu())
    return float(gap.abs().sum() / len(difference))


def length_bias(scores: Tensor, lengths: Tensor, quality: Tensor) -> float | None:
    """Correlation in -1..1 of score and length among completions of equal quality, each (N,).

    Means of each class of `quality` (whatever numbers it holds) are taken off both before they are correlated, so that
    length that merely goes with quality does not count. None where lengths or scores do not vary within a class.
    """
    x, y = lengths.double().clone(), scores.double().clone()
    for value in torch.unique(quality):
        of = quality == value
        x[of] -= x[of].mean()
        y[of] -= y[of].mean()
    spread = float(x.square().sum() * y.square().sum())
    return float((x * y).sum()) / math.sqrt(spread) if spread > 1e-12 else None


def best_of_n_kl(n: int) -> float:
    """KL in nats of picking the best of n samples from sampling once: ln n - (n - 1) / n, an upper bound that is met
    where no two samples are equal (Stiennon et al. 2020; Beirami et al. 2024, arXiv:2401.01879)."""
    if n < 1:
        raise ValueError(f"n: got {n}, must be at least 1")
    return math.log(n) - (n - 1) / n


def best_of_n_curve(proxy: Tensor, gold: Tensor, ns: Sequence[int]) -> list[Mapping[str, float]]:
    """Mean proxy and gold reward of the completion that `proxy` likes best of n, for each n: over-optimisation at a
    glance (Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760, section 3).

    Proxy and gold rewards (P, N) of N samples for each of P prompts; every n is at most N. Each point has `n`, `kl`
    (nats from sampling once), `proxy` and `gold`. Where the proxy goes on rising with the divergence and the gold
    falls, a policy learns the model's mistakes.
    """
    rises, truth = best_of_curve(proxy, proxy, ns), best_of_curve(proxy, gold, ns)
    return [
        {"n": n, "kl": best_of_n_kl(n), "proxy": rise, "gold": true}
        for n, rise, true in zip(ns, rises, truth, strict=True)
    ]


def best_against_kl(points: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The point of a curve with the most gold, the first of equals: beyond it the proxy is over-optimised."""
    if not points:
        raise ValueError("points: got none, must be the points of a curve")
    return max(points, key=lambda point: point["gold"])


def rank_correlation(proxy: Tensor, gold: Tensor) -> float | None:
    """Spearman's correlation in -1..1 of proxy and gold rewards (N,), equal ones sharing their mean rank: how far the
    model orders samples as the truth does. None where either does not vary."""
    x, y = _ranks(proxy), _ranks(gold)
    x, y = x - x.mean(), y - y.mean()
    spread = float(x.square().sum() * y.square().sum())
    return float((x * y).sum()) / math.sqrt(spread) if spread > 0 else None


def _ranks(values: Tensor) -> Tensor:
    """(N,) -> mean ranks (N,) fp64."""
    _, place, counts = torch.unique(values.double(), return_inverse=True, return_counts=True)
    end = counts.cumsum(0)
    ranks: Tensor = ((2 * end - counts - 1).double() / 2)[place]
    return ranks


def training_curve(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    """`step`, `kl`, `proxy` and `gold` of the steps of a run that learned from a reward model: what Gao et al. plot.

    Rows are metrics of `ppo`, `grpo` and their relatives with `reward_model`, as metrics.jsonl has them; rows that lack
    one of the three are passed over. The divergence is `objective/kl`, summed over a completion, where there is one,
    else `kl`, by token.
    """
    curve: list[Mapping[str, float]] = []
    for row in rows:
        kl = row.get("objective/kl", row.get("kl"))
        found = {"kl": kl, "proxy": row.get("rewards/reward_model/mean"), "gold": row.get("rewards/gold/mean")}
        if row.get("step") is not None and None not in found.values():
            curve.append({"step": row["step"], **found})
    return curve
