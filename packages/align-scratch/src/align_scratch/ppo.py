"""PPO: proximal policy optimization for completions (Schulman et al. 2017, arXiv:1707.06347; for language models as in
Ziegler et al. 2019, arXiv:1909.08593, and Ouyang et al. 2022, arXiv:2203.02155).

A completion is an episode, a token an action. The policy is paid per token for staying near the model that it started
from, and at the last token for the whole; a value function learned beside it says what every prefix is worth. So each
token has an advantage of its own:

    r_t   = -kl_coef log(pi(y_t | x, y_<t) / pi_ref(y_t | x, y_<t))  + score(x, y) at the last token   (Ziegler, eq. 2)
    A_t   = sum_l (gamma lam)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l})                        (GAE, eq. 16; `gae.py`)
    L     = mean_t max(-rho_t A_t, -clip(rho_t, 1 - clip, 1 + clip) A_t)                   (PPO, eq. 7; `ppo_losses.py`)
            + vf_coef mean_t 1/2 max((V - R)^2, (V_old + clip(V - V_old) - R)^2) - ent_coef mean_t H_t      (PPO, eq. 9)

With gamma = 1 the rewards of a completion sum to score - kl_coef log(pi(y) / pi_ref(y)), whose best policy is
pi_ref exp(score / kl_coef) / Z. Means are over all tokens of a minibatch. pi_old and V_old are scored by one pass over
what was sampled, under the sampler's own distribution, so the first ratio is 1; what the sampler itself reported must
agree with it (`sampling/sampling_logp_difference/max`).

The score comes from the task's checker, or from the model of a run of trainer `reward` (`reward_model`). A completion
that could not be judged is left out of everything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from align_scratch.config.ppo import PPOConfig
from align_scratch.gae import KLController, gae, token_rewards, whiten
from align_scratch.losses import kl_penalty, split, weighted_sum
from align_scratch.metrics import Metrics, finite, records
from align_scratch.ppo_losses import policy_clipped, policy_terms, value_terms
from align_scratch.ppo_metrics import PPOUpdates
from align_scratch.protocols import Model
from align_scratch.rollouts import Rollouts
from align_scratch.sampling_trainer import SamplingTrainer
from align_scratch.saved_tensors import FOLDER
from align_scratch.state import (
    adamw,
    current_lr,
    update,
)
from align_scratch.value_head import Read, ValueFunction
from inference_scratch.score import Sequences

log = logging.getLogger(__name__)

FAR = 10.0
"""A score further from 0 than this drowns the divergence and the value loss; it is worth a line."""


class PPO(SamplingTrainer):
    """Trainer `ppo`."""

    name = "ppo"
    config: PPOConfig

    def __init__(self, config: PPOConfig, *, model: Model, **parts: Any) -> None:
        """As SamplingTrainer, which says what is raised; besides, DoesNotFit if `value_head` names none for here."""
        super().__init__(config, model=model, **parts)
        self.values = ValueFunction(model, config.value_trunk)  # V
        if config.value_head is not None:
            self.values.load(Path(config.value_head) / FOLDER)
        policy, values = self.named, self.values.parameters()
        self.named = policy | values
        head = dict(self.values.head.named_parameters())  # starts from nothing, and has to learn faster than all else
        trunk = {name: parameter for name, parameter in values.items() if name.startswith("value_trunk.")}
        self.optimizer = adamw(policy | trunk, config, eps=config.adam_eps)
        self.optimizer.add_param_group(
            {"params": list(head.values()), "weight_decay": 0.0, "lr_scale": config.value_lr_ratio}
        )
        self.controller = KLController(config.kl_coef, config.kl_target, config.kl_horizon)
        self.normaliser: tuple[float, float] | None = None  # mean and deviation of scores
        self._last: tuple[int, Rollouts, dict[str, Tensor]] | None = None

    def train(self) -> Iterator[Metrics]:
        """Metrics after each step: one batch of rollouts and all updates on it."""
        config = self.config
        while self.step < config.steps:
            started = perf_counter()

            # Run pi_old: completions y of prompts x, and their scores.
            rollouts = self._sample()
            scores = self._scores(rollouts)  # (N,), NaN where there is none
            rows, lengths = rollouts.sequences, rollouts.generation.lengths
            judged = ~scores.isnan()  # (N,)
            mask = rollouts.generation.mask & judged[:, None]  # m (N, T)
            kl = self.reference.measure_kl(rows, config.track_kl) if config.track_kl else None
            sampled = perf_counter()

            # r_t = -kl_coef KL_t, and the score at the last token.
            old, old_values, after = self._look_back(rows)  # log pi_old (N, T), V_old (N, T), V behind the end (N,)
            divergence = torch.zeros_like(old)  # (N, T)
            watched = self._watched(len(old))
            if len(watched):
                reference = self.reference.log_probs(rows.select(watched))
                divergence[watched] = kl_penalty(old[watched], reference, config.kl_estimator)
            kl_coef = self.controller.coef
            rewards = token_rewards(scores.nan_to_num(), divergence, lengths, kl_coef=kl_coef)  # (N, T)
            if config.whiten_rewards:
                rewards = whiten(rewards, mask, centre=False)

            # A_t and R_t = A_t + V_t, which is the target of the value function and is taken before whitening.
            if config.bootstrap_truncated:
                after = after.masked_fill(rollouts.generation.finished, 0)
            else:
                after = torch.zeros_like(after)
            advantages, returns = gae(
                rewards, old_values, lengths, gamma=config.gamma, lam=config.lam, after=after
            )  # (N, T)
            if config.whiten_advantages:
                advantages = whiten(advantages, mask)

            difference = ((old - rollouts.generation.log_probs).abs() * rollouts.generation.mask).amax(1)  # (N,)
            self._last = self.step + 1, rollouts, {
                "advantage": _row_means(advantages, mask),
                "value": old_values[:, 0],
                "kl": torch.full_like(old[:, 0], torch.nan).index_copy(0, watched, divergence[watched].sum(1)),
                "difference": difference,
            }  # fmt: skip

            updates = PPOUpdates()
            lr = current_lr(config, self.step + 1)
            self._mode(training=not config.disable_dropout)
            for minibatch in self._minibatches(judged.nonzero()[:, 0]):
                # 1 / sum of |y| over all rows of this update, known before they are split to save memory.
                n_tokens = int(lengths[minibatch].sum())
                loss = 0.0
                for part in split(minibatch, config.grad_accum_steps):
                    m, weights = mask[part], torch.full((len(part),), 1 / n_tokens, device=self.device)
                    read = Read(self.model, rows.select(part))
                    log_probs, entropy = read.log_probs(self.source.sampler, with_entropy=config.ent_coef > 0)
                    log_ratio = log_probs - old[part]  # log rho (M, T)
                    policy = policy_terms(log_ratio, advantages[part], config.clip, config.dual_clip)  # (M, T)
                    value, held = value_terms(self.values(read), old_values[part], returns[part], config.clip_value)
                    terms = policy + config.vf_coef * value
                    if entropy is not None:
                        terms = terms - config.ent_coef * entropy
                    part_loss = weighted_sum(terms, m, weights)
                    part_loss.backward()  # type: ignore[no-untyped-call]
                    loss += part_loss.item()
                    clipped = policy_clipped(log_ratio.detach(), advantages[part], config.clip)
                    updates.watch(m, log_ratio=log_ratio, policy=policy, value=value, clipped=clipped, held=held)
                where = f"ppo step {self.step + 1}"
                grad_norm = update(
                    self.optimizer, self.named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where
                )
                updates.done(loss, grad_norm)

            watched = watched[judged[watched]]
            sequence_kl = float(divergence[watched].sum(1).mean()) if len(watched) else 0.0  # nats a completion
            if config.kl_coef > 0:
                self.controller.update(sequence_kl, int(judged.sum()))
            score = float(scores.nanmean())
            metrics = self._counted(rollouts, kl=kl, lr=lr, started=started, sampled=sampled)
            metrics |= {
                "objective/kl": sequence_kl if len(watched) else None,
                "objective/entropy": finite(-(old * mask).sum(1)[judged].mean()),
                "objective/non_score_reward": -kl_coef * sequence_kl,
                "objective/rlhf_reward": score - kl_coef * sequence_kl,
                "objective/scores": score,
                "kl_coef": kl_coef,
                "val/explained_variance": _explained(old_values[mask], returns[mask]),
                "sampling/sampling_logp_difference/max": finite(difference.max()),
            }
            yield metrics | updates.metrics()

    def _watched(self, n: int) -> Tensor:
        """Rows whose divergence from pi_ref is known: all if it is in the reward, else `track_kl` of all, or none."""
        some = n if self.config.kl_coef > 0 else min(n, self.config.track_kl)
        return torch.arange(0, n if some else 0, -(-n // max(1, some)), device=self.device)

    def _scores(self, rollouts: Rollouts) -> Tensor:
        """What PPO maximises (N,): rewards, normalised, fined for a missing end, and cut, as far as the options say."""
        config = self.config
        scores = rollouts.rewards.flatten().to(self.device, torch.float32)  # (N,)
        if config.normalize_scores or (config.normalize_scores is None and self.scorer is not None):
            if self.normaliser is None:  # the first batch is the starting model's own
                judged = scores[~scores.isnan()].double()
                spread = float(judged.std()) if len(judged) > 1 else 0.0
                self.normaliser = float(judged.mean()), spread if spread > 1e-6 else 1.0
                log.warning(
                    "ppo: scores less %.4g, divided by %.4g, from now on: their mean and deviation over %d completions "
                    "of the starting model", *self.normaliser, len(judged),
                )  # fmt: skip
            mean, std = self.normaliser
            scores = (scores - mean) / std
        far = float(scores.nan_to_num().abs().max())
        if config.clip_scores is not None:
            if far > config.clip_scores:
                log.info("ppo step %d: scores up to %.4g are cut to %.4g", self.step + 1, far, config.clip_scores)
            scores = scores.clamp(-config.clip_scores, config.clip_scores)
        elif far > FAR and self.step == 0:
            log.warning("ppo: scores reach %.4g; normalize_scores or clip_scores would keep them in bounds", far)
        if config.missing_eos_penalty is not None:
            scores = scores - config.missing_eos_penalty * ~rollouts.generation.finished
        return scores

    @torch.no_grad()
    def _look_back(self, rows: Sequences) -> tuple[Tensor, Tensor, Tensor]:
        """log pi_old (N, T) and V_old (N, T) of what was sampled, and V (N,) behind it (0 unless that is wanted)."""
        config = self.config
        self._mode(training=False)
        found = []
        for part in split(
            torch.arange(len(rows.ids), device=self.device), config.minibatches * config.grad_accum_steps
        ):
            read = Read(self.model, rows.select(part), to_the_end=config.bootstrap_truncated)
            values = self.values(read)
            after = self.values.after(read) if config.bootstrap_truncated else values.new_zeros(len(part))
            found.append((read.log_probs(self.source.sampler)[0], values, after))
        old, values, after = (torch.cat(columns) for columns in zip(*found, strict=True))
        return old, values, after

    def _minibatches(self, rows: Tensor) -> Iterator[Tensor]:
        """Rows (M,) of each update: all rows in every pass, as sampled in the first, and in other orders after it."""
        for epoch in range(self.config.epochs_per_batch):
            order = rows
            if epoch > 0:
                order = rows[torch.randperm(len(rows), generator=self.source.generator, device=self.device)]
            yield from split(order, self.config.minibatches)

    def _mode(self, *, training: bool) -> None:
        self.model.train(training)
        self.values.train(training)

    def last_rollouts(self) -> list[Mapping[str, Any]]:
        """What was sampled in the last step, one JSON-able mapping a rollout; also after a step that failed.

        `advantage` is the mean over a completion's tokens, `value` what was expected before its first token.
        """
        if self._last is None:
            return []
        step, rollouts, columns = self._last
        found = records(step, rollouts, columns["advantage"], columns["difference"])
        pairs = zip(found, columns["value"].tolist(), columns["kl"].tolist(), strict=True)
        return [{**record, "value": finite(value), "kl": finite(kl)} for record, value, kl in pairs]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "kl_coef": self.controller.coef,
            "normaliser": None if self.normaliser is None else list(self.normaliser),
            "values": self.values.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        super().load_state_dict(state)
        self.values.load_state_dict(state["values"])
        self.controller.coef = state["kl_coef"]
        self.normaliser = None if state["normaliser"] is None else (state["normaliser"][0], state["normaliser"][1])

    def save(self, directory: Path, /) -> None:
        """Write the value function, which no model has a place for."""
        self.values.save(directory)

    def load(self, directory: Path, /) -> None:
        """Read what `save` wrote, the model being the saved one already."""
        self.values.load(directory)


def _row_means(values: Tensor, mask: Tensor) -> Tensor:
    """(N, T) -> (N,): means over the masked, 0 where there is nothing."""
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)


def _explained(values: Tensor, returns: Tensor) -> float | None:
    """1 - var(R - V) / var(R) over the batch's tokens: 1 = the value function foresees everything, 0 = nothing."""
    spread = float(returns.var(correction=0))
    return None if spread == 0 else finite(1 - (returns - values).var(correction=0) / spread)
