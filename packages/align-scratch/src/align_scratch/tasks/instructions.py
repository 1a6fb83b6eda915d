"""Task `instructions`: small things to do with letters and digits, asked for in words and put by a template.

What instruction tuning is about in the small: one model, many kinds of request, and the form of the answer learned from
demonstrations. Answers are exact, so that what was learned can be measured. Items stand between spaces, one token each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from string import ascii_lowercase, digits

from align_scratch.config.data import InstructionsConfig
from align_scratch.records.fields import Message
from align_scratch.tasks.problems import SPLITS, Example, ProblemTask, is_held_out
from align_scratch.templates import template

Items = Sequence[str]

KINDS: dict[str, tuple[str, str, Callable[[Items], str]]] = {
    "backwards": ("Write {} backwards.", ascii_lowercase, lambda items: " ".join(reversed(items))),
    "repeat": ("Repeat {}.", ascii_lowercase, lambda items: " ".join(items)),
    "capitals": ("Write {} in capitals.", ascii_lowercase, lambda items: " ".join(items).upper()),
    "first": ("What is the first letter of {}?", ascii_lowercase, lambda items: items[0]),
    "last": ("What is the last letter of {}?", ascii_lowercase, lambda items: items[-1]),
    "count": ("How many letters are in {}?", ascii_lowercase, lambda items: " ".join(str(len(items)))),
    "largest": ("What is the largest digit of {}?", digits, lambda items: max(items)),
    "sort": ("Sort {}.", digits, lambda items: " ".join(sorted(items))),
}
"""Words of the instruction, what its items are drawn from, and the answer."""

_TRIES = 20  # draws for each problem that is wanted, before the space counts as used up


class Instructions(ProblemTask):
    """`Write c a t backwards.` -> `t a c`, within a template such as Alpaca's."""

    def __init__(self, config: InstructionsConfig) -> None:
        self.config = config
        self.template = template(config.template)
        self.lesson = f"Eight kinds of instruction, put by template {config.template}; every demonstration is right."
        room = {"train": config.n_train, "held_out": config.n_held_out}
        sides: dict[str, list[Example]] = {split: [] for split in SPLITS}
        for instruction, answer in self._drawn(sum(room.values()) * _TRIES):
            side = "held_out" if is_held_out(instruction) else "train"  # whichever template puts it
            if len(sides[side]) < room[side]:
                prompt = self.template.prompt((Message("user", instruction),))
                sides[side].append(Example(prompt, answer, answer))
            elif all(len(sides[split]) == room[split] for split in SPLITS):
                break
        self._examples = {split: tuple(examples) for split, examples in sides.items()}

    def _drawn(self, tries: int) -> Iterator[tuple[str, str]]:
        """Different instructions and their answers, every kind equally often while it has new ones."""
        rng = random.Random(self.config.seed)
        seen: set[str] = set()
        for _ in range(tries):
            words, alphabet, solve = KINDS[rng.choice(tuple(KINDS))]
            items = rng.choices(alphabet, k=rng.randint(1, self.config.length))
            instruction = words.format(" ".join(items))
            if instruction not in seen:
                seen.add(instruction)
                yield instruction, solve(items)
