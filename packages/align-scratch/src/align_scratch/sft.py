"""Supervised fine-tuning: imitate a task's demonstrations, token by token.

The loss is the mean negative log-likelihood of the completion's tokens and of the end mark behind it; prompts are read
and not learned. The mean is over all completion tokens of an optimizer step, so every token counts alike and nothing
depends on how the step is cut into micro-batches. What is real is known from lengths and never from ids, so the end is
learned even where padding has the same id.

As the warm start of reinforcement learning it can stop by itself (`stop_at`) when *sampled* accuracy says that there is
something to select from. Left out: packing several examples into a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from align_scratch.config.sft import SFTConfig
from align_scratch.errors import DoesNotFit
from align_scratch.evaluation import Evaluation
from align_scratch.losses import split
from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.rollouts import Prompts, check_fit, longest_answer, roll_out
from align_scratch.schedule import Shuffled, derived_seed
from align_scratch.scoring import completion_logits
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
from inference_scratch.score import Sequences, pack


def completion_loss(model: Model, rows: Sequences) -> tuple[Tensor, int]:
    """Sum of -log p over the real completion tokens of `rows`, and how many of them the model ranks first."""
    logits, targets = completion_logits(model, rows)  # (M, V), (M,)
    return F.cross_entropy(logits.float(), targets, reduction="sum"), int((logits.argmax(-1) == targets).sum())


class SFT:
    """Trainer `sft`. `sampler` is needed for sampled accuracy, and so for `stop_at`."""

    def __init__(
        self,
        config: SFTConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: Task,
        sampler: Sampler | None = None,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> None:
        """Raises DoesNotFit if the parts cannot work together: no end mark, a context too short, nothing to train."""
        del adapter  # what it made trainable is trained; nothing else about it matters here
        self.config, self.model, self.tokenizer, self.task, self.sampler = config, model, tokenizer, task, sampler
        if config.stop_at is not None and sampler is None:
            raise DoesNotFit("sampler: none, but stop_at looks at sampled accuracy: choose one, such as multinomial")
        examples = task.examples("train")
        self.prompts = Prompts(tokenizer, examples)
        demonstrations = tokenizer.encode_batch([example.demonstration for example in examples])
        self.max_new_tokens = longest_answer(tokenizer, examples) if examples else 1
        longest = max([self.max_new_tokens, *(len(ids) + 1 for ids in demonstrations)])
        check_fit(model=model, tokenizer=tokenizer, sampler=sampler, prompts=self.prompts.ids, max_new_tokens=longest)
        self.demonstrations = demonstrations
        self.end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
        self.device = next(model.parameters()).device
        self.named = trainable(model)
        self.optimizer = adamw(self.named, config)
        self.batches = Shuffled(len(examples), config.batch_size, derived_seed(seed, "sft batches"))
        self.looks = Shuffled(len(examples), config.stop_prompts, derived_seed(seed, "sft looks"))
        self.generator = torch.Generator(self.device).manual_seed(derived_seed(seed, "sft sampling"))
        self.evaluation = Evaluation(
            model=model, tokenizer=tokenizer, task=task, sampler=sampler, max_new_tokens=self.max_new_tokens
        )
        self.step, self.num_tokens, self.reached = 0, 0, False

    def train(self) -> Iterator[Mapping[str, float | int | None]]:
        """Metrics after each step; ends after `config.steps`, or once sampled accuracy has reached `stop_at`."""
        config = self.config
        while self.step < config.steps and not self.reached:
            started = perf_counter()
            rows = self.batches[self.step]
            _, prompts = self.prompts.select(rows)
            batch = pack(prompts, [self.demonstrations[row] + self.end for row in rows], device=self.device)
            tokens = int(batch.completion_lengths.sum())  # the denominator of the whole step, known before the split

            self.model.train()
            loss, right = 0.0, 0
            for part in split(torch.arange(len(rows), device=self.device), config.grad_accum_steps):
                nll, hits = completion_loss(self.model, batch.select(part))
                (nll / tokens).backward()  # type: ignore[no-untyped-call]
                loss, right = loss + nll.item() / tokens, right + hits

            lr = current_lr(config, self.step + 1)
            grad_norm = update(
                self.optimizer,
                self.named,
                loss=loss,
                lr=lr,
                grad_clip=config.grad_clip,
                where=f"sft step {self.step + 1}",
            )
            self.step += 1
            self.num_tokens += int(batch.prompt_lengths.sum()) + tokens
            trained = perf_counter()
            accuracy = self._look()
            yield {
                "step": self.step,
                "loss": loss,
                "mean_token_accuracy": right / tokens,
                "lr": lr,
                "grad_norm": grad_norm,
                "num_tokens": self.num_tokens,
                "sampled": accuracy,
                "time/training": trained - started,
                "time/generation": perf_counter() - trained,
            }

    def _look(self) -> float | None:
        """Sampled accuracy on training prompts, every `stop_every` steps if there is a goal; notes if it is reached.

        One lucky draw must not end the run: a first look at the goal is confirmed by a second at other prompts, and
        the mean of both decides.
        """
        config = self.config
        if config.stop_at is None or self.sampler is None or self.step % config.stop_every:
            return None
        look = 2 * (self.step // config.stop_every)
        accuracy = self._sampled_accuracy(self.sampler, self.looks[look])
        if accuracy >= config.stop_at:
            accuracy = (accuracy + self._sampled_accuracy(self.sampler, self.looks[look + 1])) / 2
            self.reached = accuracy >= config.stop_at
        return accuracy

    def _sampled_accuracy(self, sampler: Sampler, rows: list[int]) -> float:
        examples, prompts = self.prompts.select(rows)
        rollouts = roll_out(
            self.model,
            self.tokenizer,
            self.task,
            examples,
            prompts,
            sampler=sampler,
            max_new_tokens=self.max_new_tokens,
            generator=self.generator,
        )
        return sum(score.correct for score in rollouts.scores) / len(rollouts.scores)

    def evaluate(self) -> dict[str, float | int | None]:
        """Held-out accuracy, `greedy` and `sampled` in 0..1, and the mean `reward`; changes nothing."""
        return self.evaluation.run()

    def samples(self, n: int, /) -> list[Mapping[str, Any]]:
        """`n` held-out prompts with a completion and its marks, for a person to read; changes nothing."""
        return self.evaluation.samples(n)

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "reached": self.reached,
            "model": model_state(self.model),
            "optimizer": optimizer_state(self.optimizer, self.named),
            "random": random_state(self.device, self.generator),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        load_model_state(self.model, state["model"])
        load_optimizer_state(self.optimizer, self.named, state["optimizer"])
        load_random_state(self.device, self.generator, state["random"])
        self.step, self.num_tokens, self.reached = state["step"], state["num_tokens"], state["reached"]
