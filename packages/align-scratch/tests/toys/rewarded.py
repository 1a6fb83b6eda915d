"""Pairs of right and wrong sums, and small bodies for reward models."""

from __future__ import annotations

from typing import Any

from align_scratch.tasks.problems import Pair
from inference_scratch.score import Sequences, pack

SHAPE = {"vocab_size": 39, "n_layer": 2, "n_head": 2, "n_embd": 16, "max_length": 24, "dropout": 0.1}
SMALL = {"batch_size": 8, "warmup_steps": 0, "encoder_layers": 1, "encoder_heads": 2, "encoder_embd": 16}


class PairTask:
    """Right sums are chosen; the rejected are longer, shorter or as long."""

    def __init__(self, pairs: list[Any] | None = None) -> None:
        self.given = pairs

    def pairs(self, split: str) -> list[Any]:
        if self.given is not None:
            return self.given
        numbers = range(0, 40) if split == "train" else range(40, 60)
        return [Pair(f"{n} =", f" {n}", f" {n + 1}" + (" 0" if n % 3 == 0 else "")) for n in numbers]


def rows(prompts: list[list[int]], completions: list[list[int]]) -> Sequences:
    return pack(prompts, completions)
