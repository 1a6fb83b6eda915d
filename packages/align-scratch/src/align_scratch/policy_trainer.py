"""What `grpo`, `rloo` and `reinforce` have in common besides an algorithm, beyond what every trainer has that samples.

`train()` is not here. Each trainer has its own, whole, in its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from align_scratch.config.policy_gradient import PolicyGradientConfig
from align_scratch.errors import DoesNotFit
from align_scratch.metrics import Metrics, Updates, records
from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.rollouts import Rollouts
from align_scratch.sampling_trainer import SamplingTrainer


class PolicyTrainer(SamplingTrainer):
    """A trainer that gives each completion an advantage; its reference may follow the policy."""

    config: PolicyGradientConfig

    def __init__(
        self,
        config: PolicyGradientConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: Task,
        sampler: Sampler,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> None:
        """Raises DoesNotFit if the parts cannot work together: no end mark, a short context, a sampler that masks, a
        reward model of another vocabulary, an adapter below which no reference can move."""
        if config.sync_ref_model and adapter is not None:
            raise DoesNotFit(
                "adapter: the reference is the base below it, which cannot follow the policy: "
                "set sync_ref_model=false, or train the whole model"
            )
        super().__init__(
            config, model=model, tokenizer=tokenizer, task=task, sampler=sampler, adapter=adapter, seed=seed
        )
        self._last: tuple[int, Rollouts, Tensor, Updates] | None = None

    def _judged(self, rollouts: Rollouts) -> Tensor:
        """Rows that can be learned from (N,) bool: those with a reward, if need be only those that came to an end."""
        judged = ~rollouts.rewards.isnan().flatten().to(self.device)
        return judged & rollouts.generation.finished if self.config.mask_truncated else judged

    def _finish(
        self, rollouts: Rollouts, *, kl: float | None, updates: Updates, lr: float, started: float, sampled: float
    ) -> Metrics:
        """Count the step, let the reference follow if it is time, and say what the step was."""
        metrics = self._counted(rollouts, kl=kl, lr=lr, started=started, sampled=sampled)
        if self.config.sync_ref_model and self.step % self.config.ref_model_sync_steps == 0:
            self.reference.sync(self.config.ref_model_mixup_alpha)
        return metrics | updates.metrics()

    def last_rollouts(self) -> list[Mapping[str, Any]]:
        """What was sampled in the last step, one JSON-able mapping a rollout; also after a step that failed."""
        if self._last is None:
            return []
        step, rollouts, advantages, updates = self._last
        return records(step, rollouts, advantages, updates.difference)
