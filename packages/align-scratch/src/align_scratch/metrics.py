"""What a step of reinforcement learning has to say, under the names that users of TRL know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from align_scratch.advantages import zero_variance
from align_scratch.losses import kl_penalty
from align_scratch.rollouts import Rollouts

Metrics = dict[str, float | int | None]


def describe(rollouts: Rollouts, reference: Tensor) -> Metrics:
    """Of the rollouts as sampled. `reference` (N, T): log-probabilities of another model, NaN where there are none.

    `entropy` is the mean of -log p over the sampled tokens, an unbiased estimate of the policy's entropy in nats a
    token; `kl` is k3, which is never negative.
    """
    rewards, generation = rollouts.rewards, rollouts.generation
    mask, lengths = generation.mask, generation.lengths
    compared = mask & ~reference.isnan()
    std = rewards.std(1)
    metrics: Metrics = {
        "reward": finite(rewards.nanmean()),
        "reward_std": finite(std.nanmean()),
        "frac_reward_zero_std": finite(zero_variance(rewards).double().mean()),
        "accuracy": sum(score.correct for score in rollouts.scores) / len(rollouts.scores),
        "kl": finite(kl_penalty(generation.log_probs[compared], reference[compared]).mean()),
        "entropy": finite(-generation.log_probs[mask].mean()),
        "completions/mean_length": finite(lengths.double().mean()),
        "completions/min_length": int(lengths.min()),
        "completions/max_length": int(lengths.max()),
        "completions/clipped_ratio": finite((~generation.finished).double().mean()),
        "reward/errors": int(rewards.isnan().sum()),
    }
    marked = [score.parts for score in rollouts.scores if score.parts]
    for part in sorted({name for parts in marked for name in parts}):
        values = [parts[part] for parts in marked if part in parts]
        metrics[f"rewards/{part}/mean"] = finite(sum(values) / len(values))
    return metrics


def update_means(totals: Mapping[str, float], difference: Tensor) -> Metrics:
    """Of the updates: means over them, clipped shares of their tokens; None where a step had no update.

    `difference` (N,): largest |log pi - log pi_old| of a row before the first update, NaN for rows of later ones. It
    is 0 up to rounding if sampling and scoring agree.
    """
    updates, tokens = totals["updates"], totals["tokens"]
    known = difference[~difference.isnan()]
    return {
        "loss": totals["loss"] / updates if updates else None,
        "grad_norm": totals["grad_norm"] / updates if updates else None,
        "clip_ratio/low_mean": totals["low"] / tokens if tokens else None,
        "clip_ratio/high_mean": totals["high"] / tokens if tokens else None,
        "clip_ratio/region_mean": (totals["low"] + totals["high"]) / tokens if tokens else None,
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
