"""SDPO: reinforcement learning via self-distillation (arXiv:2601.20802; official code lasgroup/SDPO).

The claim: a model that has seen a correct solution, or what was wrong with its own, predicts the tokens of its failed
attempt better than it wrote them. That prediction is a teacher with something to say about every token, where a reward
says one number about all of them.

One step: sample G completions of each prompt from the student and mark them. The teacher is the same model, at averaged
weights phi and behind a prompt c_i that also shows a success of the same group, or the feedback on the failure
(`reprompting`). It reads the *student's own tokens*; nothing is generated again. The student then moves towards the
teacher's distribution at each of them:

    L = 1/N sum_i 1/|o_i| sum_t  w_it  D( pi(. | q_i, o_i<t), pi_phi(. | c_i, o_i<t) ),
    w_it = min( pi(o_it) / pi_old(o_it), is_clip ), detached,

with D from `self_distillation`; completions without a context count 0. After the batch phi follows (`policy`).

Departures. The defaults are what was found to work on the small models here: reverse KL over the whole vocabulary. The
paper's settings are alpha 0.5, top_k 100, teacher_update_rate 0.05, lr 1e-5 without feedback, and alpha 1, top_k 20,
teacher_update_rate 0.01, lr 1e-6 with it. Feedback is off unless asked for (`include_feedback`): a model that has not
learnt to read it is taught noise by it. The teacher is the start (`frozen`) where the paper averages: SDPO itself does
not rehearse the reading of hints, and an averaged teacher of a small model forgets it after some hundred steps;
`rehearsal` is a term that does.
Distillation replaces the policy gradient, as in the official code; `policy_weight` and `kl_coef` put a clipped
policy-gradient loss and a penalty on the reference beside it, which some other implementations have and the official
one refuses. `loss_norm` "mean" is the official loss at one sequence a micro-batch and does not depend on the split;
"tokens" counts every distilled token alike.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from align_scratch.advantages import group_advantages
from align_scratch.errors import DoesNotFit
from align_scratch.losses import clipped_surrogate, kl_penalty, row_weights, split, weighted_sum
from align_scratch.metrics import Metrics, Updates
from align_scratch.policy_trainer import PolicyTrainer
from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.rollouts import Rollouts
from align_scratch.schedule import derived_seed
from align_scratch.scoring import completion_logits
from align_scratch.state import current_lr, update
from inference_scratch.score import Sequences, pack
from papers_scratch.config.sdpo import SDPOConfig
from papers_scratch.errors import PolicyCollapsed
from papers_scratch.sdpo.collapse import REMEDY, CollapseWatch
from papers_scratch.sdpo.policy import Reading, Teacher
from papers_scratch.sdpo.rehearsal import Rehearsal
from papers_scratch.sdpo.reprompting import Reprompt, describe_contexts, feedback_on, reprompt
from papers_scratch.sdpo.self_distillation import compare, one_sided_weight

MOST_LOGITS = 2**24  # numbers in the logits of one forward pass; beyond it a micro-batch is read in parts
PATIENCE = 10  # steps without anything to distil before a warning


class SDPO(PolicyTrainer):
    """Trainer `sdpo`."""

    name = "sdpo"
    config: SDPOConfig

    def __init__(
        self,
        config: SDPOConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: Task,
        sampler: Sampler,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> None:
        """Raises DoesNotFit as every trainer here does."""
        super().__init__(
            config, model=model, tokenizer=tokenizer, task=task, sampler=sampler, adapter=adapter, seed=seed
        )
        self.seed = seed
        self.teacher = Teacher(model, self.named, kind=config.teacher, rate=config.teacher_update_rate, mix=config.mix)
        self.inactive = 0  # steps in a row without anything to distil
        self.collapse = CollapseWatch(average=config.teacher == "ema")
        self._shown: Sequence[Reprompt] = ()

    def train(self) -> Iterator[Metrics]:
        """Metrics after each step: one batch of rollouts and all updates on it.

        Raises PolicyCollapsed behind the metrics of a step that shows a collapse, with `stop_on_collapse`.
        """
        config = self.config
        while self.step < config.steps:
            started = perf_counter()

            # Sample o_1 .. o_G from pi_old for each prompt q, and mark them.
            rollouts = self._sample()
            old, mask = rollouts.generation.log_probs, rollouts.generation.mask  # log pi_old (N, T), m (N, T)
            kl = self.reference.measure_kl(rollouts.sequences, config.track_kl) if config.track_kl else None
            reference = self.reference.log_probs(rollouts.sequences) if config.kl_coef > 0 else None  # (N, T)

            # c_i: the prompt with a success of the group, or with the feedback, in front of the student's own tokens.
            contexts = self._reprompt(rollouts)
            taught, overflow, teacher_rows = self._teacher_rows(rollouts, contexts)  # (N,) bool, count, rows
            taught &= self._judged(rollouts)
            most = MOST_LOGITS if config.epochs_per_batch > 1 else 0
            reading = Reading(self.teacher, teacher_rows, self.source.sampler, most_kept=most)
            rehearsal = Rehearsal(
                self.model, self.source.sampler, contexts=contexts, completions=rollouts.generation.to_lists(),
                teacher_rows=teacher_rows, taught=taught,
            ) if config.rehearsal > 0 else None  # fmt: skip
            advantages = group_advantages(rollouts.rewards, scale=config.scale_rewards)  # (P, G)
            advantages = advantages.flatten().to(self.device, old.dtype)  # (N,)
            used = taught if config.policy_weight == config.kl_coef == 0 else self._judged(rollouts)
            updates = Updates(len(old), self.device)
            said = old.new_zeros(len(old))  # (N,): mean of log q - log p at the sampled tokens
            self._last = self.step + 1, rollouts, said, updates
            self._shown = contexts
            sampled = perf_counter()

            lr = current_lr(config, self.step + 1)
            first_divergence = torch.zeros(2, device=self.device)  # sum over tokens, tokens; before any update
            minibatches = _minibatches(used, len(old), config.minibatches) * config.epochs_per_batch
            for number, (minibatch, n_rows) in enumerate(minibatches):
                # 1/N 1/|o_i|, with N counting the completions that are left out
                lengths = rollouts.generation.lengths[minibatch]
                weights = self._weights(lengths, taught[minibatch], n_rows)
                shares = row_weights("tokens", lengths)
                loss = 0.0
                for rows, weight, share in self._parts(minibatch, weights, shares, lengths):
                    real = mask[rows]  # (M', T)
                    teacher = reading(rows)  # log q (M, V)
                    self.model.train(not config.disable_dropout)
                    logits, ids = completion_logits(self.model, rollouts.sequences.select(rows))  # (M, V), (M,)
                    student = self.source.sampler.log_probs(logits)  # log p (M, V)
                    log_probs = student.gather(-1, ids[:, None])[:, 0]  # (M,)
                    terms = compare(config, student, teacher, ids)  # D(p, q) (M,)
                    difference = teacher.gather(-1, ids[:, None])[:, 0] - log_probs.detach()  # (M,): log q - log p
                    if number == 0:
                        seen = taught[rows].repeat_interleave(real.sum(1))  # (M,)
                        # The value of the sampled term is no divergence; log p - log q estimates the one that it is of.
                        apart = -difference if config.distillation == "sampled" else terms.detach()
                        first_divergence += torch.stack(((apart * seen).sum(), seen.sum()))
                    if config.is_clip is not None:
                        terms = terms * one_sided_weight(log_probs, old[rows][real], config.is_clip)
                    micro_loss = config.distillation_weight * weighted_sum(_as_rows(terms, real), real, weight)
                    now = _as_rows(log_probs, real)  # (M', T)
                    micro_loss = micro_loss + self._extras(
                        now, old[rows], advantages[rows], reference, rows, real, share
                    )
                    if rehearsal is not None:
                        micro_loss = micro_loss + config.rehearsal * rehearsal.loss(rows, n_rows)
                    micro_loss.backward()  # type: ignore[no-untyped-call]
                    loss += micro_loss.item()
                    log_ratio = now.detach() - old[rows]
                    updates.watch(rows, log_ratio, real, torch.zeros_like(real), torch.zeros_like(real))
                    mean = _as_rows(difference, real).sum(1) / real.sum(1).clamp(min=1)  # (M',)
                    said[rows] = (mean * taught[rows]).to(said.dtype)
                where = f"sdpo step {self.step + 1}"
                grad_norm = update(
                    self.optimizer, self.named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where
                )
                updates.done(loss, grad_norm)
            if minibatches:
                self.teacher.update()  # phi <- (1 - tau) phi + tau theta, once a batch
            self._count_inactive(bool(taught.any()), overflow)

            metrics = self._finish(rollouts, kl=kl, updates=updates, lr=lr, started=started, sampled=sampled)
            distilled, tokens = first_divergence.tolist()
            metrics |= describe_contexts(config, rollouts.rewards, contexts, taught, overflow)
            metrics["self_distillation/distillation_loss"] = distilled / tokens if tokens else None
            metrics["self_distillation/teacher_distance"] = self.teacher.distance()
            collapsed = self.collapse.see(metrics)
            metrics["self_distillation/collapsed"] = int(collapsed is not None)
            yield metrics
            if collapsed is not None and config.stop_on_collapse:
                raise PolicyCollapsed(f"sdpo: stopped after step {self.step}: {collapsed}; {REMEDY}")

    # --- the teacher's side

    def _reprompt(self, rollouts: Rollouts) -> list[Reprompt]:
        rng = random.Random(derived_seed(self.seed, f"sdpo demonstrations {self.step}"))
        return reprompt(
            self.config,
            prompts=[example.prompt for example in rollouts.examples],
            texts=rollouts.completions,
            rewards=rollouts.rewards,
            explanations=[feedback_on(self.config, score) for score in rollouts.scores],
            rng=rng,
        )

    def _teacher_rows(self, rollouts: Rollouts, contexts: Sequence[Reprompt]) -> tuple[Tensor, int, Sequences]:
        """Which completions have a teacher (N,), how many had none for want of room, and what it reads: its prompt
        and the student's own ids. A completion without a teacher stands behind its own prompt there."""
        config, limit = self.config, self.model.max_length
        texts = dict.fromkeys(context.text for context in contexts if context.text is not None)
        encoded = dict(zip(texts, self.source.tokenizer.encode_batch(list(texts)), strict=True))
        for text, ids in encoded.items():
            if len(ids) > config.max_reprompt_tokens:
                encoded[text] = self._cut(ids)
        completions = rollouts.generation.to_lists()
        own = [
            row[:n]
            for row, n in zip(rollouts.sequences.ids.tolist(), rollouts.sequences.prompt_lengths.tolist(), strict=True)
        ]
        prompts, taught, overflow = [], [], 0
        for context, completion, prompt in zip(contexts, completions, own, strict=True):
            shown = None if context.text is None else encoded[context.text]
            if shown is not None and limit is not None and len(shown) + len(completion) > limit:
                shown, overflow = None, overflow + 1
            taught.append(shown is not None)
            prompts.append(prompt if shown is None else shown)
        rows = pack(prompts, completions, device=self.device)
        return torch.tensor(taught, device=self.device), overflow, rows

    def _cut(self, ids: list[int]) -> list[int]:
        most = self.config.max_reprompt_tokens
        if self.config.reprompt_truncation == "error":
            raise DoesNotFit(
                f"max_reprompt_tokens: a teacher's prompt has {len(ids)} tokens, at most {most} are allowed: raise it, "
                "or choose which end is cut by reprompt_truncation"
            )
        return ids[:most] if self.config.reprompt_truncation == "right" else ids[-most:]

    # --- the student's side

    def _weights(self, lengths: Tensor, taught: Tensor, n_rows: int) -> Tensor:
        """Of each row's tokens (M,), for `lengths` (M,) and `taught` (M,) of one update of `n_rows` completions."""
        if self.config.loss_norm == "tokens":
            return taught / (lengths * taught).sum().clamp(min=1)
        return taught / (n_rows * lengths.clamp(min=1))

    def _parts(
        self, minibatch: Tensor, weights: Tensor, shares: Tensor, lengths: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The update's rows in micro-batches, none of which has more than MOST_LOGITS logits unless it is one row."""
        numbers = int(lengths.sum()) * self.model.vocab_size
        n = max(self.config.grad_accum_steps, -(-numbers // MOST_LOGITS))
        return zip(split(minibatch, n), split(weights, n), split(shares, n), strict=True)

    def _extras(
        self,
        now: Tensor,
        old: Tensor,
        advantages: Tensor,
        reference: Tensor | None,
        rows: Tensor,
        real: Tensor,
        share: Tensor,
    ) -> Tensor:
        """What the paper has not: a clipped policy-gradient loss, and a penalty on the distance from pi_ref."""
        config, extra = self.config, now.new_zeros(())
        if config.policy_weight > 0:
            terms = clipped_surrogate(now - old, advantages, config.clip_low, config.clip_high)  # (M', T)
            extra = extra + config.policy_weight * weighted_sum(terms, real, share)
        if reference is not None:
            extra = extra + config.kl_coef * weighted_sum(kl_penalty(now, reference[rows], "k2"), real, share)
        return extra

    def _count_inactive(self, active: bool, overflow: int) -> None:
        self.inactive = 0 if active else self.inactive + 1
        if self.inactive == PATIENCE:
            why = "no group has a success to show, and there is no feedback; warm-start, or take easier problems"
            if overflow:
                why = f"{overflow} teacher's prompts do not fit into the context of {self.model.max_length} tokens"
            warnings.warn(f"sdpo: nothing to distil for {PATIENCE} steps: {why}", stacklevel=2)

    # --- what a host asks for

    def last_rollouts(self) -> list[Mapping[str, Any]]:
        """As of every trainer here; `advantage` is the mean over tokens of log q - log p, what the teacher thinks of
        the completion, and `teacher_prompt` what it was shown."""
        rows = super().last_rollouts()
        return [{**row, "teacher_prompt": shown.text} for row, shown in zip(rows, self._shown, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "teacher": self.teacher.state_dict(), "inactive": self.inactive,
                "collapse": self.collapse.state_dict()}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        super().load_state_dict(state)
        self.teacher.load_state_dict(state["teacher"])
        self.inactive = state["inactive"]
        if "collapse" in state:  # states of earlier versions begin to watch anew
            self.collapse.load_state_dict(state["collapse"])


def _minibatches(used: Tensor, n: int, parts: int) -> list[tuple[Tensor, int]]:
    """The rows in use of each part of the batch, and how many completions it has; parts without any are left out."""
    everything = torch.arange(n, device=used.device)
    found = [(part[used[part]], len(part)) for part in split(everything, parts)]
    return [(rows, size) for rows, size in found if len(rows)]


def _as_rows(values: Tensor, real: Tensor) -> Tensor:
    """Values (M,) of the real tokens as rows (B, T), 0 elsewhere."""
    return values.new_zeros(real.shape).masked_scatter(real, values)
