"""Supervised fine-tuning: imitate a task's demonstrations, token by token.

The loss is the mean negative log-likelihood of the completion's tokens and of the end mark behind it; prompts are read
and not learned. The mean is over all completion tokens of an optimizer step, so every token counts alike and nothing
depends on how the step is cut into micro-batches. What is real is known from lengths and never from ids, so the end is
learned even where padding has the same id.

Options change what is learned (`completion_only`, `assistant_only`), how much a token counts (`loss_type`), what it
should be (`label_smoothing`), the order (`order`), and how rows lie in memory (`packing`), which changes no gradient.
As the warm start of reinforcement learning it can stop by itself (`stop_at`) when *sampled* accuracy says that there is
something to select from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from align_scratch.config.sft import SFTConfig
from align_scratch.curriculum import batches
from align_scratch.demonstrations import Fitting, encode_rows, fit_rows
from align_scratch.errors import DoesNotFit
from align_scratch.evaluation import Evaluation
from align_scratch.labels import TokenBatch, TokenRow, collate
from align_scratch.losses import split
from align_scratch.noise import embedding_noise, find_embedding, noisy
from align_scratch.packing import best_fit_decreasing, buckets, keeps_segments_apart, padding_share, share_rows
from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.rollouts import Prompts, check_fit, longest_answer, roll_out
from align_scratch.schedule import Shuffled, derived_seed
from align_scratch.scoring import completion_logits
from align_scratch.sft_losses import labelled_loss, row_weights
from align_scratch.state import adamw, current_lr, load_training_state, trainable, training_state, update
from inference_scratch.score import Sequences


def completion_loss(model: Model, rows: Sequences) -> tuple[Tensor, int]:
    """Sum of -log p over the real completion tokens of `rows`, and how many of them the model ranks first."""
    logits, targets = completion_logits(model, rows)  # (M, V), (M,)
    return F.cross_entropy(logits.float(), targets, reduction="sum"), int((logits.argmax(-1) == targets).sum())


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """What goes through the model at once."""

    rows: TokenBatch
    weights: Tensor
    """(N, T), of each position's term in the loss of the whole step."""
    noise: Tensor | None = None
    """(N, T, D), for the embeddings."""
    segments: Tensor | None = None
    """(N, T), which example each position belongs to, where a row holds several."""


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
        """Raises DoesNotFit if the parts cannot work together: no end mark, a context too short, nothing to train.

        Raises DataError for an example without anything to imitate.
        """
        del adapter  # what it made trainable is trained; nothing else about it matters here
        self.config, self.model, self.tokenizer, self.sampler = config, model, tokenizer, sampler
        if config.stop_at is not None and sampler is None:
            raise DoesNotFit("sampler: none, but stop_at looks at sampled accuracy: choose one, such as multinomial")
        examples = task.examples("train")
        limits = [limit for limit in (config.max_length, model.max_length) if limit is not None]
        self.limit = min(limits, default=None)
        rows = encode_rows(
            tokenizer, examples, assistant_only=config.assistant_only, everything=not config.completion_only
        )
        if config.too_long != "error":
            rows, examples = fit_rows(rows, examples, self.limit, config.too_long)
        self.skipped = len(task.examples("train")) - len(rows)
        self.max_new_tokens = config.max_new_tokens or (longest_answer(tokenizer, examples) if examples else 1)
        self.task = task
        if config.too_long != "error" and self.limit is not None:
            self.task = Fitting(task, tokenizer, room=self.limit - self.max_new_tokens)
        self.prompts = Prompts(tokenizer, self.task.examples("train"))
        check_fit(
            model=model,
            tokenizer=tokenizer,
            sampler=sampler,
            prompts=self.prompts.ids,
            max_new_tokens=self.max_new_tokens,
        )
        self.rows, _ = fit_rows(rows, examples, self.limit, config.too_long)
        if config.packing == "shared_rows" and not keeps_segments_apart(model):
            raise DoesNotFit(
                "packing: shared_rows needs a model whose features() takes `segments` and keeps the examples of a row "
                f"apart, which {type(model).__name__} does not: take packing=buckets, which is exact with every model"
            )
        self.embedding = None if config.neftune_alpha is None else find_embedding(model)
        self.device = next(model.parameters()).device
        self.named = trainable(model)
        self.optimizer = adamw(self.named, config)
        lengths = [row.length for row in self.rows]
        self.batches = batches(config.order, lengths, config.batch_size, derived_seed(seed, "sft batches"))
        self.total = math.inf if config.epochs is None else math.ceil(config.epochs * len(self.rows))  # rows seen
        self.steps = min(config.steps, math.ceil(self.total / config.batch_size)) if config.epochs else config.steps
        self.looks = Shuffled(len(self.prompts), config.stop_prompts, derived_seed(seed, "sft looks"))
        self.generator = torch.Generator(self.device).manual_seed(derived_seed(seed, "sft sampling"))
        self.seed = seed
        self.evaluation = Evaluation(
            model=model, tokenizer=tokenizer, task=self.task, sampler=sampler, max_new_tokens=self.max_new_tokens
        )
        longest = max(map(len, self.evaluation.held_out.ids), default=0)
        if model.max_length is not None and longest + self.max_new_tokens > model.max_length:
            raise DoesNotFit(
                f"model: reads {model.max_length} tokens at most, but the longest held-out prompt has {longest} and a "
                f"completion up to {self.max_new_tokens}: enlarge the model's context, set max_new_tokens, or leave "
                "such problems out by too_long=skip"
            )
        self.step, self.num_tokens, self.reached = 0, 0, False

    def train(self) -> Iterator[Mapping[str, float | int | None]]:
        """Metrics after each step; ends after `config.steps`, or `epochs`, or once accuracy has reached `stop_at`."""
        config = self.config
        schedule = replace(config, steps=self.steps)  # the rate has decayed when the epochs are over
        while self.step < self.steps and not self.reached:
            started = perf_counter()
            rows = self._batch(self.step)
            tokens = sum(row.learned for row in rows)
            parts = self._micro_batches(rows)

            self.model.train()
            loss, right, spread = 0.0, 0, 0.0
            for part in parts:
                with self._noise(part):
                    value, hits, entropies = labelled_loss(
                        self.model,
                        part.rows,
                        part.weights,
                        loss_type=config.loss_type,
                        label_smoothing=config.label_smoothing,
                        segments=part.segments,
                    )
                    value.backward()  # type: ignore[no-untyped-call]
                loss, right, spread = loss + value.item(), right + hits, spread + entropies.item()

            lr = current_lr(schedule, self.step + 1)
            grad_norm = update(
                self.optimizer,
                self.named,
                loss=loss,
                lr=lr,
                grad_clip=config.grad_clip,
                where=f"sft step {self.step + 1}",
            )
            self.step += 1
            self.num_tokens += sum(row.length for row in rows)
            trained = perf_counter()
            accuracy = self._look()
            yield {
                "step": self.step,
                "loss": loss,
                "mean_token_accuracy": right / tokens,
                "entropy": spread / tokens,
                "lr": lr,
                "grad_norm": grad_norm,
                "num_tokens": self.num_tokens,
                "padding": padding_share([part.rows for part in parts]),
                "skipped": self.skipped,
                "sampled": accuracy,
                "time/training": trained - started,
                "time/generation": perf_counter() - trained,
            }

    def _batch(self, step: int) -> list[TokenRow]:
        """The rows of step 0, 1, ...; the last step of the last epoch may have fewer."""
        size = self.config.batch_size
        left = min(size, self.total - step * size)
        return [self.rows[number] for number in self.batches[step][: int(left)]]

    def _micro_batches(self, rows: Sequence[TokenRow]) -> list[MicroBatch]:
        """The step's rows, cut to fit into memory. The weights are those of the whole step, whatever the cut."""
        config = self.config
        counts = torch.tensor([row.learned for row in rows], device=self.device)
        weights = row_weights(config.loss_type, counts, normalize_constant=config.normalize_constant)  # (B,)
        if config.packing == "shared_rows":
            return self._shared_rows(rows, weights)
        whole = collate(rows, device=self.device)
        everywhere = weights[:, None].expand(whole.ids.shape)  # (B, T)
        noise = None
        if self.embedding is not None and config.neftune_alpha is not None:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, f"sft noise {self.step}"))
            n_embd = next(self.embedding.parameters()).shape[1]
            noise = embedding_noise(whole.lengths, whole.ids.shape[1], n_embd, config.neftune_alpha, generator)
        if config.packing == "none":
            runs = split(torch.arange(len(rows), device=self.device), config.grad_accum_steps)
        else:
            most = math.ceil(len(rows) / config.grad_accum_steps)
            lengths = [len(row.reads) for row in rows]
            runs = [torch.tensor(run, device=self.device) for run in buckets(lengths, most)]
        parts = []
        for run in runs:
            part = whole.select(run)
            part = part if config.packing == "none" else part.trimmed()
            width = part.ids.shape[1]
            parts.append(
                MicroBatch(
                    rows=part,
                    weights=everywhere[run, :width],
                    noise=None if noise is None else noise[run.cpu(), :width],
                )
            )
        return parts

    def _shared_rows(self, rows: Sequence[TokenRow], weights: Tensor) -> list[MicroBatch]:
        lengths = [len(row.reads) for row in rows]
        capacity = self.limit - 1 if self.limit is not None else max(len(row.reads) for row in self.rows)
        joined, segments = share_rows(rows, best_fit_decreasing(lengths, capacity))  # (B, T)
        whole, segments = collate(joined, device=self.device), segments.to(self.device)
        of_item = weights[segments.clamp(min=0)]  # (B, T)
        return [
            MicroBatch(rows=whole.select(run), weights=of_item[run], segments=segments[run])
            for run in split(torch.arange(len(joined), device=self.device), self.config.grad_accum_steps)
        ]

    def _noise(self, part: MicroBatch) -> AbstractContextManager[None]:
        return nullcontext() if part.noise is None or self.embedding is None else noisy(self.embedding, part.noise)

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
        """Held-out accuracy, `greedy` and `sampled` in 0..1, `exact_match` and `token_f1` of what is decoded greedily,
        and the mean `reward`; changes nothing. `left_out` counts problems without room for a completion."""
        left_out = {"left_out": self.task.left_out["held_out"]} if isinstance(self.task, Fitting) else {}
        return {**self.evaluation.run(), **left_out}

    def samples(self, n: int, /) -> list[Mapping[str, Any]]:
        """`n` held-out prompts with a completion and its marks, for a person to read; changes nothing."""
        return self.evaluation.samples(n)

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "reached": self.reached,
            **training_state(self.model, self.optimizer, self.named, self.generator),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        load_training_state(self.model, self.optimizer, self.named, self.generator, state)
        self.step, self.num_tokens, self.reached = state["step"], state["num_tokens"], state["reached"]
