"""REINFORCE (Williams 1992): the gradient of the expected reward, from samples, and nothing more.

    grad J = E [ sum_t grad log pi(o_t | q, o_<t) (R - b) ],       R = r - kl_coef log(pi(o | q) / pi_ref(o | q))

The baseline b changes the spread of the estimate and not its mean, as long as it does not depend on the completion:
`none`, the mean reward of the batch (Williams, section 4), or that of the completion's group. A mean that holds the
completion itself shrinks the expected gradient, by 1 / N or 1 / G, and does not turn it; dividing by the batch's
deviation changes the length of each estimate. One update a batch, so there is no old policy and nothing to clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import torch

from align_scratch.advantages import group_advantages
from align_scratch.config.reinforce import REINFORCEConfig
from align_scratch.losses import reinforce, row_weights, split, weighted_sum
from align_scratch.metrics import Metrics, Updates
from align_scratch.policy_trainer import PolicyTrainer
from align_scratch.scoring import sequence_log_probs
from align_scratch.state import current_lr, update


class REINFORCE(PolicyTrainer):
    """Trainer `reinforce`."""

    name = "reinforce"
    config: REINFORCEConfig

    def train(self) -> Iterator[Metrics]:
        """Metrics after each step: one batch of rollouts and the update on it."""
        config = self.config
        while self.step < config.steps:
            started = perf_counter()

            # Completions o of prompts q, and their rewards R = r - kl_coef log(pi(o | q) / pi_ref(o | q)).
            rollouts = self._sample()
            sampled_log_probs, mask = rollouts.generation.log_probs, rollouts.generation.mask  # (N, T), m (N, T)
            kl = self.reference.measure_kl(rollouts.sequences, config.track_kl) if config.track_kl else None
            rewards = rollouts.rewards  # (P, G)
            if config.kl_coef > 0:
                log_ratio = sampled_log_probs - self.reference.log_probs(rollouts.sequences)  # (N, T)
                divergence = log_ratio.masked_fill(~mask, 0).sum(1).double().cpu()  # (N,)
                rewards = rewards - config.kl_coef * divergence.view_as(rewards)
            sampled = perf_counter()

            # R - b
            advantages = group_advantages(rewards, baseline=config.baseline, scale=config.scale_rewards)  # (P, G)
            advantages = advantages.flatten().to(self.device, sampled_log_probs.dtype)  # (N,)
            updates = Updates(len(advantages), self.device)
            self._last = self.step + 1, rollouts, advantages, updates

            # -sum_i w_i sum_t m_it log pi(o_t | q, o_<t) (R_i - b)
            lr = current_lr(config, self.step + 1)
            self.model.train(not config.disable_dropout)
            rows = self._judged(rollouts).nonzero()[:, 0]  # (N',)
            weights = row_weights(config.length_norm, rollouts.generation.lengths[rows])
            loss = 0.0
            for part, weight in zip(
                split(rows, config.grad_accum_steps), split(weights, config.grad_accum_steps), strict=True
            ):
                log_probs = sequence_log_probs(self.model, rollouts.sequences.select(part), self.source.sampler)
                part_loss = weighted_sum(reinforce(log_probs, advantages[part]), mask[part], weight)
                part_loss.backward()  # type: ignore[no-untyped-call]
                loss += part_loss.item()
                nothing = torch.zeros_like(mask[part])
                updates.watch(part, log_probs - sampled_log_probs[part], mask[part], nothing, nothing)
            if len(rows):
                where = f"reinforce step {self.step + 1}"
                grad_norm = update(
                    self.optimizer, self.named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where
                )
                updates.done(loss, grad_norm)

            yield self._finish(rollouts, kl=kl, updates=updates, lr=lr, started=started, sampled=sampled)
