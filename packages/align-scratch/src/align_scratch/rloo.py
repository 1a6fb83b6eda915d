"""RLOO: REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv:2402.14740; Kool et al. 2019).

A completion is one action, not a string of them. It is paid for what the task says and for staying near the model that
training started from, and compared with the mean of the other completions of its prompt:

    R_i = r_i - kl_coef log(pi_old(o_i | q) / pi_ref(o_i | q)),                                   (Ahmadian, eq. 3)
    A_i = R_i - 1 / (G - 1) sum_{j != i} R_j  =  G / (G - 1) (R_i - mean(R)),                     (Ahmadian, eq. 8)
    rho_i = pi(o_i | q) / pi_old(o_i | q),
    J   = E [ 1 / B sum_i min( rho_i A_i, clip(rho_i, 1 - clip_low, 1 + clip_high) A_i ) ].

The first gradient on a batch is that of E[r] - kl_coef KL(pi || pi_ref) without bias: the baseline does not depend on
the completion, the divergence is of whole sequences, and nothing divides by a deviation. So where updates are small the
policy ends at pi_ref exp(r / kl_coef) / Z. The clip is a departure from the paper, which takes one step a batch; with
`minibatches=1` and `epochs_per_batch=1` it never acts.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import torch

from align_scratch.advantages import EPS, group_advantages
from align_scratch.config.rloo import RLOOConfig
from align_scratch.losses import clipped, clipped_surrogate, row_weights, split, weighted_sum
from align_scratch.metrics import Metrics, Updates
from align_scratch.policy_trainer import PolicyTrainer
from align_scratch.scoring import sequence_log_probs
from align_scratch.state import current_lr, update


class RLOO(PolicyTrainer):
    """Trainer `rloo`."""

    name = "rloo"
    config: RLOOConfig

    def train(self) -> Iterator[Metrics]:
        """Metrics after each step: one batch of rollouts and all updates on it."""
        config = self.config
        while self.step < config.steps:
            started = perf_counter()

            # For prompts q of the batch, sample o_1 .. o_G from pi_old, and mark them: rewards r (P, G).
            rollouts = self._sample()
            old, mask = rollouts.generation.log_probs, rollouts.generation.mask  # log pi_old (N, T), m (N, T)
            kl = self.reference.measure_kl(rollouts.sequences, config.track_kl) if config.track_kl else None
            sampled = perf_counter()

            # R_i = r_i - kl_coef log(pi_old(o_i | q) / pi_ref(o_i | q))
            rewards = rollouts.rewards  # (P, G)
            if config.reward_clip is not None:
                rewards = rewards.clamp(-config.reward_clip, config.reward_clip)
            if config.kl_coef > 0:
                log_ratio = (old - self.reference.log_probs(rollouts.sequences)).masked_fill(~mask, 0).sum(1)  # (N,)
                rewards = rewards - config.kl_coef * log_ratio.double().cpu().view_as(rewards)

            # A_i = R_i - 1 / (G - 1) sum_{j != i} R_j
            advantages = group_advantages(rewards, baseline="leave_one_out", scale="none")  # (P, G)
            if config.normalize_advantages:
                valid = advantages[~rewards.isnan()]
                scaled = (advantages - valid.mean()) / (valid.std() + EPS)
                advantages = torch.where(advantages == 0, 0, scaled)  # their mean is 0 but for rounding
            advantages = advantages.flatten().to(self.device, old.dtype)  # (N,)
            updates = Updates(len(old), self.device)
            self._last = self.step + 1, rollouts, advantages, updates

            lr = current_lr(config, self.step + 1)
            self.model.train(not config.disable_dropout)
            rows = self._judged(rollouts).nonzero()[:, 0]  # (N',)
            for minibatch in split(rows, config.minibatches) * config.epochs_per_batch:
                weights = row_weights("sum", rollouts.generation.lengths[minibatch])  # w_i = 1 / B
                # Without an advantage a row adds nothing but its place in B, so nothing is computed for it.
                some = advantages[minibatch] != 0  # (M,)
                loss = 0.0
                for part, weight in zip(
                    split(minibatch[some], config.grad_accum_steps),
                    split(weights[some], config.grad_accum_steps),
                    strict=True,
                ):
                    # rho_i = pi(o_i | q) / pi_old(o_i | q)
                    log_probs = sequence_log_probs(self.model, rollouts.sequences.select(part), self.source.sampler)
                    log_ratio = log_probs - old[part]  # (M, T)
                    whole = log_ratio.masked_fill(~mask[part], 0).sum(1, keepdim=True)  # (M, 1): one term a completion
                    # -min(rho_i A_i, clip(rho_i, 1 - clip_low, 1 + clip_high) A_i)
                    terms = clipped_surrogate(whole, advantages[part], config.clip_low, config.clip_high)  # (M, 1)
                    part_loss = weighted_sum(terms, torch.ones_like(terms, dtype=torch.bool), weight)
                    part_loss.backward()  # type: ignore[no-untyped-call]
                    loss += part_loss.item()
                    below, above = clipped(whole.detach(), advantages[part], config.clip_low, config.clip_high)
                    updates.watch(part, log_ratio, mask[part], below, above)
                if not some.any():
                    continue
                where = f"rloo step {self.step + 1}"
                grad_norm = update(
                    self.optimizer, self.named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where
                )
                updates.done(loss, grad_norm)

            yield self._finish(rollouts, kl=kl, updates=updates, lr=lr, started=started, sampled=sampled)
