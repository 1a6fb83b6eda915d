"""Rollouts: completions of prompts, sampled from a model and marked by a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align_scratch.errors import CheckerFailed, DoesNotFit
from align_scratch.marking import UNMARKED, mark_all
from align_scratch.protocols import Example, Model, Sampler, Score, Task, Tokenizer
from inference_scratch.generate import Generation, generate
from inference_scratch.score import Sequences, join


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """N = prompts x group_size completions; row i * group_size + j is the j-th of prompt i."""

    examples: Sequence[Example]
    """The P prompts, each once."""
    completions: Sequence[str]
    scores: Sequence[Score]
    generation: Generation
    """Ids, lengths and the sampler's log-probabilities: (N, T_new), (N,), (N, T_new)."""
    sequences: Sequences
    """The same ids behind their prompts, ready to be scored again."""
    rewards: Tensor
    """(P, G) fp64 on the CPU; NaN where the checker failed or gave no finite reward."""
    checked: bool = True
    """Whether the task has a checker. Without one every reward here is NaN, and nothing is known to be correct."""

    @property
    def group_size(self) -> int:
        return self.rewards.shape[1]


def concatenate(parts: Sequence[Rollouts]) -> Rollouts:
    """The groups of all `parts`, which have one group size, in their order; rows are padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.generation.tokens.shape[1] for part in parts)  # T_new
    length = max(part.sequences.ids.shape[1] for part in parts)  # T

    def rows(tensors: Iterator[Tensor], columns: int) -> Tensor:
        return torch.cat([torch.nn.functional.pad(rows, (0, columns - rows.shape[1])) for rows in tensors])

    generation = Generation(
        tokens=rows((part.generation.tokens for part in parts), width),
        lengths=torch.cat([part.generation.lengths for part in parts]),
        log_probs=rows((part.generation.log_probs for part in parts), width),
        finished=torch.cat([part.generation.finished for part in parts]),
    )
    group = torch.arange(sum(len(part.examples) for part in parts), device=generation.tokens.device)  # (P,)
    sequences = Sequences(
        ids=rows((part.sequences.ids for part in parts), length),
        prompt_lengths=torch.cat([part.sequences.prompt_lengths for part in parts]),
        completion_lengths=generation.lengths,
        width=width,
        prompt_of=group.repeat_interleave(parts[0].group_size),
    )
    return Rollouts(
        examples=[example for part in parts for example in part.examples],
        completions=[completion for part in parts for completion in part.completions],
        scores=[score for part in parts for score in part.scores],
        generation=generation,
        sequences=sequences,
        rewards=torch.cat([part.rewards for part in parts]),
        checked=parts[0].checked,
    )


class Prompts:
    """Examples with their prompts' ids, encoded once."""

    def __init__(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> None:
        self.examples = examples
        self.ids = tokenizer.encode_batch([example.prompt for example in examples])

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, rows: Sequence[int]) -> tuple[list[Example], list[list[int]]]:
        return [self.examples[row] for row in rows], [self.ids[row] for row in rows]


def longest_answer(tokenizer: Tokenizer, examples: Sequence[Example]) -> int:
    """Tokens of the longest answer or demonstration, a worked solution for example, with its end mark.

    Raises DoesNotFit if the examples have neither.
    """
    texts = {text for example in examples for text in (example.answer, example.demonstration)}
    if not any(texts):
        raise DoesNotFit("max_new_tokens: none, but the task has no answers to take the length from: set it")
    return 1 + max(map(len, tokenizer.encode_batch(list(texts))))


def roll_out(
    model: Model,
    tokenizer: Tokenizer,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    *,
    sampler: Sampler,
    group_size: int = 1,
    max_new_tokens: int,
    generator: torch.Generator,
) -> Rollouts:
    """Sample `group_size` completions of each prompt, which is read once, and have the task mark them if it can.

    Raises CheckerFailed if its checker cannot mark any of them.
    """
    generation = generate(
        model,
        prompts,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        generator=generator,
        eos_id=tokenizer.eos_id,
        samples_per_prompt=group_size,
    )
    completions = tokenizer.decode_batch(generation.to_lists())
    checked = hasattr(task, "check")
    scores = mark_all(task, examples, completions, group_size=group_size) if checked else [UNMARKED] * len(completions)
    rewards = torch.tensor([score.reward for score in scores], dtype=torch.float64)
    if checked and rewards.isnan().all():
        raise CheckerFailed(f"task: none of {len(scores)} completions could be marked: {scores[0].explanation}")
    return Rollouts(
        examples=examples,
        completions=completions,
        scores=scores,
        generation=generation,
        sequences=join(prompts, generation),
        rewards=rewards.view(len(examples), group_size),
        checked=checked,
    )


def check_fit(
    *,
    model: Model,
    tokenizer: Tokenizer,
    sampler: Sampler | None,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
) -> None:
    """Refuse before any work what could only go wrong later. Raises DoesNotFit, saying what would help."""
    if tokenizer.eos_id is None:
        raise DoesNotFit(
            "tokenizer: has no eos_id, but a completion must be able to end: use one that has, such as bpe or byte"
        )
    if not prompts:
        raise DoesNotFit("task: has no examples to train on")
    lengths = [len(prompt) for prompt in prompts]
    longest = max(lengths)
    if min(lengths) == 0:
        raise DoesNotFit("task: has a prompt without tokens, and a model needs at least one to start from")
    if model.max_length is not None and longest + max_new_tokens > model.max_length:
        raise DoesNotFit(
            f"model: reads {model.max_length} tokens at most, but the task's longest prompt ({longest}) and completion "
            f"({max_new_tokens}) need {longest + max_new_tokens}, in training example {lengths.index(longest) + 1}: "
            "enlarge the model's context, make the task easier or leave such examples out (too_long=skip), or use "
            "a tokenizer with longer tokens"
        )
    if sampler is not None:
        probe = torch.linspace(-20.0, 20.0, model.vocab_size)[None]  # (1, V)
        if not bool(sampler.log_probs(probe).isfinite().all()):
            raise DoesNotFit(
                "sampler: gives some tokens no probability, so what it samples is not the model's policy and ratios of "
                "probabilities are biased: use one with full support, such as multinomial"
            )
