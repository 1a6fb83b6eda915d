"""What to ask of a reward model beyond its accuracy: can its confidence be trusted, does it like length, and what does
a policy gain in truth when it gains in the model's eyes?
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


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
    """Mean gold and proxy reward of the completion that `proxy` likes best of n, for each n: over-optimisation at a
    glance (Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760, section 3).

    Proxy and gold rewards (P, N) of N samples for each of P prompts; every n is at most N. Exact, over all choices of n
    out of N, and not over one draw: after sorting by proxy, the one at rank k (from 0, the worst) is the best of
    C(k, n - 1) of all C(N, n) choices. Equal proxies share their gold. Where the proxy goes on rising with n and the
    gold falls, the policy learns the model's mistakes.
    """
    if proxy.ndim != 2 or proxy.shape != gold.shape:
        raise ValueError(f"got shapes {tuple(proxy.shape)} and {tuple(gold.shape)}, must both be (P, N)")
    most = proxy.shape[1]
    proxy, gold = proxy.double(), gold.double()
    order = proxy.argsort(1)
    ranked = proxy.gather(1, order)  # (P, N)
    tied = torch.stack([_share_of_ties(p, g) for p, g in zip(ranked, gold.gather(1, order), strict=True)])
    curve: list[Mapping[str, float]] = []
    for n in ns:
        if not 1 <= n <= most:
            raise ValueError(f"n: got {n}, must be between 1 and the {most} samples of a prompt")
        chance = torch.tensor([math.comb(k, n - 1) / math.comb(most, n) for k in range(most)], dtype=torch.float64)
        curve.append(
            {
                "n": n,
                "kl": best_of_n_kl(n),
                "proxy": float((ranked * chance).sum(1).mean()),
                "gold": float((tied * chance).sum(1).mean()),
            }
        )
    return curve


def _share_of_ties(proxy: Tensor, gold: Tensor) -> Tensor:
    """Gold (N,) with the mean of each run of equal proxies (N,) in the place of its members."""
    _, run = torch.unique_consecutive(proxy, return_inverse=True)
    counts = torch.zeros(len(proxy), dtype=gold.dtype).index_add(0, run, torch.ones_like(gold))
    sums = torch.zeros(len(proxy), dtype=gold.dtype).index_add(0, run, gold)
    return (sums / counts.clamp(min=1))[run]
