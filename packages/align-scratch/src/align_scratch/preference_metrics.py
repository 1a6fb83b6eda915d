"""What a step of preference learning has to say, under the names that users of TRL know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from align_scratch.preference_losses import log_odds_ratio
from align_scratch.preference_scoring import RowScores

Metrics = dict[str, float | int | None]


class Sides:
    """The rows of a step, noted micro-batch by micro-batch: pairs as (2P,), P chosen and then P rejected, or labelled
    completions (N,)."""

    def __init__(self, chosen: Tensor, *, paired: bool) -> None:
        """`chosen` (2P,) or (N,) bool says on which side a row is."""
        self.chosen, self.paired = chosen, paired
        self.policy, self.reference, self.logits, self.lengths = torch.zeros(4, len(chosen), device=chosen.device)
        self.compared = False

    @torch.no_grad()
    def note(self, places: Tensor, scored: RowScores, reference: Tensor | None, lengths: Tensor) -> None:
        """What was found for the rows `places` (M,)."""
        self.policy[places] = scored.log_probs.float()
        self.logits[places] = scored.logits
        self.lengths[places] = lengths.float()
        if reference is not None:
            self.reference[places], self.compared = reference.float(), True

    def metrics(self, loss_type: str, beta: float) -> Metrics:
        """Means over each side: `rewards` are beta x log-ratio or, without a reference, beta x mean log-probability;
        `logps` are sums over tokens, or means where the loss takes means; `logits` are means over the vocabulary."""
        log_probs = self.policy if self.compared else self.policy / self.lengths
        rewards = beta * (log_probs - self.reference)
        metrics: Metrics = {}
        for name, side in (("chosen", self.chosen), ("rejected", ~self.chosen)):
            some = bool(side.any())
            metrics[f"rewards/{name}"] = float(rewards[side].mean()) if some else None
            metrics[f"logps/{name}"] = float(log_probs[side].mean()) if some else None
            metrics[f"logits/{name}"] = float(self.logits[side].sum() / self.lengths[side].sum()) if some else None
        high, low = metrics["rewards/chosen"], metrics["rewards/rejected"]
        metrics["rewards/margins"] = None if high is None or low is None else high - low
        if self.paired:
            chosen, rejected = rewards.chunk(2)
            metrics["rewards/accuracies"] = float((chosen > rejected).float().mean())
        if loss_type == "orpo":
            a_c, a_q = log_probs.chunk(2)
            odds = log_odds_ratio(a_c, a_q)
            metrics["nll_loss"] = float(-self.policy[self.chosen].sum() / self.lengths[self.chosen].sum())
            metrics["log_odds_ratio"] = float(F.logsigmoid(odds).mean())
            metrics["log_odds_chosen"] = float(odds.mean())
        return metrics


def preferred(chosen: Tensor, rejected: Tensor, beta: float) -> Metrics:
    """Share of pairs with chosen > rejected, ties as a half, and the mean of beta x (chosen - rejected): (P,) each."""
    difference = chosen - rejected
    return {
        "accuracy": float((difference > 0).float().mean() + (difference == 0).float().mean() / 2),
        "margin": float(beta * difference.mean()),
    }


def ranked(scores: Tensor, liked: Tensor, beta: float) -> Metrics:
    """The same over all pairs of one that was liked and one that was not: scores (N,), liked (N,) bool."""
    if bool(liked.all()) or not bool(liked.any()):
        return {"accuracy": None, "margin": None}
    difference = scores[liked][:, None] - scores[~liked]  # (L, N - L)
    return preferred(difference.flatten(), torch.zeros_like(difference).flatten(), beta)
