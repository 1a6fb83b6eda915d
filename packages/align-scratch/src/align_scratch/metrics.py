"""What a step of reinforcement learning has to say, under the names that users of TRL know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from align_scratch.advantages import zero_variance
from align_scratch.rollouts import Rollouts

Metrics = dict[str, float | int | None]


def describe(rollouts: Rollouts) -> Metrics:
    """Of the rollouts as sampled. `entropy` is the mean of -log p over the sampled tokens, an unbiased estimate of the
    policy's entropy in nats a token. Without groups, `reward_std` is that of the batch and no share is known."""
    rewards, generation, alone = rollouts.rewards, rollouts.generation, rollouts.group_size == 1
    metrics: Metrics = {
        "reward": finite(rewards.nanmean()),
        "reward_std": finite((rewards.T if alone else rewards).std(1).nanmean()),
        "frac_reward_zero_std": None if alone else finite(zero_variance(rewards).double().mean()),
        "accuracy": sum(score.correct for score in rollouts.scores) / len(rollouts.scores),
        "entropy": finite(-generation.log_probs[generation.mask].mean()),
        "completions/mean_length": finite(generation.lengths.float().mean()),
        "completions/min_length": int(generation.lengths.min()),
        "completions/max_length": int(generation.lengths.max()),
        "completions/clipped_ratio": finite((~generation.finished).float().mean()),
        "reward/errors": int(rewards.isnan().sum()),
    }
    marked = [score.parts for score in rollouts.scores if score.parts]
    for part in sorted({name for parts in marked for name in parts}):
        values = [parts[part] for parts in marked if part in parts]
        metrics[f"rewards/{part}/mean"] = finite(sum(values) / len(values))
    return metrics


class Updates:
    """What the updates on one batch of N rollouts amount to: means over updates, shares of their tokens."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.difference = torch.full((n,), torch.nan, device=device)
        """(N,): largest |log pi - log pi_old| of a row before the first update, 0 up to rounding if sampling and
        scoring agree; NaN for rows of later updates."""
        self._count, self._tokens, self._low, self._high = 0, 0, 0, 0
        self._loss, self._grad_norm = 0.0, 0.0

    @torch.no_grad()
    def watch(self, rows: Tensor, log_ratio: Tensor, mask: Tensor, below: Tensor, above: Tensor) -> None:
        """A micro-batch of `rows` (M,): its log-ratios (M, T), and where the clip takes the gradient (M, T) bool."""
        if self._count == 0:
            self.difference[rows] = (log_ratio.abs() * mask).amax(1)
        tokens, low, high = torch.stack((mask.sum(), (below & mask).sum(), (above & mask).sum())).tolist()
        self._tokens, self._low, self._high = self._tokens + tokens, self._low + low, self._high + high

    def done(self, loss: float, grad_norm: float) -> None:
        """An update was made."""
        self._count += 1
        self._loss, self._grad_norm = self._loss + loss, self._grad_norm + grad_norm

    def metrics(self) -> Metrics:
        """None where there was no update."""
        known = self.difference[~self.difference.isnan()]
        count, tokens = self._count, self._tokens
        return {
            "loss": self._loss / count if count else None,
            "grad_norm": self._grad_norm / count if count else None,
            "clip_ratio/low_mean": self._low / tokens if count else None,
            "clip_ratio/high_mean": self._high / tokens if count else None,
            "clip_ratio/region_mean": (self._low + self._high) / tokens if count else None,
            "sampling/sampling_logp_difference/max": finite(known.max()) if len(known) else None,
        }


def records(step: int, rollouts: Rollouts, advantages: Tensor, difference: Tensor) -> list[Mapping[str, Any]]:
    """One JSON-able mapping a rollout; advantages and differences (N,)."""
    generation = rollouts.generation
    columns = zip(
        rollouts.completions,
        rollouts.scores,
        advantages.tolist(),
        difference.tolist(),
        generation.lengths.tolist(),
        generation.finished.tolist(),
        strict=True,
    )
    rows: list[Mapping[str, Any]] = []
    for row, (completion, score, advantage, logp_difference, length, finished) in enumerate(columns):
        group = row // rollouts.group_size
        rows.append(
            {
                "step": step,
                "group": group,
                "prompt": rollouts.examples[group].prompt,
                "completion": completion,
                "answer": rollouts.examples[group].answer,
                "reward": finite(score.reward),
                "rewards": dict(score.parts),
                "correct": score.correct,
                "explanation": score.explanation,
                "advantage": advantage,
                "length": length,
                "truncated": not finished,
                "logp_difference": finite(logp_difference),
            }
        )
    return rows


def finite(value: Tensor | float) -> float | None:
    """As a Python number; None, which JSON can hold, for NaN and infinities."""
    number = float(value) if isinstance(value, torch.Tensor) else value
    return number if math.isfinite(number) else None
