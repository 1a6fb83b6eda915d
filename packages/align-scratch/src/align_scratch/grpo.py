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

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from align_scratch.advantages import group_advantages, zero_variance
from align_scratch.config import GRPOConfig
from align_scratch.evaluation import Evaluation
from align_scratch.losses import clipped, clipped_surrogate, kl_penalty, row_weights, split, weighted_sum
from align_scratch.metrics import Updates, describe, records
from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.rollouts import Prompts, Rollouts, check_fit, longest_answer, roll_out
from align_scratch.schedule import Shuffled, derived_seed, learning_rate
from align_scratch.scoring import completion_logits, kl_divergence
from align_scratch.state import (
    adamw,
    load_model_state,
    load_optimizer_state,
    load_random_state,
    model_state,
    optimizer_state,
    random_state,
    trainable,
    update,
)
from inference_scratch.score import Sequences, completion_log_probs


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
        self.config, self.model, self.tokenizer, self.task, self.sampler = config, model, tokenizer, task, sampler
        self.adapter = adapter
        examples = task.examples("train")
        self.prompts = Prompts(tokenizer, examples)
        self.max_new_tokens = config.max_new_tokens or (longest_answer(tokenizer, examples) if examples else 1)
        check_fit(
            model=model,
            tokenizer=tokenizer,
            sampler=sampler,
            prompts=self.prompts.ids,
            max_new_tokens=self.max_new_tokens,
        )
        self.device = next(model.parameters()).device
        self.named = trainable(model)
        self.optimizer = adamw(self.named, config)
        self.batches = Shuffled(len(examples), config.prompts_per_step, derived_seed(seed, "grpo prompts"))
        self.generator = torch.Generator(self.device).manual_seed(derived_seed(seed, "grpo sampling"))
        self.evaluation = Evaluation(
            model=model, tokenizer=tokenizer, task=task, sampler=sampler, max_new_tokens=self.max_new_tokens
        )
        # pi_ref: the base below an adapter, else a frozen copy of the model as it is now.
        self.reference: Any = None
        if adapter is None and (config.kl_coef > 0 or config.track_kl > 0):
            self.reference = copy.deepcopy(model).eval().requires_grad_(False)
        self.step, self.num_tokens = 0, 0
        self._last: tuple[int, Rollouts, Tensor, Updates] | None = None

    def train(self) -> Iterator[Mapping[str, float | int | None]]:
        """Metrics after each step: one batch of rollouts and all updates on it."""
        config = self.config
        while self.step < config.steps:
            started = perf_counter()

            # For prompts q of the batch, sample o_1 .. o_G from pi_old, and mark them: rewards r (P, G).
            self.model.eval()
            examples, prompts = self.prompts.select(self.batches[self.step])
            rollouts = roll_out(
                self.model,
                self.tokenizer,
                self.task,
                examples,
                prompts,
                sampler=self.sampler,
                group_size=config.group_size,
                max_new_tokens=self.max_new_tokens,
                generator=self.generator,
            )
            old, mask = rollouts.generation.log_probs, rollouts.generation.mask  # log pi_old (N, T), m (N, T)
            kl = self._measure_kl(rollouts)
            sampled = perf_counter()

            # A_i = (r_i - mean(r)) / std(r): one for all tokens of o_i.
            advantages = group_advantages(rollouts.rewards, scale=config.scale_rewards)  # (P, G)
            advantages = advantages.flatten().to(self.device, old.dtype)  # (N,)
            kept = self._kept(rollouts)  # (N',): the rows that have something to say
            reference = self._reference_log_probs(rollouts) if config.kl_coef > 0 else None  # log pi_ref (N, T)
            updates = Updates(len(old), self.device)
            self._last = self.step + 1, rollouts, advantages, updates

            lr = learning_rate(
                self.step + 1,
                steps=config.steps,
                lr=config.lr,
                warmup_steps=config.warmup_steps,
                min_lr_ratio=config.min_lr_ratio,
            )
            self.model.train(not config.disable_dropout)
            for minibatch in split(kept, config.minibatches) * config.epochs_per_batch:
                # w_i = 1 / sum_i |o_i| over all rows of this update, known before they are split to save memory.
                weights = row_weights(config.loss_type, rollouts.generation.lengths[minibatch])
                loss = 0.0
                for rows, weight in zip(
                    split(minibatch, config.grad_accum_steps), split(weights, config.grad_accum_steps), strict=True
                ):
                    # rho_it = pi(o_it | q, o_i<t) / pi_old(o_it | q, o_i<t)
                    log_probs = self._log_probs(self.model, rollouts.sequences.select(rows))  # (M, T)
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

    def _log_probs(self, model: Model, rows: Sequences) -> Tensor:
        """log pi(o_it | q, o_i<t) under the sampler's distribution: (M, T), 0 at padding."""
        chunk = max(1024, 2**24 // self.model.vocab_size)  # at most 64 MB of fp32 logits at a time, or 1024 tokens
        return completion_log_probs(model, rows, sampler=self.sampler, chunk_tokens=chunk)[0]

    @torch.no_grad()
    def _reference_log_probs(self, rollouts: Rollouts) -> Tensor:
        """log pi_ref (N, T) of every rollout, for the KL term of the loss."""
        with self._as_reference() as reference:
            return self._log_probs(reference, rollouts.sequences)

    @torch.no_grad()
    def _measure_kl(self, rollouts: Rollouts) -> float | None:
        """KL(pi_old || pi_ref) in nats per token, exactly, on `track_kl` of the rollouts spread over the prompts."""
        if not self.config.track_kl:
            return None
        n = len(rollouts.completions)
        rows = rollouts.sequences.select(torch.arange(0, n, -(-n // self.config.track_kl), device=self.device))
        policy = self.sampler.log_probs(completion_logits(self.model, rows)[0])  # (M, V)
        with self._as_reference() as reference:
            base = self.sampler.log_probs(completion_logits(reference, rows)[0])  # (M, V)
        return float(kl_divergence(policy, base).mean())

    @contextmanager
    def _as_reference(self) -> Iterator[Model]:
        """pi_ref: the base below an adapter, else the frozen copy."""
        if self.adapter is None:
            yield self.reference
        else:
            with self.adapter.disabled():
                yield self.model

    # --- what a host asks for

    def evaluate(self) -> dict[str, float | int | None]:
        """Held-out accuracy, `greedy` and `sampled` in 0..1, and the mean `reward`; changes nothing."""
        return self.evaluation.run()

    def samples(self, n: int, /) -> list[Mapping[str, Any]]:
        """`n` held-out prompts with a completion and its marks, for a person to read; changes nothing."""
        return self.evaluation.samples(n)

    def last_rollouts(self) -> list[Mapping[str, Any]]:
        """What was sampled in the last step, one JSON-able mapping a rollout; also after a step that failed."""
        if self._last is None:
            return []
        step, rollouts, advantages, updates = self._last
        return records(step, rollouts, advantages, updates.difference)

    def state_dict(self) -> dict[str, Any]:
        state = {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "model": model_state(self.model),
            "optimizer": optimizer_state(self.optimizer, self.named),
            "random": random_state(self.device, self.generator),
        }
        if self.reference is not None:
            state["reference"] = {name: t.detach().clone() for name, t in self.reference.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        load_model_state(self.model, state["model"])
        load_optimizer_state(self.optimizer, self.named, state["optimizer"])
        load_random_state(self.device, self.generator, state["random"])
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])
        self.step, self.num_tokens = state["step"], state["num_tokens"]
