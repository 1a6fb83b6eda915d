"""Pairs and labelled completions as token ids, checked once before any training.

A pair that says nothing (both sides equal) or that the model cannot read (too long; cutting a side would change what
was preferred) is left out and counted. A pair that lacks a side is an error: something is wrong with the data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from align_scratch.errors import DataError, DoesNotFit
from align_scratch.protocols import Tokenizer
from align_scratch.rollouts import Rollouts
from inference_scratch.score import Sequences, pack

Ids = list[int]


@dataclass
class PairRows:
    """Pairs of completions, the end mark included where a completion ended."""

    prompts: list[Ids] = field(default_factory=list)
    chosen: list[Ids] = field(default_factory=list)
    rejected: list[Ids] = field(default_factory=list)
    margins: list[float | None] = field(default_factory=list)
    """By how much the chosen is better, where the data say so."""
    texts: list[Any] = field(default_factory=list)
    """The pairs themselves, for a person to read."""
    equal: int = 0
    too_long: int = 0

    def __len__(self) -> int:
        return len(self.prompts)

    def batch(self, rows: Sequence[int], device: torch.device | str) -> Sequences:
        """Of P pairs: the P chosen, then the P rejected, each behind its prompt, as (2P, T)."""
        prompts = [self.prompts[row] for row in rows]
        completions = [self.chosen[row] for row in rows] + [self.rejected[row] for row in rows]
        return pack(prompts + prompts, completions, device=device)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """The ids alone, as tensors."""
        return {name: _ragged(getattr(self, name)) for name in ("prompts", "chosen", "rejected")}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Mapping[str, Tensor]]) -> PairRows:
        prompts, chosen, rejected = (_lists(state[name]) for name in ("prompts", "chosen", "rejected"))
        return cls(prompts=prompts, chosen=chosen, rejected=rejected, margins=[None] * len(prompts))

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        sides = zip(self.prompts, self.chosen, self.rejected, strict=True)
        return max((len(p) + max(len(c), len(r)) for p, c, r in sides), default=0)


def _ragged(rows: Sequence[Ids]) -> dict[str, Tensor]:
    flat = torch.tensor([i for row in rows for i in row], dtype=torch.int64)
    return {"ids": flat, "lengths": torch.tensor([len(row) for row in rows], dtype=torch.int64)}


def _lists(ragged: Mapping[str, Tensor]) -> list[Ids]:
    return [part.tolist() for part in ragged["ids"].split(ragged["lengths"].tolist())]  # type: ignore[no-untyped-call]


def end_ids(tokenizer: Tokenizer) -> Ids:
    """The end mark. Raises DoesNotFit if there is none, since nothing would say where a completion ends."""
    if tokenizer.eos_id is None:
        raise DoesNotFit(
            "tokenizer: has no eos_id, but a completion must be able to end: use one that has, such as bpe or byte"
        )
    return [tokenizer.eos_id]


def encode_pairs(pairs: Sequence[Any], tokenizer: Tokenizer, *, max_length: int | None, what: str) -> PairRows:
    """Objects with `prompt`, `chosen`, `rejected` and perhaps `margin`; `what` names them in messages.

    Raises DataError for a pair without a side, DoesNotFit if no pair is left.
    """
    end = end_ids(tokenizer)
    for number, pair in enumerate(pairs, start=1):
        for side in ("prompt", "chosen", "rejected"):
            if not isinstance(getattr(pair, side, None), str):
                raise DataError(f"{what}: pair {number}: has no {side}")
    ids = [tokenizer.encode_batch([getattr(pair, side) for pair in pairs]) for side in ("prompt", "chosen", "rejected")]
    rows = PairRows()
    for number, (pair, prompt, chosen, rejected) in enumerate(zip(pairs, *ids, strict=True), start=1):
        margin = getattr(pair, "margin", None)
        if margin is not None and not math.isfinite(margin):
            raise DataError(f"{what}: pair {number}: margin is {margin}, must be a finite number")
        if not prompt:
            raise DataError(f"{what}: pair {number}: its prompt has no tokens, and a model needs one to start from")
        if chosen == rejected:
            rows.equal += 1
        elif max_length is not None and len(prompt) + max(len(chosen), len(rejected)) + 1 > max_length:
            rows.too_long += 1
        else:
            rows.prompts.append(prompt)
            rows.chosen.append(chosen + end)
            rows.rejected.append(rejected + end)
            rows.margins.append(margin)
            rows.texts.append(pair)
    left_out = f"{rows.equal} with equal sides"
    if rows.too_long:
        left_out += f" and {rows.too_long} that do not fit into {max_length} tokens"
    if not rows:
        raise DoesNotFit(
            f"{what}: no pair is left of {len(pairs)}, {left_out}: use other data, or enlarge the model's context"
        )
    if rows.equal or rows.too_long:
        warnings.warn(f"{what}: left out {left_out}, of {len(pairs)} pairs", stacklevel=2)
    return rows


def best_and_worst(rollouts: Rollouts) -> tuple[PairRows, Tensor]:
    """The best and the worst of each group of samples, by the task's marks; and the role of each sample.

    Roles (P, G) are 1 for the chosen, -1 for the rejected, 0 for all others. Groups whose marks are all equal say
    nothing, and samples without a mark are passed over. Samples keep the ids they were sampled as, and those that were
    cut off have no end mark. Of equal marks the first sample counts.
    """
    rewards = rollouts.rewards  # (P, G)
    known = ~rewards.isnan()
    best = rewards.masked_fill(~known, -torch.inf).argmax(1)  # (P,)
    worst = rewards.masked_fill(~known, torch.inf).argmin(1)  # (P,)
    roles = torch.zeros_like(rewards)
    rows = PairRows()
    sequences, size = rollouts.sequences, rollouts.group_size
    for group, (high, low) in enumerate(zip(best.tolist(), worst.tolist(), strict=True)):
        if not known[group].any() or not rewards[group, high] > rewards[group, low]:
            rows.equal += 1
            continue
        roles[group, high], roles[group, low] = 1, -1
        prompt, chosen = _cut(sequences, group * size + high)
        rows.prompts.append(prompt)
        rows.chosen.append(chosen)
        rows.rejected.append(_cut(sequences, group * size + low)[1])
        rows.margins.append(None)
    return rows, roles


def _cut(sequences: Sequences, row: int) -> tuple[Ids, Ids]:
    """Prompt and completion of a row."""
    prompt, completion = int(sequences.prompt_lengths[row]), int(sequences.completion_lengths[row])
    ids: Ids = sequences.ids[row].tolist()
    return ids[:prompt], ids[prompt : prompt + completion]


@dataclass
class LabelledRows:
    """Single completions that were liked or not, and for each the completion of another prompt."""

    prompts: list[Ids] = field(default_factory=list)
    completions: list[Ids] = field(default_factory=list)
    desirable: list[bool] = field(default_factory=list)
    others: list[Ids] = field(default_factory=list)
    """A completion that belongs to another prompt: what KTO's reference point is estimated from."""
    too_long: int = 0

    def __len__(self) -> int:
        return len(self.prompts)

    def batch(self, rows: Sequence[int], device: torch.device | str) -> Sequences:
        """The rows (N, T)."""
        return pack([self.prompts[row] for row in rows], [self.completions[row] for row in rows], device=device)

    def mismatched(self, rows: Sequence[int], device: torch.device | str) -> Sequences:
        """Their prompts with completions of other prompts (N, T)."""
        return pack([self.prompts[row] for row in rows], [self.others[row] for row in rows], device=device)


def labelled_from_pairs(pairs: PairRows) -> LabelledRows:
    """The chosen are desirable, the rejected are not."""
    rows = LabelledRows(too_long=pairs.too_long)
    for prompt, chosen, rejected in zip(pairs.prompts, pairs.chosen, pairs.rejected, strict=True):
        rows.prompts += [prompt, prompt]
        rows.completions += [chosen, rejected]
        rows.desirable += [True, False]
    return rows


def encode_labelled(items: Sequence[Any], tokenizer: Tokenizer, *, max_length: int | None, what: str) -> LabelledRows:
    """Objects with `prompt`, `completion` and `label` (True: desirable).

    Raises DataError for an item without one of them, DoesNotFit if none is left.
    """
    end = end_ids(tokenizer)
    for number, item in enumerate(items, start=1):
        for name, kind in (("prompt", str), ("completion", str), ("label", bool)):
            value = getattr(item, name, None)
            if not isinstance(value, kind):
                raise DataError(f"{what}: item {number}: {name} is {value!r:.40}, must be {kind.__name__}")
    prompts = tokenizer.encode_batch([item.prompt for item in items])
    completions = tokenizer.encode_batch([item.completion for item in items])
    rows = LabelledRows()
    for number, (item, prompt, completion) in enumerate(zip(items, prompts, completions, strict=True), start=1):
        if not prompt:
            raise DataError(f"{what}: item {number}: its prompt has no tokens, and a model needs one to start from")
        if max_length is not None and len(prompt) + len(completion) + 1 > max_length:
            rows.too_long += 1
            continue
        rows.prompts.append(prompt)
        rows.completions.append(completion + end)
        rows.desirable.append(item.label)
    if not rows:
        raise DoesNotFit(f"{what}: nothing is left of {len(items)} items, {rows.too_long} of them too long")
    if rows.too_long:
        warnings.warn(f"{what}: left out {rows.too_long} of {len(items)} that are too long", stacklevel=2)
    return rows


def with_others(rows: LabelledRows, *, max_length: int | None, what: str) -> LabelledRows:
    """The same rows with `others`: the completion of the next row that has another prompt and fits behind this one.

    Fixed once, so that neither the batch size nor the way a batch is split decides what the reference point is made
    of. Warns if all labels are alike. Raises DoesNotFit if there is but one prompt.
    """
    n = len(rows)
    if len({tuple(prompt) for prompt in rows.prompts}) < 2:
        raise DoesNotFit(f"{what}: all rows have one prompt, but kto needs completions of other prompts; use sigmoid")
    if len(set(rows.desirable)) == 1:
        liked = "desirable" if rows.desirable[0] else "undesirable"
        warnings.warn(f"{what}: every row is {liked}: kto then only moves all of them one way", stacklevel=2)
    rows.others = []
    for row, prompt in enumerate(rows.prompts):
        room = math.inf if max_length is None else max_length - len(prompt)
        following = ((row + step) % n for step in range(1, n))
        fitting = (i for i in following if rows.prompts[i] != prompt and len(rows.completions[i]) <= room)
        found = next(fitting, None)
        rows.others.append(rows.completions[row] if found is None else rows.completions[found])
    return rows
