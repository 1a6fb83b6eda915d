"""GRPO: group relative policy optimization (Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, algorithm 1).

For each prompt q a group of completions o_1 .. o_G is sampled from the policy and marked by the task. A completion's
advantage is how much better it did than its group; there is no value network. The policy then takes a few clipped
gradient steps on those samples. With the defaults of DAPO (Yu et al. 2025, arXiv:2503.14476) the objective reads

    J = E [ 1 / sum_i |o_i|  sum_i sum_t  min( rho_it A_i, clip(rho_it, 1 - clip_low, 1 + clip_high) A_i )
            - kl_coef KL_it ],                                                                    (DAPO, eq. 8)
    A_i    = (r_i - mean(r_1 .. r_G)) / std(r_1 .. r_G),                                          (DAPO, eq. 9)
    rho_it = pi(o_it | q, o_i<t) / pi_old(o_it | q, o_i<t).

Departures, all of them options: the mean is over tokens and not over sequences of their means (`loss_type`), the upper
clip is wider than the lower, the weight of the KL term is 0, and groups whose rewards are all equal are left out of an
update (DAPO's dynamic sampling, eq. 11, without drawing others in their place). Outcome rewards only; pi_old are the
log-probabilities that the sampler itself reported, and both sides of the ratio are under the sampler's distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

from torch import Tensor

from align_scratch.advantages import group_advantages, zero_variance
from align_scratch.config.grpo import GRPOConfig
from align_scratch.losses import clipped, clipped_surrogate, kl_penalty, row_weights, split, weighted_sum
from align_scratch.metrics import Updates, describe, records
from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.reference import Reference
from align_scratch.rollout_source import RolloutSource
from align_scratch.rollouts import Rollouts
from align_scratch.scoring import sequence_log_probs
from align_scratch.state import (
    adamw,
    current_lr,
    load_model_state,
    load_optimizer_state,
    load_random_state,
    model_state,
    optimizer_state,
    random_state,
    trainable,
    update,
)


class GRPO:
    """Trainer `grpo`."""

    def __init__(
        self,
        config: GRPOConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: Task,
        sampler: Sampler,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> None:
        """Raises DoesNotFit if the parts cannot work together: no end mark, a short context, a sampler that masks."""
        self.config, self.model = config, model
        self.source = RolloutSource(
            config, model=model, tokenizer=tokenizer, task=task, sampler=sampler, seed=seed, name="grpo"
        )
        self.device = self.source.device
        self.named = trainable(model)
        self.optimizer = adamw(self.named, config)
        needed = config.kl_coef > 0 or config.track_kl > 0
        self.reference = Reference(model, adapter, sampler=sampler, needed=needed)  # pi_ref
        self.step, self.num_tokens = 0, 0
        self._last: tuple[int, Rollouts, Tensor, Updates] | None = None

    def train(self) -> Iterator[Mapping[str, float | int | None]]:
        """Metrics after each step: one batch of rollouts and all updates on it."""
        config = self.config
        while self.step < config.steps:
            started = perf_counter()

            # For prompts q of the batch, sample o_1 .. o_G from pi_old, and mark them: rewards r (P, G).
            rollouts = self.source.sample(self.step)
            old, mask = rollouts.generation.log_probs, rollouts.generation.mask  # log pi_old (N, T), m (N, T)
            kl = self.reference.measure_kl(rollouts.sequences, config.track_kl) if config.track_kl else None
            sampled = perf_counter()

            # A_i = (r_i - mean(r)) / std(r): one for all tokens of o_i.
            advantages = group_advantages(rollouts.rewards, scale=config.scale_rewards)  # (P, G)
            advantages = advantages.flatten().to(self.device, old.dtype)  # (N,)
            kept = self._kept(rollouts)  # (N',): the rows that have something to say
            reference = (
                self.reference.log_probs(rollouts.sequences) if config.kl_coef > 0 else None
            )  # log pi_ref (N, T)
            updates = Updates(len(old), self.device)
            self._last = self.step + 1, rollouts, advantages, updates

            lr = current_lr(config, self.step + 1)
            self.model.train(not config.disable_dropout)
            for minibatch in split(kept, config.minibatches) * config.epochs_per_batch:
                # w_i = 1 / sum_i |o_i| over all rows of this update, known before they are split to save memory.
                weights = row_weights(config.loss_type, rollouts.generation.lengths[minibatch])
                loss = 0.0
                for rows, weight in zip(
                    split(minibatch, config.grad_accum_steps), split(weights, config.grad_accum_steps), strict=True
                ):
                    # rho_it = pi(o_it | q, o_i<t) / pi_old(o_it | q, o_i<t)
                    log_probs = sequence_log_probs(self.model, rollouts.sequences.select(rows), self.source.sampler)
                    log_ratio = log_probs - old[rows]  # (M, T)
                    # -min(rho_it A_i, clip(rho_it, 1 - clip_low, 1 + clip_high) A_i) + kl_coef KL_it
                    terms = clipped_surrogate(log_ratio, advantages[rows], config.clip_low, config.clip_high)  # (M, T)
                    if reference is not None:
                        terms = terms + config.kl_coef * kl_penalty(log_probs, reference[rows], config.kl_estimator)
                    # -J = sum_i w_i sum_t m_it (...)
                    micro_loss = weighted_sum(terms, mask[rows], weight)
                    micro_loss.backward()  # type: ignore[no-untyped-call]
                    loss += micro_loss.item()
                    clip = clipped(log_ratio.detach(), advantages[rows], config.clip_low, config.clip_high)
                    updates.watch(rows, log_ratio, mask[rows], *clip)
                where = f"grpo step {self.step + 1}"
                grad_norm = update(
                    self.optimizer, self.named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where
                )
                updates.done(loss, grad_norm)

            self.step += 1
            self.num_tokens += int((rollouts.sequences.prompt_lengths + rollouts.sequences.completion_lengths).sum())
            yield {
                "step": self.step,
                **describe(rollouts),
                "kl": kl,
                **updates.metrics(),
                "lr": lr,
                "num_tokens": self.num_tokens,
                "time/generation": sampled - started,
                "time/training": perf_counter() - sampled,
            }

    def _kept(self, rollouts: Rollouts) -> Tensor:
        """Rows (N',) that take part in updates: not those without a reward, nor those that could only add zero."""
        keep = ~rollouts.rewards.isnan()  # (P, G)
        if self.config.drop_zero_variance and self.config.kl_coef == 0:
            keep &= ~zero_variance(rollouts.rewards)[:, None]
        keep = keep.flatten().to(self.device)
        if self.config.mask_truncated:
            keep &= rollouts.generation.finished
        return keep.nonzero()[:, 0]

    # --- what a host asks for

    def evaluate(self) -> dict[str, float | int | None]:
        """Held-out accuracy, `greedy` and `sampled` in 0..1, and the mean `reward`; changes nothing."""
        return self.source.evaluation.run()

    def samples(self, n: int, /) -> list[Mapping[str, Any]]:
        """`n` held-out prompts with a completion and its marks, for a person to read; changes nothing."""
        return self.source.evaluation.samples(n)

    def last_rollouts(self) -> list[Mapping[str, Any]]:
        """What was sampled in the last step, one JSON-able mapping a rollout; also after a step that failed."""
        if self._last is None:
            return []
        step, rollouts, advantages, updates = self._last
        return records(step, rollouts, advantages, updates.difference)

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "model": model_state(self.model),
            "optimizer": optimizer_state(self.optimizer, self.named),
            "random": random_state(self.device, self.source.generator),
            "reference": self.reference.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        load_model_state(self.model, state["model"])
        load_optimizer_state(self.optimizer, self.named, state["optimizer"])
        load_random_state(self.device, self.source.generator, state["random"])
        self.reference.load_state_dict(state["reference"])
        self.step, self.num_tokens = state["step"], state["num_tokens"]
