"""Expert iteration: sample, keep what is correct, imitate it, repeat.

The policy with a checker behind it is an expert that the policy alone is not yet (Anthony et al. 2017,
arXiv:1705.08439); fine-tuning on the expert's answers makes the next policy. For language models: STaR (Zelikman et
al. 2022, arXiv:2203.14465, algorithm 1, without its rationalization) and ReST-EM (Singh et al. 2023, arXiv:2312.06585,
algorithm 1). Per iteration:

    D    = { (x, y) : y ~ pi(. | x), correct(x, y) },  each different pair once, at most `max_per_prompt` of a prompt;
           with `min_reward` those that are paid at least that (the filter of ReST-EM)
    pi  <- argmin_pi  - sum_D log pi(y | x)   by a few epochs of SFT, the mean over all completion tokens

There is no advantage and no ratio: what is wrong is thrown away, and nothing pushes it down. With `from_base` an
iteration imitates from the starting weights, as STaR does against overfitting; the samples still come from the newest
policy. A completion that was cut off does not show how to end and is not kept (`mask_truncated`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

from torch import Tensor

from align_scratch.config.expert_iteration import ExpertIterationConfig
from align_scratch.imitation import ImitatingTrainer
from align_scratch.metrics import Metrics
from align_scratch.protocols import Model
from align_scratch.rollouts import Rollouts
from align_scratch.state import (
    current_lr,
    load_model_state,
    model_state,
)


def good_and_different(
    rollouts: Rollouts,
    *,
    min_reward: float | None = None,
    max_per_prompt: int | None = None,
    mask_truncated: bool = True,
) -> list[int]:
    """Row numbers of completions that are correct, or are paid `min_reward`: each pair of prompt and ids once, and the
    first few of a prompt. `mask_truncated` leaves out what was cut off."""
    kept, seen, taken = [], set(), Counter[str]()
    ids, usable = rollouts.generation.to_lists(), rollouts.generation.finished.tolist()
    if not mask_truncated:
        usable = [True] * len(ids)
    for row, score in enumerate(rollouts.scores):
        prompt = rollouts.examples[row // rollouts.group_size].prompt
        pair = (prompt, tuple(ids[row]))
        good = score.correct if min_reward is None else score.reward >= min_reward  # NaN is not
        if not good or not usable[row] or pair in seen:
            continue
        if max_per_prompt is not None and taken[prompt] >= max_per_prompt:
            continue
        seen.add(pair)
        taken[prompt] += 1
        kept.append(row)
    return kept


class ExpertIteration(ImitatingTrainer):
    """Trainer `expert-iteration`."""

    name = "expert-iteration"
    config: ExpertIterationConfig

    def __init__(self, config: ExpertIterationConfig, *, model: Model, **parts: Any) -> None:
        """As SamplingTrainer, which says what is raised."""
        super().__init__(config, model=model, **parts)
        self.start: dict[str, Tensor] = model_state(model) if config.from_base else {}
        self.with_nothing = 0

    def train(self) -> Iterator[Metrics]:
        """Metrics after each iteration."""
        config = self.config
        while self.step < config.steps:
            started = perf_counter()
            # y ~ pi(. | x) for every prompt x of the batch; D = what is correct among them, each once.
            rollouts = self._sample()
            kl = self.reference.measure_kl(rollouts.sequences, config.track_kl) if config.track_kl else None
            kept = good_and_different(
                rollouts,
                min_reward=config.min_reward,
                max_per_prompt=config.max_per_prompt,
                mask_truncated=config.mask_truncated,
            )
            self._last = self.step + 1, rollouts, kept
            sampled = perf_counter()

            if config.from_base and kept:
                load_model_state(self.model, self.start)
                self.optimizer.state.clear()
            lr = current_lr(config, self.step + 1)
            imitation = self._imitate(rollouts, kept, lr)

            self.with_nothing += not kept
            metrics = self._counted(rollouts, kl=kl, lr=lr, started=started, sampled=sampled)
            metrics |= {
                "kept": len(kept),
                "kept/prompts": len({row // rollouts.group_size for row in kept}),
                "steps_with_nothing_kept": self.with_nothing,
            }
            yield metrics | imitation.metrics()

    def state_dict(self) -> dict[str, Any]:
        start = {name: tensor.clone() for name, tensor in self.start.items()}
        return super().state_dict() | {"with_nothing": self.with_nothing, "start": start}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        super().load_state_dict(state)
        self.start = {name: tensor.clone() for name, tensor in state["start"].items()}
        self.with_nothing = state["with_nothing"]
