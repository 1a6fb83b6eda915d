"""Batched generation with a KV cache, for rows of unequal length, and streaming for one prompt.

Prompts are padded on the right and read in one pass; each is read once however many samples it gets. Then all rows
take one id a step until every row has ended. A row ends with `eos_id` (finished), or after `max_new_tokens`, or when it
fills the model's `max_length` (both not finished).

Randomness: step t takes one uniform number for each of the N rows from the generator, ended rows included. So a row's
number depends on its place in the batch and on the step alone: neighbours that end early, or are dropped from the batch
to save time, change nothing but rounding (matrix products of another shape may differ in the last bit).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from inference_scratch.drawing import WHY, NoDistribution, invert, uniforms
from inference_scratch.padding import pad_right
from inference_scratch.protocols import Model, Sampler


class PromptError(ValueError):
    """A prompt that cannot be continued: empty, too long, or with ids that the model does not have."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What was generated for N = prompts x samples rows; row i * samples_per_prompt + j is sample j of prompt i.

    Ordinary tensors on the model's device. What is real is said by `lengths`, never by the ids: `pad_id` may be any id.
    """

    tokens: Tensor
    """(N, T_new) int64: new ids without the prompt, padded on the right. T_new is the longest row's length."""
    lengths: Tensor
    """(N,) int64: how many ids of each row are real, EOS included."""
    log_probs: Tensor
    """(N, T_new) fp32: of each chosen id under the sampler's distribution; 0 at padding."""
    finished: Tensor
    """(N,) bool: the row ended with EOS; otherwise it was cut off."""

    @property
    def mask(self) -> Tensor:
        """(N, T_new) bool: True where there is an id, False at padding."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]

    def to_lists(self) -> list[list[int]]:
        """The ids of each row without padding, EOS included."""
        rows = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [row[:length] for row, length in rows]


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    sampler: Sampler,
    max_new_tokens: int,
    generator: torch.Generator,
    eos_id: int | None = None,
    pad_id: int = 0,
    samples_per_prompt: int = 1,
    compact: bool = True,
) -> Generation:
    """Continue each of B prompts `samples_per_prompt` times: see Generation for what comes back and in which order.

    Without `eos_id` every row runs to its limit. A row's limit is `max_new_tokens`, or less where prompt and completion
    would exceed `model.max_length`. `generator` is on the model's device; the same seed gives the same rows.
    `compact` drops ended rows from the batch once a quarter of it has ended: with 512 rows of unequal length that saves
    a third to two thirds of the time, and no row's ids depend on it.

    The model runs in eval mode and without gradients; its modules' modes are as before afterwards. Raises PromptError
    for a prompt that is empty, fills the context or holds unknown ids, and NoDistribution (naming step and row) if the
    model's logits leave nothing to draw from.
    """
    _check_counts(max_new_tokens=max_new_tokens, samples_per_prompt=samples_per_prompt)
    device = _device(model, generator)
    ids, prompt_lengths = _checked(model, prompts, device)
    n = len(prompts) * samples_per_prompt
    limits = [_limit(model, length, max_new_tokens) for length in prompt_lengths]
    leaving = set(limits)  # after these many steps some row is at its limit
    # The last id of a row is drawn but never read.
    capacity = max(length + limit - 1 for length, limit in zip(prompt_lengths, limits, strict=True))

    # A step writes one contiguous row of these, for rows that have ended too: what is real is sorted out at the end.
    tokens = torch.full((max(limits), n), -1, device=device)  # (T_new, N)
    log_probs = torch.zeros((max(limits), n), device=device)  # (T_new, N)
    rows = torch.arange(n, device=device)  # (M,): the place in the output of each row still in the batch
    alive = torch.ones(n, dtype=torch.bool, device=device)  # (M,)
    limit = torch.tensor(limits, device=device).repeat_interleave(samples_per_prompt)  # (N,)

    with _evaluating(model), torch.inference_mode():
        cache = model.new_cache(len(prompts), capacity)
        logits = _read(model, ids, prompt_lengths, cache)  # (B, V)
        for step in range(max(limits)):
            noise = uniforms(n, generator)  # (N,)
            noise = noise if len(rows) == n else noise[rows]  # (M,)
            distribution = sampler.log_probs(logits)  # (B, V) in the first step, then (M, V)
            chosen = invert(distribution, noise.view(len(distribution), -1))  # (B, G), then (M, 1)
            chosen_log_probs = distribution.gather(-1, chosen).view(-1)  # (M,)
            chosen = chosen.view(-1)  # (M,)
            tokens[step, rows] = chosen
            log_probs[step, rows] = chosen_log_probs.float()

            going = alive
            if eos_id is not None:
                alive = alive & (chosen != eos_id)
            full = step + 1 in leaving
            if full:
                alive = alive & (limit[rows] > step + 1)
            n_alive, worst = torch.stack((alive.sum(), chosen_log_probs.min())).tolist()  # the only wait for the device
            if not worst > -math.inf:  # NaN too; rows that had ended before may be what they like
                for row in rows[going & ~(chosen_log_probs > -math.inf)].tolist():
                    where = f"step {step + 1}, prompt {row // samples_per_prompt}, sample {row % samples_per_prompt}"
                    raise NoDistribution(f"{where}: {WHY}")
            if n_alive == 0:
                break

            if step == 0 and samples_per_prompt > 1:
                cache = cache.select(torch.arange(len(prompts), device=device).repeat_interleave(samples_per_prompt))
            # A row at its limit has to go: its cache may be full. The others go when it pays.
            if n_alive < len(rows) and (full or (compact and n_alive <= len(rows) * 3 // 4)):
                kept = alive.nonzero()[:, 0]
                cache, rows, chosen, alive = cache.select(kept), rows[kept], chosen[kept], alive[kept]
            logits = model.head(model.features(chosen[:, None], cache=cache)[:, -1])  # (M, V)

    # What was made in inference mode is of no use to autograd; these are, and copies made here are as well.
    with torch.inference_mode(False):
        tokens, log_probs = (
            by_step[: step + 1].T.clone(memory_format=torch.contiguous_format) for by_step in (tokens, log_probs)
        )  # (N, T_new)
        lengths, finished = _ends(tokens, limit, eos_id)
        padding = torch.arange(step + 1, device=device) >= lengths[:, None]  # (N, T_new)
        return Generation(
            tokens=tokens.masked_fill_(padding, pad_id),
            lengths=lengths,
            log_probs=log_probs.masked_fill_(padding, 0),
            finished=finished,
        )


def stream(
    model: Model,
    prompt_ids: Sequence[int],
    *,
    sampler: Sampler,
    max_new_tokens: int,
    eos_id: int | None = None,
    generator: torch.Generator,
) -> Iterator[int]:
    """Ids one at a time as they are drawn, EOS included: the same ids as `generate` gives for this prompt alone.

    Errors of the prompt are raised at once, not at the first id. Between two ids the model is in its own mode and
    gradients are as the caller has them, so leaving early leaves nothing behind.
    """
    _check_counts(max_new_tokens=max_new_tokens)
    device = _device(model, generator)
    ids, lengths = _checked(model, [prompt_ids], device)
    steps = _limit(model, lengths[0], max_new_tokens)

    def ids_as_they_come() -> Iterator[int]:
        nonlocal ids
        cache = None
        for step in range(steps):
            with _evaluating(model), torch.inference_mode():
                if cache is None:
                    cache = model.new_cache(1, lengths[0] + steps - 1)
                distribution = sampler.log_probs(model.head(model.features(ids, cache=cache)[:, -1]))  # (1, V)
                ids = invert(distribution, uniforms(1, generator)[:, None])  # (1, 1)
                if not distribution.gather(-1, ids).item() > -torch.inf:
                    raise NoDistribution(f"step {step + 1}: {WHY}")
                chosen = int(ids.item())
            yield chosen
            if chosen == eos_id:
                return

    return ids_as_they_come()


def _read(model: Model, ids: Tensor, lengths: Sequence[int], cache: object) -> Tensor:
    """Read the prompts (B, T) into the cache: logits (B, V) after each prompt's last real id."""
    if min(lengths) == ids.shape[1]:
        return model.head(model.features(ids, cache=cache)[:, -1])
    real = torch.tensor(lengths, device=ids.device)  # (B,)
    features = model.features(ids, lengths=real, cache=cache)  # (B, T, D)
    return model.head(features[torch.arange(len(real), device=ids.device), real - 1])


def _ends(tokens: Tensor, limit: Tensor, eos_id: int | None) -> tuple[Tensor, Tensor]:
    """Where each row of `tokens` (N, T_new) ends: its length (N,), with the first EOS, and whether that is the end."""
    if eos_id is None:
        return limit.clone(), torch.zeros_like(limit, dtype=torch.bool)
    is_eos = (tokens == eos_id) & (torch.arange(tokens.shape[1], device=tokens.device) < limit[:, None])  # (N, T_new)
    finished = is_eos.any(1)  # (N,)
    first = is_eos.int().argmax(1)  # (N,); argmax promises the first of equal maxima
    return torch.where(finished, first + 1, limit), finished


def _checked(model: Model, prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, list[int]]:
    """Prompts as ids (B, T), padded on the right with 0, and the length of each; refuses what cannot be continued."""
    if not len(prompts):
        raise PromptError("no prompts: there is nothing to continue")
    try:
        ids, lengths = pad_right(prompts)
    except (TypeError, OverflowError) as error:  # text, fractions, None, numbers beyond 64 bits
        raise PromptError(f"prompts: must be lists of whole numbers, the ids of a tokenizer: {error}") from error
    for row, length in enumerate(lengths):
        if length == 0:
            raise PromptError(f"prompt {row}: is empty; start it with at least one id, such as the tokenizer's BOS")
        if model.max_length is not None and length >= model.max_length:
            raise PromptError(
                f"prompt {row}: has {length} ids, but the model reads {model.max_length} at most, "
                f"completion included; shorten it to at most {model.max_length - 1}"
            )
    smallest, largest = torch.aminmax(ids)
    if smallest < 0 or largest >= model.vocab_size:
        row, place = ((ids < 0) | (ids >= model.vocab_size)).nonzero()[0].tolist()
        raise PromptError(
            f"prompt {row}, position {place}: got id {int(ids[row, place])}, "
            f"but the model knows ids 0 to {model.vocab_size - 1}"
        )
    return ids.to(device), lengths


def _limit(model: Model, prompt_length: int, max_new_tokens: int) -> int:
    return max_new_tokens if model.max_length is None else min(max_new_tokens, model.max_length - prompt_length)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: got {value!r}, must be a whole number of at least 1")


def _device(model: Model, generator: torch.Generator) -> torch.device:
    """Where the model is; refuses a generator that lives elsewhere, whose error in torch names no way out."""
    parameter = next(iter(model.parameters()), None)
    device = generator.device if parameter is None else parameter.device
    if device.type != generator.device.type:
        raise ValueError(
            f"generator: got one on {generator.device}, must be on the model's device: "
            f"torch.Generator(device={str(device)!r})"
        )
    return device


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Eval mode inside; afterwards every module is in the mode it was in, also where they differ."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
