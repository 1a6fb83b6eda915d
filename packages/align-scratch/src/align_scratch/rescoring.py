"""Rewards from a trained reward model in place of the task's own, whose marks stay visible as the part `gold`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from align_scratch.protocols import Adapter, Model, Scorer, Tokenizer
from align_scratch.reward_model import RewardModel
from align_scratch.rollouts import Rollouts
from align_scratch.tasks.problems import Score


def load_scorer(run: str | None, model: Model, tokenizer: Tokenizer, adapter: Adapter | None) -> Scorer | None:
    """The reward model of the finished run `run`; None if none is named.

    Raises DoesNotFit if the run has none, or one of another vocabulary; DataError if its files are damaged.
    """
    return None if run is None else RewardModel.load(Path(run), model, tokenizer=tokenizer, adapter=adapter)


def rescore(rollouts: Rollouts, scorer: Scorer | None) -> Rollouts:
    """The same rollouts with the scorer's value as their reward; as they are if there is no scorer.

    What counts as correct is still the task's to say.
    """
    if scorer is None:
        return rollouts
    values = scorer.score(rollouts.sequences).double().cpu()  # (N,)
    scores = [
        Score(
            reward=value,
            correct=score.correct,
            parts={"reward_model": value, "gold": score.reward},
            explanation=score.explanation,
        )
        for score, value in zip(rollouts.scores, values.tolist(), strict=True)
    ]
    rewards = torch.where(values.isfinite(), values, torch.nan).view_as(rollouts.rewards)
    return dataclasses.replace(rollouts, scores=scores, rewards=rewards)
