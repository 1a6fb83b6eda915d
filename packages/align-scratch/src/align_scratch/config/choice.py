"""The options of multiple choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, within


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig:
    """Task `choice`."""

    path: str | None = option(None, "file with question, choices, answer; none = questions on numbers and letters")
    style: Literal["letter", "text"] = option(
        "letter", "letter = choices stand in the prompt and their letter is the answer, text = neither"
    )
    held_out: float = option(1.0, "of a file: share of the questions kept out of training; 1 = all, to be judged by")
    max_rows: int | None = option(None, "of a file: questions read, at most; none = all")
    n_train: int = option(4096, "without a file: training questions, at most")
    n_held_out: int = option(512, "without a file: held-out questions, at most")
    seed: int = option(0, "without a file: decides which questions are drawn")

    def __post_init__(self) -> None:
        one_of(self, "style", "letter", "text")
        within(self, 0.0, 1.0, "held_out", why="it is a share")
        at_least(self, 1, "max_rows", "n_train", "n_held_out", why="it is a count")
        within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")
