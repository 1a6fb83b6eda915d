"""How good a model is at a task's held-out problems, measured the same way before, during and after training.

Random numbers come from generators of their own with fixed seeds: two evaluations of one model agree exactly, and
measuring changes nothing that training uses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from align_scratch.metrics import failures, finite
from align_scratch.protocols import Model, Sampler, Scorer, Task, Tokenizer
from align_scratch.rollouts import Prompts, Rollouts, roll_out
from align_scratch.text_match import exact_match, token_f1
from inference_scratch.config import GreedyConfig
from inference_scratch.samplers import Greedy

SEED = 20240202
BATCH = 512  # problems at a time: bounds memory, not the result


class Evaluation:
    """A model's marks on a task's held-out problems, greedily and sampled."""

    def __init__(
        self, *, model: Model, tokenizer: Tokenizer, task: Task, sampler: Sampler | None, max_new_tokens: int
    ) -> None:
        self.model, self.tokenizer, self.task, self.max_new_tokens = model, tokenizer, task, max_new_tokens
        self.sampler = sampler
        self.held_out = Prompts(tokenizer, task.examples("held_out"))
        self.scorer: Scorer | None = None
        """Values what is sampled, besides the task: `reward_model` among the metrics."""

    def run(self) -> dict[str, float | int | None]:
        """Accuracies `greedy` and `sampled` in 0..1 over all problems, the mean `reward` sampled, and how many.

        `exact_match` and `token_f1` compare greedy completions with the answers as texts, whatever the checker accepts.
        All of these are None without a checker, or without a problem. `reward_model` is the scorer's mean, if there is
        one. What could not be judged, greedy or sampled, counts as wrong and is counted: `reward/errors`, and by part.
        """
        names = ("greedy", "sampled", "reward", "exact_match", "token_f1")
        metrics: dict[str, float | int | None] = dict.fromkeys(names)
        checked = hasattr(self.task, "check") and len(self.held_out) > 0
        marked: list[Rollouts] = []
        if checked:
            greedy = list(self._marked(Greedy(GreedyConfig())))
            marked += greedy
            pairs = [(c, e.answer) for part in greedy for e, c in zip(part.examples, part.completions, strict=True)]
            metrics["greedy"] = _share_correct(greedy)
            metrics["exact_match"] = sum(exact_match(*pair) for pair in pairs) / len(pairs)
            metrics["token_f1"] = math.fsum(token_f1(*pair) for pair in pairs) / len(pairs)
        if self.sampler is not None and len(self.held_out) and (checked or self.scorer is not None):
            sampled = list(self._marked(self.sampler))
            if checked:
                marked += sampled
                rewards = torch.cat([part.rewards for part in sampled])
                reward = float(rewards.nanmean())
                metrics |= {"sampled": _share_correct(sampled), "reward": reward if reward == reward else None}
            if self.scorer is not None:
                values = torch.cat([self.scorer.score(part.sequences) for part in sampled])  # (N,)
                metrics["reward_model"] = finite(values.double().mean())
        errors = sum(int(part.rewards.isnan().sum()) for part in marked)
        counted = failures(score for part in marked for score in part.scores)
        if errors or counted:
            metrics |= {"reward/errors": errors, **counted}
        return metrics | {"problems": len(self.held_out)}

    def samples(self, n: int) -> list[Mapping[str, Any]]:
        """The first `n` held-out problems with a completion each, for a person to read."""
        rows = range(min(n, len(self.held_out)))
        if not rows:
            return []
        part = self._roll_out(rows, self.sampler or Greedy(GreedyConfig()), self._generator())
        return [
            {
                "prompt": example.prompt,
                "completion": completion,
                **(
                    {"answer": example.answer, "reward": score.reward, "correct": score.correct} if part.checked else {}
                ),
                "explanation": score.explanation,
            }
            for example, completion, score in zip(part.examples, part.completions, part.scores, strict=True)
        ]

    def _marked(self, sampler: Sampler) -> Iterator[Rollouts]:
        generator = self._generator()
        for start in range(0, len(self.held_out), BATCH):
            yield self._roll_out(range(start, min(start + BATCH, len(self.held_out))), sampler, generator)

    def _roll_out(self, rows: range, sampler: Sampler, generator: torch.Generator) -> Rollouts:
        examples, prompts = self.held_out.select(rows)
        return roll_out(
            self.model,
            self.tokenizer,
            self.task,
            examples,
            prompts,
            sampler=sampler,
            max_new_tokens=self.max_new_tokens,
            generator=generator,
        )

    def _generator(self) -> torch.Generator:
        return torch.Generator(next(self.model.parameters()).device).manual_seed(SEED)


def _share_correct(parts: list[Rollouts]) -> float:
    marks = [score.correct for part in parts for score in part.scores]
    return sum(marks) / len(marks)
