"""Where preferences come from: the task's own pairs, or the best and the worst of the policy's own samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from align_scratch.asking import ask
from align_scratch.config.dpo import DPOConfig
from align_scratch.config.policy import PolicyConfig
from align_scratch.errors import CheckerFailed, DoesNotFit
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
from align_scratch.preference_metrics import Sides
from align_scratch.protocols import Model, Sampler, Tokenizer
from align_scratch.rollout_source import RolloutSource
from align_scratch.schedule import Shuffled, derived_seed
from inference_scratch.score import Sequences

_NO_PAIRS = (
    "task: has no pairs to learn from; choose one that has, such as preferences, or set pairs=sampled to build them "
    "from the policy's own samples"
)


class PreferenceSource:
    """Batches of pairs, or for kto of labelled completions, by step number; new samples where they are due."""

    def __init__(
        self, config: DPOConfig, *, model: Model, tokenizer: Tokenizer, task: Any, sampler: Sampler, seed: int
    ) -> None:
        """Raises DoesNotFit if the task has no pairs or, to sample them, no checker; MissingField if its data lacks
        their fields; DataError if a side is missing."""
        self.config, self.model, self.tokenizer, self.seed = config, model, tokenizer, seed
        self.paired = config.loss_type != "kto"
        self.device = next(model.parameters()).device
        self.rows: PairRows | LabelledRows | None = None
        """What is learned from; None until it is sampled."""
        self.rollouts: RolloutSource | None = None
        self.sampled_pairs: PairRows | None = None
        self.samplings, self.sampled_at = 0, 0  # how often it was sampled, and after which step the last time
        self.turn, self.since = 0, 0  # which sampling gave the pairs at hand, and after which step
        self._last: list[Mapping[str, Any]] = []
        own = hasattr(task, "pairs") or (not self.paired and hasattr(task, "labelled"))
        # Of a task that can neither give pairs nor mark samples, say below which fields pairs would need.
        if config.pairs == "sampled" or (config.pairs == "auto" and not own and hasattr(task, "check")):
            if config.precompute_ref_log_probs and config.resample_every is not None:
                raise DoesNotFit(
                    "precompute_ref_log_probs: the task has no pairs, so they are sampled again and again, and the "
                    "reference has to read them too: set it to false, or resample_every=none to sample once"
                )
            self.rollouts = _rollouts(config, model=model, tokenizer=tokenizer, task=task, sampler=sampler, seed=seed)
            self.generator = self.rollouts.generator
        else:
            self.generator = torch.Generator(self.device).manual_seed(derived_seed(seed, "dpo"))
            self._learn_from(self._rows_of(task, "train"))
        self.held_out: PairRows | LabelledRows | None = None
        """What can be judged; None if the task has only problems."""
        if own:
            self.held_out = self._rows_of(task, "held_out")

    def _rows_of(self, task: Any, name: str) -> PairRows | LabelledRows:
        """The task's pairs or, for kto, its labelled completions, which are those of the pairs if it has no others."""
        what, longest = f"task, {name} pairs", self.model.max_length
        if not self.paired and (hasattr(task, "labelled") or not hasattr(task, "pairs")):
            labelled = ask(task, "labelled", _NO_PAIRS)(name)
            return encode_labelled(labelled, self.tokenizer, max_length=longest, what=what)
        pairs = encode_pairs(ask(task, "pairs", _NO_PAIRS)(name), self.tokenizer, max_length=longest, what=what)
        return pairs if self.paired else labelled_from_pairs(pairs)

    def _learn_from(self, rows: PairRows | LabelledRows) -> None:
        if isinstance(rows, LabelledRows):
            rows = with_others(rows, max_length=self.model.max_length, what="task")
        self.rows = rows
        size = self.config.batch_size if self.paired else 2 * self.config.batch_size  # a pair is two rows for kto
        turn = "" if self.rollouts is None else f" {self.turn}"
        self.batches = Shuffled(len(rows), size, derived_seed(self.seed, f"dpo batches{turn}"))

    def batch(self, step: int) -> tuple[list[int], Sequences]:
        """Of step 0, 1, ...: row numbers (P,) and pairs (2P, T), P chosen and then P rejected; or (N,) and (N, T)."""
        if self.rows is None:
            raise RuntimeError("dpo: nothing was sampled yet")
        rows = self.batches[step - self.since]
        return rows, self.rows.batch(rows, self.device)

    def mismatched(self, rows: list[int]) -> Sequences:
        """For kto: the prompts of these rows with completions of other prompts (N, T)."""
        if not isinstance(self.rows, LabelledRows):
            raise RuntimeError("dpo: pairs have no completions of other prompts")
        return self.rows.mismatched(rows, self.device)

    def sides(self, rows: list[int]) -> Sides:
        """To note in what is found for the batch of these rows."""
        if isinstance(self.rows, LabelledRows):
            chosen = torch.tensor([self.rows.desirable[row] for row in rows], device=self.device)  # (N,)
            return Sides(chosen, paired=False)
        return Sides(torch.arange(2 * len(rows), device=self.device) < len(rows), paired=True)  # (2P,)

    # --- sampling

    def is_due(self, step: int) -> bool:
        """Whether to sample before this step 0, 1, ..."""
        if self.rollouts is None or self.rows is None:
            return self.rollouts is not None
        every = self.config.resample_every
        return every is not None and step - self.sampled_at >= every

    def sample(self, step: int) -> dict[str, float | int | None]:
        """Sample from the policy as it is, to learn from the best and the worst of each group: metrics of the samples.

        Where all groups are of one mind the old pairs stay. Raises CheckerFailed if there are none.
        """
        if self.rollouts is None:
            raise RuntimeError("dpo: this run takes its pairs from the task")
        rollouts = self.rollouts.sample(self.samplings)
        pairs, roles = best_and_worst(rollouts)
        self._last = records(step + 1, rollouts, roles.flatten(), torch.full((roles.numel(),), torch.nan))
        self.samplings, self.sampled_at = self.samplings + 1, step
        if pairs:
            self.sampled_pairs, self.turn, self.since = pairs, self.samplings, step
            self._learn_from(pairs if self.paired else labelled_from_pairs(pairs))
        elif self.rows is None:
            raise CheckerFailed(
                f"dpo: in none of {pairs.equal} groups was a sample marked better than another, so there is no pair: "
                "start from a model that is sometimes right (a longer warm start), or raise group_size"
            )
        return {**describe(rollouts), "pairs": len(pairs)}

    def last_rollouts(self, steps: int) -> list[Mapping[str, Any]]:
        """What was sampled in the last of so many steps, with advantage 1 for the chosen, -1 for the rejected and 0 for
        others; empty after a step that went on with older pairs."""
        return self._last if steps <= self.sampled_at + 1 else []

    def state_dict(self) -> dict[str, Any]:
        return {
            "samplings": self.samplings,
            "sampled_at": self.sampled_at,
            "turn": self.turn,
            "since": self.since,
            "pairs": {} if self.sampled_pairs is None else self.sampled_pairs.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.samplings, self.sampled_at = state["samplings"], state["sampled_at"]
        self.turn, self.since = state["turn"], state["since"]
        if state["pairs"]:
            self.sampled_pairs = PairRows.from_state_dict(state["pairs"])
            self._learn_from(self.sampled_pairs if self.paired else labelled_from_pairs(self.sampled_pairs))


def _rollouts(config: DPOConfig, *, task: Any, **parts: Any) -> RolloutSource:
    ask(task, "check", "task: cannot mark completions, so pairs=sampled has no best and worst; use pairs=task")
    drawn = PolicyConfig(
        prompts_per_step=config.prompts_per_sampling, group_size=config.group_size, max_new_tokens=config.max_new_tokens
    )
    return RolloutSource(drawn, task=task, name="dpo", **parts)
