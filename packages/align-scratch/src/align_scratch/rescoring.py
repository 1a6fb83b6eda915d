"""Rewards from a trained reward model in place of the task's own, whose marks stay visible as the part `gold`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from align_scratch.errors import DoesNotFit
from align_scratch.protocols import Adapter, Scorer
from align_scratch.reward_model import RewardModel
from align_scratch.rollout_source import RolloutSource
from align_scratch.rollouts import Rollouts
from align_scratch.tasks.problems import Score


def load_scorer(run: str | None, source: RolloutSource, adapter: Adapter | None) -> Scorer | None:
    """The reward model of the finished run `run`, for what `source` samples, evaluations included; None if none is
    named.

    Raises DoesNotFit if the run has none, or one of another vocabulary or for shorter texts; DataError if its files are
    damaged.
    """
    if run is None:
        return None
    scorer = RewardModel.load(Path(run), source.model, tokenizer=source.tokenizer, adapter=adapter)
    longest = max(map(len, source.prompts.ids)) + source.max_new_tokens
    if scorer.max_length is not None and longest > scorer.max_length:
        raise DoesNotFit(
            f"reward_model: {run} reads {scorer.max_length} tokens at most, but prompt and completion here have up to "
            f"{longest}: train it with a longer encoder_length, or set a smaller max_new_tokens"
        )
    source.evaluation.scorer = scorer
    return scorer


def identity(scorer: Scorer | None) -> str | None:
    """SHA-256 of everything that a scorer computes with; None if it is no module, or there is none."""
    if not isinstance(scorer, nn.Module):
        return None
    digest = sha256()
    for name, tensor in sorted(scorer.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_same_scorer(run: str | None, now: str | None, state: Mapping[str, Any]) -> None:
    """Raises ValueError if `state` is of a trainer that was paid by another reward model than the one `run` has now.

    Only the path stands in a configuration, and another model may have been trained there meanwhile.
    """
    if state.get("scorer", now) != now:
        raise ValueError(
            f"reward_model: {run} holds another reward model than the one this run was paid by; put that one back, "
            "or begin a new run"
        )


def rescore(rollouts: Rollouts, scorer: Scorer | None) -> Rollouts:
    """The same rollouts with the scorer's value as their reward; as they are if there is no scorer.

    What counts as correct is still the task's to say, if it can.
    """
    if scorer is None:
        return rollouts
    values = scorer.score(rollouts.sequences).cpu().double()  # (N,)
    scores = [
        Score(
            reward=value,
            correct=score.correct,
            parts={"reward_model": value} | ({"gold": score.reward} if rollouts.checked else {}),
            explanation=score.explanation,
            counts={**getattr(score, "counts", {})} | ({} if math.isfinite(value) else {"reward_model/errors": 1}),
        )
        for score, value in zip(rollouts.scores, values.tolist(), strict=True)
    ]
    rewards = torch.where(values.isfinite(), values, torch.nan).view_as(rollouts.rewards)
    return dataclasses.replace(rollouts, scores=scores, rewards=rewards)
