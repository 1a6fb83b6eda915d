"""The student, and the teacher that it is at other weights and with another prompt (arXiv:2601.20802, section 3.2).

A teacher is a second set of the *trainable* numbers only: over an adapter it costs as much as the adapter, 13 numbers
say. Kinds: `ema`, phi <- (1 - tau) phi + tau theta after each rollout batch; `frozen`, the weights at the start;
`live`, the student's own; `trust_region`, (1 - tau) frozen + tau live, mixed in logits or in probabilities.

Averaging v of TinyLoRA or R of LoRA-XS averages the change of the weights, which is linear in them. LoRA's is not: what
is averaged there is A and B. The average is kept in fp32, also of half-precision weights: there a share of 0.05 of a
small difference would round to nothing, and the teacher would stand still.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from align_scratch.protocols import Model, Sampler
from align_scratch.scoring import completion_logits
from inference_scratch.score import Sequences


class Teacher:
    """Starts as the student is now."""

    def __init__(self, model: Model, named: Mapping[str, nn.Parameter], *, kind: str, rate: float, mix: str) -> None:
        """`named`: what is trained of `model`, by name."""
        self.model, self.named, self.kind, self.rate, self.mix = model, named, kind, rate, mix
        self.weights = {} if kind == "live" else {name: p.detach().clone() for name, p in named.items()}
        self.averages = {
            name: weight.float() for name, weight in self.weights.items() if kind == "ema" and weight.itemsize < 4
        }
        """What `weights` are roundings of, where they are in half precision."""

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside the block the model has the teacher's weights. They are exchanged, not copied."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for name, weight in self.weights.items():
            parameter = self.named[name]
            parameter.data, self.weights[name] = weight, parameter.data

    @torch.no_grad()
    def log_probs(self, rows: Sequences, sampler: Sampler) -> Tensor:
        """log q (M, V) at every completion token of `rows`, whose prompts are the teacher's. Puts the model in eval."""
        self.model.eval()
        with self.active():
            logits, _ = completion_logits(self.model, rows)  # (M, V)
        if self.kind != "trust_region":
            return sampler.log_probs(logits)
        live, _ = completion_logits(self.model, rows)  # (M, V)
        if self.mix == "logit":
            return sampler.log_probs((1 - self.rate) * logits + self.rate * live)
        if self.rate in (0.0, 1.0):
            return sampler.log_probs(live if self.rate else logits)
        return torch.logaddexp(
            sampler.log_probs(logits) + math.log1p(-self.rate), sampler.log_probs(live) + math.log(self.rate)
        )

    @torch.no_grad()
    def update(self) -> None:
        """phi <- (1 - tau) phi + tau theta, for a moving average; nothing for the other kinds."""
        if self.kind == "ema":
            for name, weight in self.weights.items():
                now = self.named[name].detach()
                if name in self.averages:
                    weight.copy_(self.averages[name].lerp_(now.float(), self.rate))
                else:
                    weight.lerp_(now, self.rate)

    @torch.no_grad()
    def distance(self) -> float:
        """Euclidean distance of the teacher's numbers from the student's."""
        squares = [(weight - self.named[name]).square().sum() for name, weight in self.weights.items()]
        return float(torch.stack(squares).sum().sqrt()) if squares else 0.0

    def state_dict(self) -> dict[str, Tensor]:
        return {name: weight.clone() for name, weight in (self.weights | self.averages).items()}

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> None:
        """Raises ValueError if the state is that of other parameters."""
        if state.keys() != self.weights.keys():
            raise ValueError(f"teacher: the state has {len(state)} weights, but {len(self.weights)} are expected")
        for name, weight in self.weights.items():
            if weight.shape != state[name].shape:
                raise ValueError(
                    f"teacher: {name} has shape {tuple(state[name].shape)} in the state, {tuple(weight.shape)} here"
                )
        for name, weight in self.weights.items():
            weight.copy_(state[name])
            if name in self.averages:
                self.averages[name].copy_(state[name])


class Reading:
    """What a teacher thinks of one batch of completions, read part by part, and once where it cannot change.

    A frozen teacher, or an average that follows after the batch, says the same in each pass over the batch; it is kept
    if all of it together is at most `most_kept` numbers.
    """

    def __init__(self, teacher: Teacher, rows: Sequences, sampler: Sampler, *, most_kept: int) -> None:
        self.teacher, self.rows, self.sampler = teacher, rows, sampler
        stays = teacher.kind in ("ema", "frozen")
        self.keep = stays and int(rows.completion_lengths.sum()) * teacher.model.vocab_size <= most_kept
        self._known: dict[int, Tensor] = {}

    def __call__(self, rows: Tensor) -> Tensor:
        """log q (M, V) at the completion tokens of `rows`; two parts with the same first row must be the same part."""
        if not self.keep:
            return self.teacher.log_probs(self.rows.select(rows), self.sampler)
        first = int(rows[0])
        if first not in self._known:
            self._known[first] = self.teacher.log_probs(self.rows.select(rows), self.sampler)
        return self._known[first]
