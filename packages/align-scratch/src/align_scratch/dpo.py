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
from align_scratch.config.policy import PolicyConfig
from align_scratch.errors import CheckerFailed, DoesNotFit
from align_scratch.evaluation import Evaluation
from align_scratch.losses import split
from align_scratch.metrics import describe, records
from align_scratch.preference_data import (
    LabelledRows,
    PairRows,
    best_and_worst,
    encode_labelled,
    encode_pairs,
    labelled_from_pairs,
    with_others,
)
from align_scratch.preference_losses import Side, kto, kto_reference_point, preference_loss
from align_scratch.preference_metrics import Sides, preferred, ranked
from align_scratch.preference_reference import KnownReference, both_log_probs
from align_scratch.preference_scoring import log_probs_of, score_rows
from align_scratch.protocols import Adapter, Model, Sampler, Tokenizer
from align_scratch.reward_model import evaluating
from align_scratch.rollout_source import RolloutSource
from align_scratch.rollouts import longest_answer
from align_scratch.schedule import Shuffled, derived_seed
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
from inference_scratch.score import Sequences


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
        self.config, self.model, self.tokenizer, self.sampler, self.seed = config, model, tokenizer, sampler, seed
        self.paired = config.loss_type != "kto"
        self.compared = config.loss_type not in WITHOUT_REFERENCE
        self.device = next(model.parameters()).device
        self.named = trainable(model)
        self.optimizer = adamw(self.named, config)
        self.generator = torch.Generator(self.device).manual_seed(derived_seed(seed, "dpo"))

        self.rows: PairRows | LabelledRows | None = None  # what is learned from; None until it is sampled
        self.sampled_pairs: PairRows | None = None
        self.source: RolloutSource | None = None
        if config.pairs == "sampled":
            self.source = _source(config, model=model, tokenizer=tokenizer, task=task, sampler=sampler, seed=seed)
            self.generator = self.source.generator
            self.last_rollouts = self._last_rollouts  # a trainer that samples nothing has no such method
        else:
            self._learn_from(self._rows_of_task(task, "train"))
        self.held_out = self._held_out(task)
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
        self.samplings, self.sampled_at = 0, 0
        self._last: list[Mapping[str, Any]] = []

    def train(self) -> Iterator[Mapping[str, float | int | None]]:
        """Metrics after each step."""
        config = self.config
        self._prepare()
        while self.step < config.steps:
            started = perf_counter()
            sampling = self._sample_pairs() if self._sampling_is_due() else {}
            sampled = perf_counter()
            rows, batch = self._batch()  # (P,) pairs as (2P, T): P chosen, then P rejected. Or (N,) labelled as (N, T).
            count = len(rows)
            parts = split(torch.arange(count, device=self.device), config.grad_accum_steps)
            self.model.train(not config.disable_dropout)

            reference = self.reference.of(rows, batch, paired=self.paired)  # log pi_ref (2P,) or (N,)
            z0 = None if self.paired else self._reference_point(rows)
            chosen_tokens = int(batch.completion_lengths[:count].sum())  # of pairs
            loss, seen = 0.0, self._sides(rows)
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

    # --- what is learned from

    def _rows_of_task(self, task: Any, name: str) -> PairRows | LabelledRows:
        """The task's pairs or, for kto, its labelled completions, which are those of the pairs if it has no others."""
        what, longest = f"task, {name} pairs", self.model.max_length
        if not self.paired and hasattr(task, "labelled"):
            return encode_labelled(task.labelled(name), self.tokenizer, max_length=longest, what=what)
        if not hasattr(task, "pairs"):
            raise DoesNotFit(
                "task: has no pairs to learn from; choose one that has, such as preferences, or set pairs=sampled "
                "to build them from the policy's own samples"
            )
        pairs = encode_pairs(task.pairs(name), self.tokenizer, max_length=longest, what=what)
        return pairs if self.paired else labelled_from_pairs(pairs)

    def _learn_from(self, rows: PairRows | LabelledRows) -> None:
        if isinstance(rows, LabelledRows):
            rows = with_others(rows, max_length=self.model.max_length, what="task")
        self.rows = rows
        # kto sees both sides of a pair as two rows
        size = self.config.batch_size if self.paired else 2 * self.config.batch_size
        turn = "" if self.source is None else f" {self.samplings}"
        self.batches = Shuffled(len(rows), size, derived_seed(self.seed, f"dpo batches{turn}"))

    def _held_out(self, task: Any) -> PairRows | LabelledRows | None:
        """What `evaluate` judges; None if the task has only problems."""
        if not hasattr(task, "pairs") and (self.paired or not hasattr(task, "labelled")):
            return None
        return self._rows_of_task(task, "held_out")

    def _batch(self) -> tuple[list[int], Sequences]:
        if self.rows is None:
            raise RuntimeError("dpo: nothing was sampled yet")
        rows = self.batches[self.step - self.sampled_at]
        return rows, self.rows.batch(rows, self.device)

    def _sides(self, rows: list[int]) -> Sides:
        if isinstance(self.rows, LabelledRows):
            chosen = torch.tensor([self.rows.desirable[row] for row in rows], device=self.device)  # (N,)
            return Sides(chosen, paired=False)
        return Sides(torch.arange(2 * len(rows), device=self.device) < len(rows), paired=True)  # (2P,)

    def _sampling_is_due(self) -> bool:
        if self.source is None or self.rows is None:
            return self.source is not None
        every = self.config.resample_every
        return every is not None and self.step - self.sampled_at >= every

    def _sample_pairs(self) -> dict[str, float | int | None]:
        """Sample from the policy as it is and learn from the best and the worst of each group from now on."""
        if self.source is None:
            raise RuntimeError("dpo: this run takes its pairs from the task")
        rollouts = self.source.sample(self.samplings)
        pairs, roles = best_and_worst(rollouts)
        unknown = torch.full((roles.numel(),), torch.nan)
        self._last = records(self.step + 1, rollouts, roles.flatten(), unknown)
        self.samplings, self.sampled_at = self.samplings + 1, self.step
        if pairs:
            self.sampled_pairs = pairs
            self._learn_from(pairs if self.paired else labelled_from_pairs(pairs))
            self.reference.now_learning_from(self.rows)
        elif self.rows is None:
            raise CheckerFailed(
                f"dpo: in none of {pairs.equal} groups was a sample marked better than another, so there is no pair: "
                "start from a model that is sometimes right (a longer warm start), or raise group_size"
            )
        return {**describe(rollouts), "pairs": len(pairs)}

    def _reference_point(self, rows: list[int]) -> Tensor:
        """KTO's z0 of a step: from prompts with completions that are not theirs."""
        if not isinstance(self.rows, LabelledRows):
            raise RuntimeError("dpo: pairs have no completions of other prompts")
        mismatched = self.rows.mismatched(rows, self.device)  # (N, T)
        policy = log_probs_of(self.model, mismatched, self.sampler)  # (N,)
        return kto_reference_point(policy - self.reference.of_mismatched(rows, mismatched))

    def _prepare(self) -> None:
        """The reference is asked before the first step, whatever is called first."""
        self.reference.prepare(self.rows, self.held_out, self.config.eval_pairs)

    # --- what a host asks for

    def evaluate(self) -> dict[str, float | int | None]:
        """On held-out pairs `accuracy`, the share whose chosen side the policy prefers to the rejected *more than the
        reference does* (a tie counts half; orpo and simpo: prefers by mean log-probability), and `margin`, by how much,
        as an implicit reward. Of labelled completions: over all pairs of a desirable and an undesirable one. If the
        task has a checker: `greedy`, `sampled` and the mean `reward` of its problems. Changes nothing."""
        self._prepare()
        metrics: dict[str, float | int | None] = {}
        if self.held_out is not None:
            rows = range(min(self.config.eval_pairs, len(self.held_out)))
            with evaluating(self.model):
                scores = both_log_probs(self.model, self.held_out, rows, self.sampler)  # (n, 2)
            if self.reference.held_out is not None:
                scores = scores - self.reference.held_out
            if isinstance(self.held_out, PairRows):
                if not self.compared:
                    scores = scores / self.held_out.batch(rows, self.device).completion_lengths.view(2, -1).T
                metrics |= preferred(scores[:, 0], scores[:, 1], self.config.used_beta)
            else:
                liked = torch.tensor(self.held_out.desirable[: len(rows)], device=scores.device)
                metrics |= ranked(scores[:, 0], liked, self.config.used_beta)
            metrics["pairs"] = len(rows)
        return metrics | ({} if self.evaluation is None else self.evaluation.run())

    def samples(self, n: int, /) -> list[Mapping[str, Any]]:
        """`n` held-out prompts with a completion and its marks, if the task can mark; changes nothing."""
        return [] if self.evaluation is None else self.evaluation.samples(n)

    def _last_rollouts(self) -> list[Mapping[str, Any]]:
        """What was sampled in the last step, with advantage 1 for the chosen, -1 for the rejected and 0 for others;
        empty after a step that went on with older pairs."""
        return self._last if self.step <= self.sampled_at + 1 else []

    def save(self, directory: Path, /) -> None:
        """Write what the reference says of held-out pairs: once the policy has moved, nobody else knows."""
        self._prepare()
        self.reference.save(directory)

    def load(self, directory: Path, /) -> None:
        """Read it. Raises DataError if it is damaged or belongs to other held-out pairs."""
        self.reference.load(directory, 0 if self.held_out is None else min(self.config.eval_pairs, len(self.held_out)))

    def state_dict(self) -> dict[str, Any]:
        self._prepare()
        return {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "samplings": self.samplings,
            "sampled_at": self.sampled_at,
            "sampled_pairs": {} if self.sampled_pairs is None else self.sampled_pairs.state_dict(),
            "model": model_state(self.model),
            "optimizer": optimizer_state(self.optimizer, self.named),
            "random": random_state(self.device, self.generator),
            "reference": self.reference.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        load_model_state(self.model, state["model"])
        load_optimizer_state(self.optimizer, self.named, state["optimizer"])
        load_random_state(self.device, self.generator, state["random"])
        self.reference.load_state_dict(state["reference"])
        self.step, self.num_tokens = state["step"], state["num_tokens"]
        self.samplings, self.sampled_at = state["samplings"], state["sampled_at"]
        if state["sampled_pairs"]:
            self.sampled_pairs = PairRows.from_state_dict(state["sampled_pairs"])
            self._learn_from(self.sampled_pairs if self.paired else labelled_from_pairs(self.sampled_pairs))


def _source(config: DPOConfig, *, task: Any, **parts: Any) -> RolloutSource:
    if not hasattr(task, "check"):
        raise DoesNotFit("task: cannot mark completions, so pairs=sampled has no best and worst; use pairs=task")
    drawn = PolicyConfig(
        prompts_per_step=config.prompts_per_sampling, group_size=config.group_size, max_new_tokens=config.max_new_tokens
    )
    return RolloutSource(drawn, task=task, name="dpo", **parts)


def _two_sides(log_probs: Tensor, reference: Tensor | None, lengths: Tensor) -> tuple[Side, Side]:
    """The first half of each (2M,) is the chosen, the second the rejected."""
    columns = log_probs.chunk(2), (None, None) if reference is None else reference.chunk(2), lengths.chunk(2)
    chosen, rejected = (
        Side(log_probs=policy, reference=held_to, lengths=n) for policy, held_to, n in zip(*columns, strict=True)
    )
    return chosen, rejected
