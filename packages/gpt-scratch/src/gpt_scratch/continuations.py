"""A few texts in the model's own words, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gpt_scratch.evaluation import evaluating
from gpt_scratch.protocols import LanguageModel, Sampler, Tokenizer

PROMPT_TOKENS = 24
NEW_TOKENS = 64


def draw(logits: Tensor, generator: torch.Generator, sampler: Sampler | None) -> Tensor:
    """Next ids (B,) from logits (B, V): by `sampler`, or from the softmax at temperature 1."""
    if sampler is not None:
        return sampler.sample(logits, generator)
    return torch.multinomial(torch.softmax(logits.float(), dim=-1), 1, generator=generator).squeeze(1)


def continuations(
    model: LanguageModel, tokenizer: Tokenizer, stream: Tensor, n: int, *, sampler: Sampler | None, device: torch.device
) -> Sequence[Mapping[str, str]]:
    """`n` prefixes from evenly spaced places of `stream` (N,), each with what the model says next, up to EOS.

    Uses a generator of its own: no random state changes, and calling it twice gives the same texts.
    """
    if n < 1:
        return []
    limit = model.max_length or PROMPT_TOKENS + NEW_TOKENS
    width = max(1, min(PROMPT_TOKENS, limit // 2, len(stream)))
    new = min(NEW_TOKENS, limit - width)
    starts = torch.linspace(0, len(stream) - width, n).long()
    prompts = stream[starts.unsqueeze(1) + torch.arange(width)]  # (n, width)
    generator = torch.Generator(device).manual_seed(0)
    pieces = []
    with evaluating(model):
        cache = model.new_cache(n, width + new)
        ids = prompts.to(device)
        for _ in range(new):
            logits = model.head(model.features(ids, cache=cache)[:, -1])  # (n, V)
            ids = draw(logits, generator, sampler).unsqueeze(1)  # (n, 1)
            pieces.append(ids.cpu())
    completions = torch.cat(pieces, dim=1).tolist() if pieces else [[] for _ in range(n)]
    return [
        {"prompt": tokenizer.decode(prompt), "completion": tokenizer.decode(_until(row, tokenizer.eos_id))}
        for prompt, row in zip(prompts.tolist(), completions, strict=True)
    ]


def _until(ids: list[int], eos_id: int | None) -> list[int]:
    return ids[: ids.index(eos_id)] if eos_id is not None and eos_id in ids else ids
