"""What a step of reinforcement learning has to say, under the names that users of TRL know."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from align_scratch.advantages import zero_variance
from align_scratch.protocols import Score
from align_scratch.rollouts import Rollouts
from inference_scratch.generate import Generation

Metrics = dict[str, float | int | None]


def describe(rollouts: Rollouts) -> Metrics:
    """Of the rollouts as sampled. `entropy` is the mean of -log p over the sampled tokens, an unbiased estimate of the
    policy's entropy in nats a token. Without groups, `reward_std` is that of the batch and no share is known; without
    a checker there is no `accuracy`."""
    rewards, generation, alone = rollouts.rewards, rollouts.generation, rollouts.group_size == 1
    metrics: Metrics = {
        "reward": finite(rewards.nanmean()),
        "reward_std": finite(_spread(rewards.T if alone else rewards)),
        "frac_reward_zero_std": None if alone else finite(zero_variance(rewards).double().mean()),
        **_accuracy(rollouts),
        "entropy": finite(-generation.log_probs[generation.mask].mean()),
        "completions/mean_length": finite(generation.lengths.float().mean()),
        "completions/min_length": int(generation.lengths.min()),
        "completions/max_length": int(generation.lengths.max()),
        "completions/clipped_ratio": finite((~generation.finished).float().mean()),
        **_terminated(generation),
        "reward/errors": int(rewards.isnan().sum()),
    }
    marked = [score.parts for score in rollouts.scores if score.parts]
    for part in sorted({name for parts in marked for name in parts}):
        # A part that could not be judged is NaN: no value of its own, and no reason to hide the others.
        values = [parts[part] for parts in marked if not math.isnan(parts.get(part, math.nan))]
        metrics[f"rewards/{part}/mean"] = finite(sum(values) / len(values)) if values else None
        metrics[f"rewards/{part}/std"] = (
            finite(torch.tensor(values, dtype=torch.float64).std()) if len(values) > 1 else None
        )
    return metrics | failures(rollouts.scores)


def failures(scores: Iterable[Score]) -> dict[str, int]:
    """`rewards/PART/errors`, `.../timeouts`, `.../unparsed` and what else was counted in judging; only what occurred.

    The part `checker` is a task's checker as a whole.
    """
    counts: Counter[str] = Counter()
    for score in scores:
        counts.update(getattr(score, "counts", {}))
    return {f"rewards/{name}": count for name, count in sorted(counts.items()) if count}


def _spread(rewards: Tensor) -> Tensor:
    """The mean over groups of the standard deviation among their known rewards, of which there must be two: scalar."""
    known = ~rewards.isnan()  # (P, G)
    count = known.sum(1)  # (P,)
    squares = (rewards - rewards.nanmean(1, keepdim=True)).masked_fill(~known, 0).square().sum(1)  # (P,)
    return (squares / (count - 1).clamp(min=1)).sqrt()[count > 1].mean()


def _accuracy(rollouts: Rollouts) -> Metrics:
    right = sum(score.correct for score in rollouts.scores)
    return {"accuracy": right / len(rollouts.scores)} if rollouts.checked else {}


def _terminated(generation: Generation) -> Metrics:
    """Lengths of the completions that came to an end of their own; None where none did."""
    lengths = generation.lengths[generation.finished].float()
    known = len(lengths) > 0
    return {
        "completions/mean_terminated_length": finite(lengths.mean()) if known else None,
        "completions/min_terminated_length": int(lengths.min()) if known else None,
        "completions/max_terminated_length": int(lengths.max()) if known else None,
    }


class Updates:
    """What the updates on one batch of N rollouts amount to: means over updates, shares of their tokens."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.difference = torch.full((n,), torch.nan, device=device)
        """(N,): largest |log pi - log pi_engine| of a row as it was scored first, 0 up to rounding if sampling and
        scoring agree; NaN for rows that only later updates looked at."""
        self._count, self._tokens, self._low, self._high = 0, 0.0, 0.0, 0.0
        self._low_min, self._high_max = math.inf, -math.inf  # over rows, of the share of a row's tokens
        self._loss, self._grad_norm = 0.0, 0.0
        self._compared: list[Tensor] = []  # log pi - log pi_engine of the tokens that were compared
        self._cap = math.inf

    @torch.no_grad()
    def compare(self, rows: Tensor, log_ratio: Tensor, mask: Tensor, cap: float = math.inf) -> None:
        """Rows (M,) before any update: log pi - log pi_engine (M, T); `cap` as in `losses.truncated_ratio`."""
        self.difference[rows] = (log_ratio.abs() * mask).amax(1).to(self.difference.dtype)
        self._compared.append(log_ratio[mask])
        self._cap = cap

    @torch.no_grad()
    def watch(self, rows: Tensor, log_ratio: Tensor, mask: Tensor, below: Tensor, above: Tensor) -> None:
        """A micro-batch of `rows` (M,): its log-ratios (M, T), and where the clip takes the gradient (M, T) bool."""
        if self._count == 0 and self._cap == math.inf:
            self.compare(rows, log_ratio, mask)
        counts = torch.stack((mask.sum(1), (below & mask).sum(1), (above & mask).sum(1)))  # (3, M)
        shares = counts[1:].double() / counts[0].clamp(min=1)  # (2, M)
        numbers = torch.cat((counts.sum(1).double(), shares[0].amin(0, True), shares[1].amax(0, True)))  # (5,)
        tokens, low, high, low_min, high_max = numbers.tolist()  # the only wait for the device
        self._tokens, self._low, self._high = self._tokens + tokens, self._low + low, self._high + high
        self._low_min, self._high_max = min(self._low_min, low_min), max(self._high_max, high_max)

    def done(self, loss: float, grad_norm: float) -> None:
        """An update was made."""
        self._count += 1
        self._loss, self._grad_norm = self._loss + loss, self._grad_norm + grad_norm

    def metrics(self) -> Metrics:
        """None where there was no update."""
        count, tokens = self._count, self._tokens
        return {
            "loss": self._loss / count if count else None,
            "grad_norm": self._grad_norm / count if count else None,
            "clip_ratio/low_mean": self._low / tokens if count else None,
            "clip_ratio/low_min": self._low_min if count else None,
            "clip_ratio/high_mean": self._high / tokens if count else None,
            "clip_ratio/high_max": self._high_max if count else None,
            "clip_ratio/region_mean": (self._low + self._high) / tokens if count else None,
            **self._sampling(),
        }

    def _sampling(self) -> Metrics:
        """How far the policy that is trained was from the one that sampled, before the first update."""
        log_ratio = torch.cat(self._compared) if self._compared else torch.zeros(0)
        known = len(log_ratio) > 0
        ratio = log_ratio.exp().clamp(max=self._cap)
        difference, weight = "sampling/sampling_logp_difference", "sampling/importance_sampling_ratio"
        return {
            f"{difference}/mean": finite(log_ratio.abs().mean()) if known else None,
            f"{difference}/max": finite(log_ratio.abs().max()) if known else None,
            f"{weight}/min": finite(ratio.min()) if known else None,
            f"{weight}/mean": finite(ratio.mean()) if known else None,
            f"{weight}/max": finite(ratio.max()) if known else None,
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
                "reward": finite(score.reward),
                "rewards": {name: finite(value) for name, value in score.parts.items()},
                **({"answer": rollouts.examples[group].answer, "correct": score.correct} if rollouts.checked else {}),
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
