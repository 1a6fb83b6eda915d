"""What a number of right and wrong answers says: Wilson intervals, pass@k, majority votes. Plain Python, no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

LEVEL = 0.95
"""Coverage of every interval."""


def wilson(successes: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of Wilson (1927) for a share: never empty, never outside 0..1, also for 0 of n and n of n.

    `successes` may be fractional: a mean of values in 0..1 has at most the variance of a share of ones and zeros, so
    with `n` independent values the interval is conservative.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes: got {successes} of {n}, must be in 0 .. n: it is a share")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, square = successes / n, z * z
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    # At the edges the bound is the edge itself, which rounding would miss.
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): of `n` draws `c` are right; the chance that one of `k` of them is, without bias.

    Chen et al. 2021, "Evaluating large language models trained on code", arXiv:2107.03374, eq. 1.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"k: got pass@{k} of {c} right ones among {n}, must be 0 <= right <= n and 1 <= k <= n")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def majority(answers: Sequence[str | None], correct: Sequence[bool]) -> float | None:
    """How right the most frequent answer is: 1 or 0, or a share if several are equally frequent.

    answers: normalised, so that equal ones mean the same; None does not vote. correct: of the same draws.
    A tie is broken by lot, and this is the mean over the lots: each tied answer counts alike, whatever order the draws
    came in. None if nobody votes, which counts as wrong.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return None
    most = max(votes.values())
    tied = [answer for answer, count in votes.items() if count == most]
    # A strict checker may tell texts of one normalised answer apart: an answer is then as right as they are on average.
    right = [sum(ok for given, ok in zip(answers, correct, strict=True) if given == answer) / most for answer in tied]
    return sum(right) / len(right)
