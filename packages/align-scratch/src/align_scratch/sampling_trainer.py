"""What all trainers that learn from marked samples of their own model have in common: parts, and what a host asks.

`train()` is not here. Each trainer has its own, whole, in its own file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any, ClassVar

from align_scratch.config.policy import PolicyConfig
from align_scratch.metrics import Metrics, describe
from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.reference import Reference
from align_scratch.rescoring import check_same_scorer, identity, load_scorer, rescore
from align_scratch.rollout_source import RolloutSource
from align_scratch.rollouts import Rollouts
from align_scratch.state import adamw, load_training_state, trainable, training_state


class SamplingTrainer:
    """Samples, who marks them, the optimizer, the reference, the counts: built, reported, saved and loaded."""

    name: ClassVar[str]

    def __init__(
        self,
        config: PolicyConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: Task,
        sampler: Sampler,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> None:
        """Raises DoesNotFit if the parts cannot work together: no end mark, a short context, a sampler that masks, a
        reward model of another vocabulary."""
        self.config, self.model, self.seed = config, model, seed
        self.source = RolloutSource(
            config,
            model=model,
            tokenizer=tokenizer,
            task=task,
            sampler=sampler,
            seed=seed,
            name=self.name,
            rewarded_elsewhere=config.reward_model is not None,
        )
        self.device = self.source.device
        self.scorer = load_scorer(config.reward_model, self.source, adapter)
        self.scorer_hash = identity(self.scorer)
        self.named = trainable(model)
        self.optimizer = adamw(self.named, config)
        self.reference = Reference(model, adapter, sampler=sampler, needed=config.needs_reference)  # pi_ref
        self.step, self.num_tokens = 0, 0
        self.batches = 0  # of prompts, drawn so far

    def train(self) -> Iterator[Metrics]:
        """Metrics after each step: one batch of rollouts and all updates on it."""
        raise NotImplementedError

    def _sample(self) -> Rollouts:
        """Completions of the next batch of prompts, with the rewards that are to be learned from."""
        rollouts = rescore(self.source.sample(self.batches), self.scorer)
        self.batches += 1
        return rollouts

    def _counted(self, rollouts: Rollouts, *, kl: float | None, lr: float, started: float, sampled: float) -> Metrics:
        """Count the step, and say of it what every trainer says."""
        self.step += 1
        self.num_tokens += int((rollouts.sequences.prompt_lengths + rollouts.sequences.completion_lengths).sum())
        return {
            "step": self.step,
            **describe(rollouts),
            "kl": kl,
            "lr": lr,
            "num_tokens": self.num_tokens,
            "time/generation": sampled - started,
            "time/training": perf_counter() - sampled,
        }

    def evaluate(self) -> dict[str, float | int | None]:
        """Held-out accuracy, `greedy` and `sampled` in 0..1, and the mean `reward`; changes nothing."""
        return self.source.evaluation.run()

    def samples(self, n: int, /) -> list[Mapping[str, Any]]:
        """`n` held-out prompts with a completion and its marks, for a person to read; changes nothing."""
        return self.source.evaluation.samples(n)

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "batches": self.batches,
            "num_tokens": self.num_tokens,
            "scorer": self.scorer_hash,
            **training_state(self.model, self.optimizer, self.named, self.source.generator),
            "reference": self.reference.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        check_same_scorer(self.config.reward_model, self.scorer_hash, state)
        load_training_state(self.model, self.optimizer, self.named, self.source.generator, state)
        self.reference.load_state_dict(state["reference"])
        self.step, self.num_tokens = state["step"], state["num_tokens"]
        self.batches = state.get("batches", self.step)  # states from before dynamic sampling have a batch a step
