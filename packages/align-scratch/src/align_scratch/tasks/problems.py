"""What all tasks with a checker share: examples, scores, a split that leaks nothing, and exact marking.

Which side of the split a problem falls on is a property of the problem alone (a keyed hash), not of the seed: a model
trained under one seed has never seen a held-out prompt of any other. Nothing depends on PYTHONHASHSEED.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import zip_longest
from operator import eq
from typing import Literal

HELD_OUT_SHARE = 1 / 8
SPLITS = ("train", "held_out")
Feedback = Literal["symbol", "place", "so_far", "so_far_symbol", "answer"]
_SHOWN = 40  # characters of a wrong completion that an explanation quotes
PERFECT = (
    "Every demonstration is already right, so more imitation does as well as reinforcement here: "
    "a reward earns its keep where demonstrations are missing or mixed (task sort)."
)


@dataclass(frozen=True, slots=True)
class Example:
    """One problem. `demonstration` is the completion to imitate; some tasks deliberately show another than `answer`."""

    prompt: str
    answer: str
    demonstration: str


@dataclass(frozen=True, slots=True)
class Score:
    """The marks of one completion: `reward` is the weighted sum of `parts`, `explanation` is empty if it is correct."""

    reward: float
    correct: bool
    parts: Mapping[str, float] = field(default_factory=dict)
    explanation: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What went wrong in judging, `PART/errors`, `PART/timeouts`, `PART/unparsed`, ...; only what did."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one prompt, of which `chosen` is preferred, by at least `margin` if one is stated."""

    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None


def hash_unit(text: str, key: str) -> float:
    """A number in [0, 1) that `text` alone decides; another `key` gives an independent number."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def symbols(number: int, alphabet: str, length: int) -> list[str]:
    """Number `number` of all sequences of `length` symbols: its digits, lowest first, in a system that has these."""
    found: list[str] = []
    for _ in range(length):
        number, symbol = divmod(number, len(alphabet))
        found.append(alphabet[symbol])
    return found


def is_held_out(problem: str) -> bool:
    return hash_unit(problem, "scratch split") < HELD_OUT_SHARE


def distinct(space: int, wanted: int, seed: int) -> Iterator[int]:
    """Integers below `space` in random order, each once; by listing them all if many of them are wanted."""
    rng = random.Random(seed)
    if space <= 4 * wanted:
        yield from rng.sample(range(space), space)
        return
    seen: set[int] = set()
    while len(seen) < space:
        number = rng.randrange(space)
        if number not in seen:
            seen.add(number)
            yield number


def draw_examples(
    make: Callable[[int], Example],
    *,
    space: int,
    n_train: int,
    n_held_out: int,
    seed: int,
    identity: Callable[[int], str] | None = None,
) -> dict[str, Sequence[Example]]:
    """Up to `n_train` and `n_held_out` different problems; fewer where the `space` of numbered problems has no more.

    `make(i)` gives problem `i` of `space`; different numbers must give different prompts. Problems of one `identity`
    (by default the prompt) stand on one side of the split. Raises ValueError if one side stays empty.
    """
    sides: dict[str, list[Example]] = {"train": [], "held_out": []}
    room = {"train": n_train, "held_out": n_held_out}
    for number in distinct(space, round(max(n_train, n_held_out / HELD_OUT_SHARE)), seed):
        example = make(number)
        problem = example.prompt if identity is None else identity(number)
        side = "held_out" if is_held_out(problem) else "train"
        if len(sides[side]) < room[side]:
            sides[side].append(example)
        elif all(len(sides[name]) >= room[name] for name in SPLITS):
            break
    return complete(sides)


def complete(sides: Mapping[str, Sequence[Example]]) -> dict[str, Sequence[Example]]:
    """The two sides as they stay. Raises ValueError if one is empty."""
    for name, examples in sides.items():
        if not examples:
            raise ValueError(
                f"task: has no {name} problem at this difficulty: there are too few problems; make it harder"
            )
    return {name: tuple(examples) for name, examples in sides.items()}


def mark(answer: str, completion: str, *, partial: float = 0.0, feedback: Feedback = "symbol") -> Score:
    """Exact match after stripping outer white space; `partial` of the reward is paid for items at the right position.

    `feedback` is how much the explanation gives away: place = where the first wrong item is and what it is, symbol =
    also what belongs there, so_far and so_far_symbol = these and the right items in front of it, answer = everything.

    `completion` is untrusted text of any length: every operation is linear in it and nothing in it is executed.
    """
    answer, completion = answer.strip(), completion.strip()
    if completion == answer:
        return Score(reward=1.0, correct=True, parts={"exact": 1.0, "positions": 1.0})
    want, got = _items(answer, completion)
    right = sum(map(eq, want, got)) / max(len(want), len(got), 1)
    if got == want:
        right = 0.0  # only the white space between the items, or text far behind them, is wrong
    return Score(
        reward=partial * right,
        correct=False,
        parts={"exact": 0.0, "positions": right},
        explanation=f"expected {answer}" if feedback == "answer" else _first_difference(want, got, feedback),
    )


def first_wrong(answer: str, completion: str) -> int | None:
    """The first item that is not as in the answer, counted from 1; None if all are."""
    want, got = _items(answer.strip(), completion.strip())
    return next((at for at, (w, g) in enumerate(zip_longest(want, got), start=1) if w != g), None)


def _items(answer: str, completion: str) -> tuple[list[str], list[str]]:
    return answer.split(), completion[: 64 * len(answer) + 64].split()  # far beyond any answer nothing is left to mark


def _first_difference(want: Sequence[str], got: Sequence[str], feedback: Feedback) -> str:
    for position, (w, g) in enumerate(zip_longest(want, got), start=1):
        if w == g:
            continue
        found = "nothing there" if g is None else f"got {g[:_SHOWN]!r}" + ("..." if len(g) > _SHOWN else "")
        belongs = ""
        if feedback in ("symbol", "so_far_symbol"):
            belongs = ", expected the end" if w is None else f", expected {w!r}"
        so_far = " ".join((", after", *want[: position - 1])) if feedback.startswith("so_far") and position > 1 else ""
        return f"position {position}: {found}{belongs}{so_far}"
    return "the items are right, but not separated or ended as in the answer"


class ProblemTask:
    """A task made of numbered problems: subclasses build `_examples` and may add words about what the task shows."""

    lesson: str = ""
    partial: float = 0.0
    feedback: Feedback = "symbol"
    _examples: Mapping[str, Sequence[Example]]

    def examples(self, split: str, /) -> Sequence[Example]:
        """Problems of "train" or "held_out"; the same objects each time."""
        if split not in SPLITS:
            raise ValueError(f"split: got {split!r}, must be one of {', '.join(SPLITS)}")
        return self._examples[split]

    def texts(self, split: str = "train", /) -> Iterator[str]:
        """Prompt and demonstration as one text each: what a tokenizer or a language model learns from."""
        return (example.prompt + example.demonstration for example in self.examples(split))

    def check(self, example: Example, completion: str, /) -> Score:
        """Mark `completion`, which is untrusted model text, in time linear in its length."""
        return mark(example.answer, completion, partial=self.partial, feedback=self.feedback)
