"""What PPO's updates on one batch amount to, under the names that users of TRL's PPO know."""

from __future__ import annotations

import torch
from torch import Tensor


class PPOUpdates:
    """Sums over tokens of all updates, divided at the end: a token of a small minibatch counts as one of a large."""

    NAMES = ("policy", "value", "approxkl", "ratio", "low", "high", "held")

    def __init__(self) -> None:
        self._sums = dict.fromkeys(self.NAMES, 0.0)
        self._count, self._tokens = 0, 0
        self._loss, self._grad_norm = 0.0, 0.0

    @torch.no_grad()
    def watch(
        self,
        mask: Tensor,
        *,
        log_ratio: Tensor,
        policy: Tensor,
        value: Tensor,
        clipped: tuple[Tensor, Tensor],
        held: Tensor,
    ) -> None:
        """A micro-batch, all (M, T): log-ratios, token terms of both losses, where the clips take gradients away."""
        columns = (policy, value, log_ratio.square() / 2, log_ratio.exp(), *clipped, held)
        sums = torch.stack([mask.sum().double(), *(column[mask].sum().double() for column in columns)]).tolist()
        self._tokens += int(sums[0])
        for name, value_sum in zip(self.NAMES, sums[1:], strict=True):
            self._sums[name] += value_sum

    def done(self, loss: float, grad_norm: float) -> None:
        """An update was made."""
        self._count += 1
        self._loss, self._grad_norm = self._loss + loss, self._grad_norm + grad_norm

    def metrics(self) -> dict[str, float | int | None]:
        """None where there was no update."""
        count, tokens = self._count, self._tokens
        mean = {name: total / tokens if tokens else None for name, total in self._sums.items()}
        region = (self._sums["low"] + self._sums["high"]) / tokens if tokens else None
        return {
            "loss": self._loss / count if count else None,
            "grad_norm": self._grad_norm / count if count else None,
            "policy/approxkl_avg": mean["approxkl"],
            "policy/clipfrac_avg": region,
            "loss/policy_avg": mean["policy"],
            "loss/value_avg": mean["value"],
            "val/clipfrac_avg": mean["held"],
            "val/ratio": mean["ratio"],
            "clip_ratio/low_mean": mean["low"],
            "clip_ratio/high_mean": mean["high"],
            "clip_ratio/region_mean": region,
        }
