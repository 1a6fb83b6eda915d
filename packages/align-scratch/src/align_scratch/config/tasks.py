"""The options of the tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, refuse, within

FEEDBACKS = ("symbol", "place", "so_far", "so_far_symbol", "answer")
FEEDBACK = "told of a failure: its place, also the right symbol; so_far*: with what was right before; or answer"


@dataclass(frozen=True, kw_only=True)
class SortConfig:
    """Task `sort`."""

    length: int = option(8, "digits in a problem: the difficulty")
    order: Literal["descending", "ascending"] = option(
        "descending", "order that the reward wants: descending or ascending"
    )
    mixed: float = option(0.6, "share of demonstrations that show the other order; 0 = all as the reward wants")
    partial: float = option(0.0, "share of the reward paid for digits at the right position; 0 = all or nothing")
    feedback: Literal["symbol", "place", "so_far", "so_far_symbol", "answer"] = option("symbol", FEEDBACK)
    n_train: int = option(16384, "training problems, at most")
    n_held_out: int = option(1024, "held-out problems, at most")
    seed: int = option(0, "decides which problems are drawn, and which of them get the other order")

    def __post_init__(self) -> None:
        within(self, 2, 64, "length", why="one digit cannot be sorted, and more than 64 is no small task")
        if self.order not in ("ascending", "descending"):
            refuse("order", self.order, "ascending or descending", "digits are sorted one way or the other")
        one_of(self, "feedback", *FEEDBACKS)
        within(self, 0.0, 1.0, "mixed", "partial", why="it is a share")
        at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")
        within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")


@dataclass(frozen=True, kw_only=True)
class AddConfig:
    """Task `add`."""

    digits: int = option(2, "most digits in a number: the difficulty")
    zero_padded: bool = option(False, "write zeros in front, so that each place has a position of its own")
    reverse_answer: bool = option(False, "answers from the least digit on, so that carries come before they are needed")
    mixed: float = option(0.0, "share of demonstrations that forget to carry; 0 = all as the reward wants")
    partial: float = option(0.0, "share of the reward paid for digits at the right position; 0 = all or nothing")
    n_train: int = option(16384, "training problems, at most")
    n_held_out: int = option(1024, "held-out problems, at most")
    seed: int = option(0, "decides which problems are drawn, and which of them forget to carry")

    def __post_init__(self) -> None:
        within(self, 1, 32, "digits", why="a number has a digit, and more than 32 is no small task")
        within(self, 0.0, 1.0, "mixed", "partial", why="it is a share")
        at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")
        within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")


@dataclass(frozen=True, kw_only=True)
class ReverseConfig:
    """Task `reverse`."""

    length: int = option(6, "letters in a problem: the difficulty")
    partial: float = option(0.0, "share of the reward paid for letters at the right position; 0 = all or nothing")
    n_train: int = option(16384, "training problems, at most")
    n_held_out: int = option(1024, "held-out problems, at most")
    seed: int = option(0, "decides which problems are drawn")

    def __post_init__(self) -> None:
        within(self, 2, 64, "length", why="one letter is its own reverse, and more than 64 is no small task")
        within(self, 0.0, 1.0, "partial", why="it is a share")
        at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")
        within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Task `corpus`."""

    path: str | None = option(None, "UTF-8 text file to read; none = the built-in English text")
    held_out: float = option(0.05, "share of the passages kept out of training")
    passage_chars: int = option(2000, "longest passage in characters; cut at paragraphs, lines or words")

    def __post_init__(self) -> None:
        within(self, 0.0, 0.5, "held_out", why="it is a share, and most of the text is for training")
        at_least(self, 1, "passage_chars", why="a passage has a character")
