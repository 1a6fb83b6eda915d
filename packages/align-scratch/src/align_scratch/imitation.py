"""Supervised fine-tuning on completions that the policy has sampled itself, and that something has selected.

As in `sft`: the loss of an update is the mean of -log p over all its completion tokens, the end mark included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from align_scratch.config.imitation import ImitationConfig
from align_scratch.config.optimizer import OptimizerConfig
from align_scratch.losses import split
from align_scratch.metrics import records
from align_scratch.protocols import Model
from align_scratch.rollouts import Rollouts
from align_scratch.sampling_trainer import SamplingTrainer
from align_scratch.schedule import derived_seed
from align_scratch.sft import completion_loss
from align_scratch.state import update
from inference_scratch.score import Sequences


@dataclass(frozen=True, kw_only=True)
class Imitation:
    """What some passes over the selected came to: means over tokens and over updates; None where there was nothing."""

    loss: float | None
    mean_token_accuracy: float | None
    grad_norm: float | None
    updates: int

    def metrics(self) -> dict[str, float | int | None]:
        return {
            "updates": self.updates,
            "loss": self.loss,
            "mean_token_accuracy": self.mean_token_accuracy,
            "grad_norm": self.grad_norm,
        }


def imitate(
    model: Model,
    optimizer: torch.optim.Optimizer,
    named: Mapping[str, nn.Parameter],
    rows: Sequences,
    config: OptimizerConfig,
    *,
    batch_size: int,
    epochs: int,
    lr: float,
    seed: int,
    where: str,
) -> Imitation:
    """`epochs` passes over `rows` in a seeded order, in nearly equal batches of at most `batch_size`.

    In the mode that the model is in; without rows nothing happens. Raises TrainingDiverged, naming `where`.
    """
    n = len(rows.ids)
    generator = torch.Generator().manual_seed(seed)
    losses, hits, tokens, norms = 0.0, 0, 0, []
    for _ in range(epochs if n else 0):
        order = torch.randperm(n, generator=generator).to(rows.ids.device)
        for batch in split(order, -(-n // batch_size)):
            n_tokens = int(rows.completion_lengths[batch].sum())  # of the whole update, known before the split
            loss = 0.0
            for part in split(batch, config.grad_accum_steps):
                nll, right = completion_loss(model, rows.select(part))
                (nll / n_tokens).backward()  # type: ignore[no-untyped-call]
                loss, hits = loss + nll.item() / n_tokens, hits + right
            norms.append(update(optimizer, named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where))
            losses, tokens = losses + loss * n_tokens, tokens + n_tokens
    return Imitation(
        loss=losses / tokens if tokens else None,
        mean_token_accuracy=hits / tokens if tokens else None,
        grad_norm=sum(norms) / len(norms) if norms else None,
        updates=len(norms),
    )


class ImitatingTrainer(SamplingTrainer):
    """A trainer that keeps some of its samples, and imitates them as its next step; which ones is its own to say."""

    config: ImitationConfig
    _last: tuple[int, Rollouts, list[int]] | None = None

    def _imitate(self, rollouts: Rollouts, kept: list[int], lr: float) -> Imitation:
        """The passes over the rows that are `kept`. Raises TrainingDiverged, naming trainer and step."""
        config = self.config
        self.model.train(not config.disable_dropout)
        return imitate(
            self.model,
            self.optimizer,
            self.named,
            rollouts.sequences.select(torch.tensor(kept, dtype=torch.int64, device=self.device)),
            config,
            batch_size=config.batch_size,
            epochs=config.epochs,
            lr=lr,
            seed=derived_seed(self.seed, f"{self.name} order {self.step}"),
            where=f"{self.name} step {self.step + 1}",
        )

    def last_rollouts(self) -> list[Mapping[str, Any]]:
        """What was sampled for the last step, and whether it was `kept`; also after a step that failed.

        One JSON-able mapping a rollout; there is no advantage and no ratio here, so those are None.
        """
        if self._last is None:
            return []
        step, rollouts, kept = self._last
        unknown, chosen = torch.full((len(rollouts.scores),), torch.nan), set(kept)
        found = records(step, rollouts, unknown, unknown)
        return [{**record, "advantage": None, "kept": row in chosen} for row, record in enumerate(found)]
