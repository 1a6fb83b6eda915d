"""The options of tasks whose problems are drawn by number: arithmetic, letters, brackets, countdown, preferences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, refuse, within
from align_scratch.config.tasks import FEEDBACK, FEEDBACKS


@dataclass(frozen=True, kw_only=True)
class DrawnConfig:
    """What all of them have."""

    partial: float = option(0.0, "share of the reward paid for symbols at the right position; 0 = all or nothing")
    n_train: int = option(16384, "training problems, at most")
    n_held_out: int = option(1024, "held-out problems, at most")
    seed: int = option(0, "decides which problems are drawn")

    def __post_init__(self) -> None:
        within(self, 0.0, 1.0, "partial", why="it is a share")
        at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")
        within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")


@dataclass(frozen=True, kw_only=True)
class SubConfig(DrawnConfig):
    """Task `sub`."""

    digits: int = option(2, "most digits in a number: the difficulty")
    negative: bool = option(False, "also take the larger from the smaller, with answers below zero")
    zero_padded: bool = option(False, "write zeros in front, so that each place has a position of its own")
    reverse_answer: bool = option(False, "answers from the least digit on, so that carries come before they are needed")

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 1, 32, "digits", why="a number has a digit, and more than 32 is no small task")


@dataclass(frozen=True, kw_only=True)
class MulConfig(DrawnConfig):
    """Task `mul`."""

    digits: int = option(2, "most digits in a number: the difficulty")
    zero_padded: bool = option(False, "write zeros in front, so that each place has a position of its own")
    reverse_answer: bool = option(False, "answers from the least digit on, so that carries come before they are needed")

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 1, 32, "digits", why="a number has a digit, and more than 32 is no small task")


@dataclass(frozen=True, kw_only=True)
class CopyConfig(DrawnConfig):
    """Task `copy`."""

    length: int = option(8, "letters in a problem: the difficulty")

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 2, 64, "length", why="one letter is no sequence, and more than 64 is no small task")


@dataclass(frozen=True, kw_only=True)
class ParityConfig(DrawnConfig):
    """Task `parity`."""

    length: int = option(12, "bits in a problem: the difficulty")
    working: bool = option(True, "the answer is the parity after each bit, the last being the whole's; else one bit")

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 6, 64, "length", why="fewer than 64 problems leave nothing to hold out, and 64 bits are plenty")


@dataclass(frozen=True, kw_only=True)
class CountLettersConfig(DrawnConfig):
    """Task `count-letters`."""

    length: int = option(12, "letters in a word: the difficulty")
    letters: int = option(4, "different letters that words are made of")

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 4, 64, "length", why="short words leave nothing to hold out, and 64 letters are plenty")
        within(self, 2, 26, "letters", why="with one letter there is nothing to tell apart, and there are 26")


@dataclass(frozen=True, kw_only=True)
class BracketsConfig(DrawnConfig):
    """Task `brackets`."""

    length: int = option(10, "brackets in a problem: the difficulty")
    kinds: int = option(3, "kinds of brackets, of ( [ { <")

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 4, 64, "length", why="short problems leave nothing to hold out, and 64 brackets are plenty")
        within(self, 2, 4, "kinds", why="with one kind only their number matters, and there are four")


@dataclass(frozen=True, kw_only=True)
class CipherConfig(DrawnConfig):
    """Task `cipher`."""

    length: int = option(4, "letters in a problem: the difficulty, with symbols")
    letters: int = option(26, "different letters, of the alphabet: how much there is to find out")
    symbols: int = option(4, "different digits that letters are written as")
    feedback: Literal["symbol", "place", "so_far", "so_far_symbol", "answer"] = option("symbol", FEEDBACK)

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 3, 64, "length", why="short problems leave nothing to hold out, and 64 letters are plenty")
        within(self, 4, 26, "letters", why="short problems leave nothing to hold out, and there are 26 letters")
        within(self, 2, 10, "symbols", why="one symbol is no secret, and there are 10 digits")
        one_of(self, "feedback", *FEEDBACKS)


@dataclass(frozen=True, kw_only=True)
class CountdownConfig(DrawnConfig):
    """Task `countdown`."""

    partial: float = option(0.0, "share of the reward paid for using the numbers rightly, whatever they give")
    numbers: int = option(3, "numbers in a problem: the difficulty")
    largest: int = option(9, "largest number")
    target: int = option(99, "largest target")
    use: Literal["all", "any"] = option("all", "each number exactly once (all) or at most once (any)")

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 2, 6, "numbers", why="one number is its own target, and more than 6 have too many ways")
        within(self, 5, 999, "largest", why="smaller numbers make too few problems, and three digits are plenty")
        within(self, 10, 9999, "target", why="smaller targets make too few problems, and four digits are plenty")
        one_of(self, "use", "all", "any")


FLAWS = ("changed", "truncated", "swapped", "padded", "reversed", "any")


@dataclass(frozen=True, kw_only=True)
class PreferencesConfig:
    """Task `preferences`."""

    task: str = option("sort", "the task whose answers are preferred to flawed ones")
    difficulty: int | None = option(None, "that task's difficulty; none = its default")
    flaw: Literal["changed", "truncated", "swapped", "padded", "reversed", "any"] = option(
        "reversed", "of rejected: changed, truncated, swapped, padded, reversed, or any of these"
    )
    noise: float = option(0.0, "share of training pairs with chosen and rejected exchanged")
    margin: float = option(0.0, "margin of a pair whose rejected answer is all wrong; 0 = pairs without margins")
    n_train: int = option(16384, "training problems, each giving a pair, at most")
    n_held_out: int = option(1024, "held-out problems, each giving a pair, at most")
    seed: int = option(0, "decides which problems are drawn, where flaws are, and which pairs are noise")

    def __post_init__(self) -> None:
        if self.flaw not in FLAWS:
            refuse("flaw", self.flaw, f"one of {', '.join(FLAWS)}", "nothing else is built")
        within(self, 0.0, 1.0, "noise", why="it is a share")
        within(self, 0.0, 1000.0, "margin", why="it is a difference of rewards")
        at_least(self, 1, "difficulty", "n_train", "n_held_out", why="both sides of the split need a problem")
        within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")
