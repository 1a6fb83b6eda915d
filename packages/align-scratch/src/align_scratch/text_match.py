"""How close a completion is to a gold text: exact match, and F1 over the bag of words (Rajpurkar et al. 2016).

Case, punctuation and articles count: nothing is normalised but outer white space.
"""

from __future__ import annotations

from collections import Counter


def exact_match(completion: str, gold: str) -> bool:
    """Whether both are the same text but for white space around them."""
    return completion.strip() == gold.strip()


def token_f1(completion: str, gold: str) -> float:
    """Harmonic mean of precision and recall of the completion's words, in 0..1; 1 if both have none."""
    got, want = Counter(completion.split()), Counter(gold.split())
    if not got or not want:
        return float(got == want)
    return 2 * (got & want).total() / (got.total() + want.total())
