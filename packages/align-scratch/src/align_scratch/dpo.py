"""DPO and its relatives: learning from preferences without a reward model and without sampling.

Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290). The policy that is best for rewards r at a
price of beta for each nat of divergence from pi_ref is pi(y | x) = pi_ref(y | x) exp(r(x, y) / beta) / Z(x) (eq. 4), so
a policy says by itself which reward it is best for: r(x, y) = beta log pi(y | x) / pi_ref(y | x), up to a constant for
each prompt (eq. 5). Fitting that reward to preferences, as a reward model would be, is DPO:

    L = - mean_i log s( beta [log pi(c_i | x_i) / pi_ref(c_i | x_i) - log pi(q_i | x_i) / pi_ref(q_i | x_i)] )   (eq. 7)

for pairs of a chosen c and a rejected q. `loss_type` takes another function in the place of -log s, or, for orpo and
simpo, other numbers than log-ratios: `preference_losses.py` has them all. kto looks at completions one by one.

Log-probabilities are sums over a completion's tokens, its end mark included, under the sampler's distribution. Both
sides of all pairs go through the model as one batch; every sum is divided by what is known before it is split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from align_scratch.config.dpo import WITHOUT_REFERENCE, DPOConfig
from align_scratch.evaluation import Evaluation
from align_scratch.losses import split
from align_scratch.preference_data import LabelledRows, PairRows
from align_scratch.preference_losses import Side, kto, kto_reference_point, preference_loss
from align_scratch.preference_metrics import preferred, ranked
from align_scratch.preference_reference import KnownReference, both_log_probs
from align_scratch.preference_scoring import log_probs_of, score_rows
from align_scratch.preference_source import PreferenceSource
from align_scratch.protocols import Adapter, Model, Sampler, Tokenizer
from align_scratch.reward_model import evaluating
from align_scratch.rollouts import longest_answer
from align_scratch.state import adamw, current_lr, load_training_state, trainable, training_state, update


class DPO:
    """Trainer `dpo`."""

    def __init__(
        self,
        config: DPOConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: Any,
        sampler: Sampler,
        adapter: Adapter | None = None,
        seed: int = 0,
        reference_model: Model | None = None,
    ) -> None:
        """`reference_model`: pi_ref, if it is to be another model than the policy as it is now.

        Raises DoesNotFit if the parts cannot work together: a task without pairs or, to sample them, without a checker,
        a reference of another vocabulary, nothing that fits into the context. DataError if a pair lacks a side.
        """
        self.config, self.model, self.sampler = config, model, sampler
        self.named = trainable(model)
        self.optimizer = adamw(self.named, config)
        self.source = PreferenceSource(config, model=model, tokenizer=tokenizer, task=task, sampler=sampler, seed=seed)
        self.device, self.paired = self.source.device, self.source.paired
        self.compared = config.loss_type not in WITHOUT_REFERENCE
        if self.source.rollouts is not None:
            self.last_rollouts = self._last_rollouts  # a trainer that samples nothing has no such method
        self.evaluation = None
        if hasattr(task, "check"):
            examples = task.examples("train")
            longest = config.max_new_tokens or (longest_answer(tokenizer, examples) if examples else 1)
            self.evaluation = Evaluation(
                model=model, tokenizer=tokenizer, task=task, sampler=sampler, max_new_tokens=longest
            )

        self.reference = KnownReference(
            model, adapter, sampler=sampler, compared=self.compared, precompute=config.precompute_ref_log_probs,
            reference_model=reference_model,
        )  # fmt: skip
        self.step, self.num_tokens = 0, 0

    def train(self) -> Iterator[Mapping[str, float | int | None]]:
        """Metrics after each step."""
        config = self.config
        self._prepare()
        while self.step < config.steps:
            started = perf_counter()
            sampling = self._sample() if self.source.is_due(self.step) else {}
            sampled = perf_counter()
            rows, batch = self.source.batch(self.step)  # P pairs as (2P, T), chosen first; or N labelled as (N, T)
            count = len(rows)
            parts = split(torch.arange(count, device=self.device), config.grad_accum_steps)
            self.model.train(not config.disable_dropout)

            reference = self.reference.of(rows, batch, paired=self.paired)  # log pi_ref (2P,) or (N,)
            z0 = None if self.paired else self._reference_point(rows)
            chosen_tokens = int(batch.completion_lengths[:count].sum())  # of pairs
            loss, seen = 0.0, self.source.sides(rows)
            for part in parts:
                places = torch.cat((part, part + count)) if self.paired else part  # (2M,) or (M,)
                # log pi(c | x) and log pi(q | x), summed over tokens, by one pass over both
                micro = batch.select(places)
                scored = score_rows(self.model, micro, self.sampler)
                held_to = None if reference is None else reference[places]
                lengths = micro.completion_lengths
                if z0 is None:
                    c, q = _two_sides(scored.log_probs, held_to, lengths)
                    terms = preference_loss(
                        config.loss_type, c, q, beta=config.used_beta, label_smoothing=config.used_smoothing,
                        simpo_gamma=config.simpo_gamma, f_divergence=config.f_divergence_type,
                        f_alpha=config.f_alpha_divergence_coef,
                    )  # fmt: skip  # (M,)
                    # -log pi(c | x) a token: the mean over all chosen tokens of the step
                    likelihood = -config.used_nll_coef * c.log_probs.sum() / chosen_tokens
                    micro_loss = terms.sum() / count + likelihood
                else:
                    terms = kto(
                        Side(log_probs=scored.log_probs, lengths=lengths, reference=held_to).log_ratio,
                        seen.chosen[places], z0, beta=config.used_beta,
                        desirable_weight=config.desirable_weight, undesirable_weight=config.undesirable_weight,
                    )  # fmt: skip  # (M,)
                    micro_loss = terms.sum() / count
                micro_loss.backward()  # type: ignore[no-untyped-call]
                loss += micro_loss.item()
                seen.note(places, scored, held_to, lengths)

            lr = current_lr(config, self.step + 1)
            where = f"dpo step {self.step + 1}"
            grad_norm = update(self.optimizer, self.named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where)
            self.step += 1
            self.num_tokens += int((batch.prompt_lengths + batch.completion_lengths).sum())
            yield {
                "step": self.step,
                **sampling,
                "loss": loss,
                **seen.metrics(config.loss_type, config.used_beta),
                **({} if z0 is None else {"kl": float(z0)}),
                "lr": lr,
                "grad_norm": grad_norm,
                "num_tokens": self.num_tokens,
                "time/generation": sampled - started,
                "time/training": perf_counter() - sampled,
            }

    def _sample(self) -> dict[str, float | int | None]:
        metrics = self.source.sample(self.step)
        self.reference.now_learning_from(self.source.rows)
        return metrics

    def _reference_point(self, rows: list[int]) -> Tensor:
        """KTO's z0 of a step: from prompts with completions that are not theirs."""
        mismatched = self.source.mismatched(rows)  # (N, T)
        policy = log_probs_of(self.model, mismatched, self.sampler)  # (N,)
        return kto_reference_point(policy - self.reference.of_mismatched(rows, mismatched))

    def _prepare(self) -> None:
        """The reference is asked before the first step, whatever is called first."""
        self.reference.prepare(self.source.rows, self.source.held_out, self.config.eval_pairs)

    # --- what a host asks for

    def evaluate(self) -> dict[str, float | int | None]:
        """On held-out pairs `accuracy`, the share whose chosen side the policy prefers to the rejected *more than the
        reference does* (a tie counts half; orpo and simpo: prefers by mean log-probability), and `margin`, by how much,
        as an implicit reward. Of labelled completions: over all pairs of a desirable and an undesirable one. If the
        task has a checker: `greedy`, `sampled` and the mean `reward` of its problems. Changes nothing."""
        self._prepare()
        metrics = {} if self.source.held_out is None else self._judge(self.source.held_out)
        return metrics | ({} if self.evaluation is None else self.evaluation.run())

    def _judge(self, held_out: PairRows | LabelledRows) -> dict[str, float | int | None]:
        places = range(min(self.config.eval_pairs, len(held_out)))
        with evaluating(self.model):
            scores = both_log_probs(self.model, held_out, places, self.sampler)  # (n, 2)
        if self.reference.held_out is not None:
            scores = scores - self.reference.held_out
        beta, n = self.config.used_beta, {"pairs": len(places)}
        if isinstance(held_out, LabelledRows):
            liked = torch.tensor(held_out.desirable[: len(places)], device=self.device)  # (n,)
            return ranked(scores[:, 0], liked, beta) | n
        if not self.compared:
            scores = scores / held_out.batch(places, self.device).completion_lengths.view(2, -1).T
        return preferred(scores[:, 0], scores[:, 1], beta) | n

    def samples(self, n: int, /) -> list[Mapping[str, Any]]:
        """`n` held-out prompts with a completion and its marks, if the task can mark; changes nothing."""
        return [] if self.evaluation is None else self.evaluation.samples(n)

    def _last_rollouts(self) -> list[Mapping[str, Any]]:
        """What was sampled in the last step; also after a step that failed."""
        return self.source.last_rollouts(self.step)

    def save(self, directory: Path, /) -> None:
        """Write what the reference says of held-out pairs: once the policy has moved, nobody else knows."""
        self._prepare()
        self.reference.save(directory)

    def load(self, directory: Path, /) -> None:
        """Read it. Raises DataError if it is damaged or belongs to other held-out pairs."""
        held_out = self.source.held_out
        self.reference.load(directory, 0 if held_out is None else min(self.config.eval_pairs, len(held_out)))

    def state_dict(self) -> dict[str, Any]:
        self._prepare()
        return {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "source": self.source.state_dict(),
            **training_state(self.model, self.optimizer, self.named, self.source.generator),
            "reference": self.reference.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        load_training_state(self.model, self.optimizer, self.named, self.source.generator, state)
        self.source.load_state_dict(state["source"])
        self.reference.load_state_dict(state["reference"])
        self.step, self.num_tokens = state["step"], state["num_tokens"]


def _two_sides(log_probs: Tensor, reference: Tensor | None, lengths: Tensor) -> tuple[Side, Side]:
    """The first half of each (2M,) is the chosen, the second the rejected."""
    columns = log_probs.chunk(2), (None, None) if reference is None else reference.chunk(2), lengths.chunk(2)
    chosen, rejected = (
        Side(log_probs=policy, reference=held_to, lengths=n) for policy, held_to, n in zip(*columns, strict=True)
    )
    return chosen, rejected
