"""GRPO: group relative policy optimization (Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, algorithm 1).

For each prompt q a group of completions o_1 .. o_G is sampled from the policy and marked by the task. A completion's
advantage is how much better it did than its group; there is no value network. The policy then takes a few clipped
gradient steps on those samples. With the defaults of DAPO (Yu et al. 2025, arXiv:2503.14476) the objective reads

    J = E [ 1 / sum_i |o_i|  sum_i sum_t  min( rho_it A_i, clip(rho_it, 1 - clip_low, 1 + clip_high) A_i )
            - kl_coef KL_it ]  + entropy_coef H,                                                  (DAPO, eq. 8)
    A_i    = (r_i - mean(r_1 .. r_G)) / std(r_1 .. r_G),                                          (DAPO, eq. 9)
    rho_it = pi(o_it | q, o_i<t) / pi_old(o_it | q, o_i<t).

Departures, all of them options: the mean is over tokens and not over sequences of their means (`loss_type`), the upper
clip is wider than the lower, the weight of the KL term is 0, and groups whose rewards are all equal are left out of an
update (DAPO's dynamic sampling, eq. 11; `resample` also draws others in their place). Outcome rewards only; pi_old is
what the sampler itself reported, and both sides of the ratio are under the sampler's distribution.

The relatives change the term of a token (`grpo_terms.py`), the weight of a row (`losses.row_weights`) or the advantage
(`advantages.py`), and nothing else here.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import torch
from torch import Tensor

from align_scratch.advantages import group_advantages, zero_variance
from align_scratch.config.grpo import GRPOConfig
from align_scratch.grpo_terms import held_back, kl_terms, policy_terms, sequence_kl
from align_scratch.losses import row_weights, split, truncated_ratio, weighted_sum
from align_scratch.metrics import Metrics, Updates
from align_scratch.policy_trainer import PolicyTrainer
from align_scratch.rollouts import Rollouts, concatenate
from align_scratch.scoring import sequence_entropies, sequence_log_probs
from align_scratch.state import current_lr, update


class GRPO(PolicyTrainer):
    """Trainer `grpo`."""

    name = "grpo"
    config: GRPOConfig

    def train(self) -> Iterator[Metrics]:
        """Metrics after each step: one batch of rollouts and all updates on it."""
        config, form = self.config, self.config.form
        while self.step < config.steps:
            started = perf_counter()

            # For prompts q of the batch, sample o_1 .. o_G from pi_old, and mark them: rewards r (P, G).
            rollouts = self._sample_groups()
            sequences, lengths = rollouts.sequences, rollouts.generation.lengths
            old, mask = rollouts.generation.log_probs, rollouts.generation.mask  # log pi_old (N, T), m (N, T)
            kl = self.reference.measure_kl(sequences, config.track_kl) if config.track_kl else None
            reference = self.reference.log_probs(sequences) if config.kl_coef > 0 else None  # log pi_ref (N, T)
            updates = Updates(len(old), self.device)
            correction = None
            if config.importance_cap is not None:
                # The sampler's numbers are another engine's: pi_old is what is trained, and min(pi_old / pi_engine, C)
                # says how much each of the engine's tokens counts.
                engine, old = old, self._score(rollouts)
                correction = truncated_ratio(old - engine, config.importance_cap)  # (N, T)
                updates.compare(torch.arange(len(old), device=self.device), old - engine, mask, config.importance_cap)
            sampled = perf_counter()

            # A_i = (r_i - mean(r)) / std(r): one for all tokens of o_i.
            rewards = rollouts.rewards  # (P, G)
            if reference is not None and config.kl_in == "reward":
                divergence = sequence_kl(config, old, reference, mask).double().cpu()  # (N,)
                rewards = rewards - config.kl_coef * divergence.view_as(rewards)
            advantages = group_advantages(
                rewards, baseline=config.baseline, scale=config.scale_rewards, eps=config.advantage_eps
            )  # (P, G)
            advantages = advantages.flatten().to(self.device, old.dtype)  # (N,)
            kept = self._kept(rollouts)  # (N',): the rows that have something to say
            self._last = self.step + 1, rollouts, advantages, updates

            lr = current_lr(config, self.step + 1)
            self.model.train(not config.disable_dropout)
            for minibatch in split(kept, config.minibatches) * config.epochs_per_batch:
                # w_i = 1 / sum_i |o_i| over all rows of this update, known before they are split to save memory.
                weights = row_weights(
                    form.length_norm,
                    lengths[minibatch],
                    constant=config.length_constant or self.source.max_new_tokens,
                    parts=config.grad_accum_steps,
                )
                share = row_weights("tokens", lengths[minibatch])[0]
                loss = 0.0
                for rows, weight in zip(
                    split(minibatch, config.grad_accum_steps), split(weights, config.grad_accum_steps), strict=True
                ):
                    # rho_it = pi(o_it | q, o_i<t) / pi_old(o_it | q, o_i<t)
                    log_probs, entropy = self._look(rollouts, rows)  # (M, T)
                    # -min(rho_it A_i, clip(rho_it, 1 - clip_low, 1 + clip_high) A_i) + kl_coef KL_it
                    terms = policy_terms(config, log_probs, old[rows], advantages[rows], mask[rows])  # (M, T)
                    if correction is not None:
                        terms = terms * correction[rows]
                    if reference is not None and config.kl_in == "loss":
                        terms = terms + config.kl_coef * kl_terms(
                            config, log_probs, old[rows], reference[rows], mask[rows]
                        )
                    # -J = sum_i w_i sum_t m_it (...) - entropy_coef H
                    micro_loss = weighted_sum(terms, mask[rows], weight)
                    if entropy is not None:
                        bonus = weighted_sum(entropy, mask[rows], share.expand(len(rows)))
                        micro_loss = micro_loss - config.entropy_coef * bonus
                    micro_loss.backward()  # type: ignore[no-untyped-call]
                    loss += micro_loss.item()
                    log_ratio = log_probs.detach() - old[rows]  # (M, T)
                    clip = held_back(config, log_ratio, advantages[rows], mask[rows])
                    updates.watch(rows, log_ratio, mask[rows], *clip)
                where = f"grpo step {self.step + 1}"
                grad_norm = update(
                    self.optimizer, self.named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where
                )
                updates.done(loss, grad_norm)

            metrics = self._finish(rollouts, kl=kl, updates=updates, lr=lr, started=started, sampled=sampled)
            if form.policy_loss == "cispo":
                metrics["cispo_clip_ratio"] = metrics["clip_ratio/high_mean"]
            if config.resample:
                metrics["prompts"] = len(rollouts.examples)
            yield metrics

    def _sample_groups(self) -> Rollouts:
        """The next batch, and up to `resample` more until `prompts_per_step` groups have rewards that differ."""
        parts = [self._sample()]
        while len(parts) <= self.config.resample:
            if sum(int((~zero_variance(part.rewards)).sum()) for part in parts) >= self.config.prompts_per_step:
                break
            parts.append(self._sample())
        return concatenate(parts)

    def _kept(self, rollouts: Rollouts) -> Tensor:
        """Rows (N',) that take part in updates: not those without a reward, nor those that could only add zero."""
        config = self.config
        keep = self._judged(rollouts)  # (N,)
        spread = ~zero_variance(rollouts.rewards)  # (P,)
        if config.resample:
            spread &= spread.cumsum(0) <= config.prompts_per_step
        own_group = config.baseline in ("group", "leave_one_out")
        if config.resample or (config.drop_zero_variance and own_group and config.kl_coef == config.entropy_coef == 0):
            keep &= spread.repeat_interleave(rollouts.group_size).to(self.device)
        return keep.nonzero()[:, 0]

    def _look(self, rollouts: Rollouts, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """log pi (M, T) of the rows (M,), and the entropies (M, T) if there is a bonus on them."""
        part = rollouts.sequences.select(rows)
        if self.config.entropy_coef > 0:
            return sequence_entropies(self.model, part, self.source.sampler)
        return sequence_log_probs(self.model, part, self.source.sampler), None

    @torch.no_grad()
    def _score(self, rollouts: Rollouts) -> Tensor:
        """log pi_old (N, T) as updates compute it, before any of them, in parts of the size of a micro-batch."""
        config = self.config
        rows = torch.arange(len(rollouts.completions), device=self.device)
        parts = split(rows, config.minibatches * config.grad_accum_steps)
        return torch.cat([self._look(rollouts, part)[0] for part in parts])
