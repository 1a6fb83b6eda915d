"""A task of pairs that one letter decides, and a small run of dpo."""

from __future__ import annotations

from typing import Any

from align_scratch.tasks.problems import Example, Pair, Score

SMALL = {"steps": 4, "batch_size": 6, "warmup_steps": 0, "eval_pairs": 8, "lr": 5e-3}
SAMPLED = {"pairs": "sampled", "prompts_per_sampling": 6, "group_size": 4, "max_new_tokens": 4, "resample_every": 2}


class Tasks:
    """Twenty prompts, of which the letter is wanted back; what is rejected is another one, and longer."""

    def __init__(self, **changed: Any) -> None:
        self.changed = changed

    def examples(self, split: str) -> list[Example]:
        letters = "abcdefghijklmnop" if split == "train" else "qrst"
        return [Example(f"{letter} =", f" {letter}", f" {letter}") for letter in letters]

    def check(self, example: Example, completion: str) -> Score:
        reward = sum(c == " " for c in completion[:4]) / 4 + float(completion == example.answer)
        return Score(reward=reward, correct=completion == example.answer, parts={"toy": reward})

    def pairs(self, split: str) -> list[Any]:
        if "pairs" in self.changed:
            return self.changed["pairs"]
        return [Pair(e.prompt, e.answer, " 12") for e in self.examples(split)]
