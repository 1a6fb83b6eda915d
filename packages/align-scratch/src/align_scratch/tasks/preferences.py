"""Task `preferences`: pairs of a right answer and a flawed one, built from any task here that has one right answer.

What is wrong with the rejected one is stated, so that what a reward model or a preference loss has learned can be told
apart from what came along with it: with `truncated` the longer answer is always the better one, with `padded` the
shorter one. The answers that are marked are those of the task below, and so are prompts, demonstrations and texts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pkgutil import resolve_name
from typing import Any

from align_scratch.config.drawn_tasks import FLAWS, PreferencesConfig
from align_scratch.tasks.problems import Example, Pair, ProblemTask, Score, hash_unit

TASKS: Mapping[str, tuple[str, str, str]] = {
    "sort": ("sorting:Sort", "tasks:SortConfig", "length"),
    "add": ("addition:Add", "tasks:AddConfig", "digits"),
    "reverse": ("reversal:Reverse", "tasks:ReverseConfig", "length"),
    "sub": ("subtraction:Sub", "drawn_tasks:SubConfig", "digits"),
    "mul": ("multiplication:Mul", "drawn_tasks:MulConfig", "digits"),
    "copy": ("copying:Copy", "drawn_tasks:CopyConfig", "length"),
    "parity": ("parity:Parity", "drawn_tasks:ParityConfig", "length"),
    "count-letters": ("counting:CountLetters", "drawn_tasks:CountLettersConfig", "length"),
    "brackets": ("brackets:Brackets", "drawn_tasks:BracketsConfig", "length"),
    "countdown": ("countdown:Countdown", "drawn_tasks:CountdownConfig", "numbers"),
}
"""Class, config and difficulty of each."""

_TRIES = 50


class Preferences(ProblemTask):
    """One pair a problem: `chosen` is its answer, `rejected` the same with a flaw, and wrong by the task's checker.

    Where an answer cannot have the flaw (one symbol cannot be swapped), it is `changed` instead. Noise exchanges the
    two in training pairs only, so that held-out accuracy is about the truth.
    """

    def __init__(self, config: PreferencesConfig) -> None:
        self.config = config
        self.task = _build(config)
        self.partial = self.task.partial
        self.lesson = (
            f"Right answers of task {config.task} are preferred to flawed ones ({config.flaw}): "
            "preferences tell which of two behaviours is wanted, where demonstrations show both."
        )
        self._examples = {split: self.task.examples(split) for split in ("train", "held_out")}
        symbols = {item for example in self._examples["train"] for item in example.answer.split()}
        self._symbols = sorted(symbols) if len(symbols) > 1 else [*symbols, "0", "1"]
        self._pairs = {split: tuple(map(self._pair, examples)) for split, examples in self._examples.items()}
        self._pairs["train"] = tuple(map(self._with_noise, self._pairs["train"]))

    def pairs(self, split: str, /) -> Sequence[Pair]:
        """Pairs of "train" or "held_out", one for each of the examples, in their order; the same objects each time."""
        self.examples(split)  # refuses an unknown split
        return self._pairs[split]

    def check(self, example: Example, completion: str, /) -> Score:
        """As the task below marks it."""
        return self.task.check(example, completion)

    def _pair(self, example: Example) -> Pair:
        rng = random.Random(f"flaw {self.config.seed} {example.prompt}")
        flaw = rng.choice(FLAWS[:-1]) if self.config.flaw == "any" else self.config.flaw
        items = example.answer.split()
        for attempt in range(_TRIES):
            # A change may be right too, where there are many right answers; another one is tried then.
            spoil = _SPOIL[flaw] if attempt < _TRIES // 2 else _changed
            rejected = "".join(f" {item}" for item in spoil(items, self._symbols, rng))
            if rejected.split() != items and not self.task.check(example, rejected).correct:
                margin = self.config.margin * share_wrong(example.answer, rejected) if self.config.margin > 0 else None
                return Pair(example.prompt, example.answer, rejected, margin)
        raise ValueError(
            f"flaw: got {flaw!r}, must be another: no wrong answer to {example.prompt!r} was found with it"
        )

    def _with_noise(self, pair: Pair) -> Pair:
        if hash_unit(pair.prompt, f"noise {self.config.seed}") < self.config.noise:
            return Pair(pair.prompt, pair.rejected, pair.chosen, pair.margin)
        return pair


def share_wrong(answer: str, completion: str) -> float:
    """The share of positions, of the longer of both, whose symbols differ."""
    pairs = list(zip_longest(answer.split(), completion.split()))
    return sum(want != got for want, got in pairs) / len(pairs) if pairs else 0.0


def _build(config: PreferencesConfig) -> ProblemTask:
    if config.task not in TASKS:
        raise ValueError(f"task: got {config.task!r}, must be one of {', '.join(TASKS)}: pairs are built from these")
    task, options, dial = TASKS[config.task]
    given: dict[str, Any] = {"n_train": config.n_train, "n_held_out": config.n_held_out, "seed": config.seed}
    if config.difficulty is not None:
        given[dial] = config.difficulty
    try:
        built = resolve_name(f"align_scratch.config.{options}")(**given)
    except ValueError as error:
        raise ValueError(f"difficulty: got {config.difficulty}, refused by task {config.task}: {error}") from error
    made: ProblemTask = resolve_name(f"align_scratch.tasks.{task}")(built)
    return made


# Each gives other items, or the same ones where the answer cannot have the flaw.


def _changed(items: Sequence[str], symbols: Sequence[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(items))
    other = rng.choice([symbol for symbol in symbols if symbol != items[at]])
    return [*items[:at], other, *items[at + 1 :]]


def _truncated(items: Sequence[str], symbols: Sequence[str], rng: random.Random) -> list[str]:
    return list(items[: rng.randrange(1, len(items))]) if len(items) > 1 else list(items)


def _swapped(items: Sequence[str], symbols: Sequence[str], rng: random.Random) -> list[str]:
    places = [at for at in range(len(items) - 1) if items[at] != items[at + 1]]
    if not places:
        return list(items)
    at = rng.choice(places)
    return [*items[:at], items[at + 1], items[at], *items[at + 2 :]]


def _padded(items: Sequence[str], symbols: Sequence[str], rng: random.Random) -> list[str]:
    return [*items, *(rng.choice(symbols) for _ in range(rng.randint(1, max(1, len(items) // 2))))]


def _reversed(items: Sequence[str], symbols: Sequence[str], rng: random.Random) -> list[str]:
    return list(reversed(items))


_SPOIL: Mapping[str, Callable[[Sequence[str], Sequence[str], random.Random], list[str]]] = {
    "changed": _changed,
    "truncated": _truncated,
    "swapped": _swapped,
    "padded": _padded,
    "reversed": _reversed,
}
