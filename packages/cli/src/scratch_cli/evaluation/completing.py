"""Many completions at a time, from the contract of models alone: a cache, rows that are dropped once they have ended.

Also the probability of given completions. What packages offer to do this faster is not used here, so that any model is
judged in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Completion:
    """What a model wrote behind a prompt, without the EOS that ended it."""

    ids: list[int] = field(default_factory=list)
    finished: bool = False
    """Whether it ended by itself; else it was cut off."""


def complete(
    model: Any,
    prompts: Sequence[Sequence[int]],
    draw: Callable[[Tensor], Tensor],
    *,
    limit: int,
    eos_id: int | None,
    samples: int = 1,
) -> list[list[Completion]]:
    """`samples` completions of each prompt, which is read once: up to `limit` ids, or up to the model's `max_length`.

    draw: logits (N, V) -> ids (N,). Every prompt has at least one id, and room for one more in the model.
    """
    import torch

    with torch.inference_mode():
        return _complete(model, prompts, draw, limit, eos_id, samples)


def _complete(
    model: Any,
    prompts: Sequence[Sequence[int]],
    draw: Callable[[Tensor], Tensor],
    limit: int,
    eos_id: int | None,
    samples: int,
) -> list[list[Completion]]:
    import torch

    device = next(iter(model.parameters())).device
    lengths = torch.tensor([len(prompt) for prompt in prompts])  # (P,)
    longest = int(lengths.max())
    ids = torch.zeros(len(prompts), longest, dtype=torch.int64)  # (P, T)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    ids, lengths = ids.to(device), lengths.to(device)
    most = longest + limit if model.max_length is None else min(longest + limit, model.max_length)
    room = [min(limit, most - len(prompt)) if model.max_length else limit for prompt in prompts]
    found = [[Completion() for _ in range(samples)] for _ in prompts]
    flat = [completion for group in found for completion in group]

    cache = model.new_cache(len(prompts), most)
    features = model.features(ids, lengths=lengths, cache=cache)  # (P, T, D)
    last = features[torch.arange(len(prompts), device=device), lengths - 1]  # (P, D)
    rows = torch.arange(len(prompts), device=device).repeat_interleave(samples)  # (N,)
    if samples > 1:
        cache, last = cache.select(rows), last[rows]
    owners = list(range(len(flat)))  # which completion each row of the cache is
    while True:
        drawn = draw(model.head(last))  # (N,)
        going = []
        for place, (owner, token) in enumerate(zip(owners, drawn.tolist(), strict=True)):
            if token == eos_id:
                flat[owner].finished = True
                continue
            flat[owner].ids.append(token)
            if len(flat[owner].ids) < room[owner // samples]:
                going.append(place)
        if not going:
            return found
        if len(going) < len(owners):
            keep = torch.tensor(going, device=device)
            cache, drawn, owners = cache.select(keep), drawn[keep], [owners[place] for place in going]
        last = model.features(drawn[:, None], cache=cache)[:, -1]  # (N, D)


def log_likelihoods(model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> list[float]:
    """The log-probability of each completion (not empty) behind the prompt (not empty), in nats, at temperature 1."""
    import torch

    device = next(iter(model.parameters())).device
    rows = [[*prompt, *completion] for completion in completions]
    lengths = torch.tensor([len(row) for row in rows], device=device)  # (N,)
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)  # (N, T)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    ids = ids.to(device)
    with torch.inference_mode():
        features = model.features(ids, lengths=lengths)[
            :, len(prompt) - 1 : -1
        ]  # (N, T', D): what predicts completions
        logits = model.head(features).float()  # (N, T', V)
        chosen = logits.log_softmax(-1).gather(-1, ids[:, len(prompt) :, None])[..., 0]  # (N, T')
    real = torch.arange(chosen.shape[1], device=device) < (lengths - len(prompt))[:, None]  # (N, T')
    return [float(value) for value in (chosen.double() * real).sum(1)]
