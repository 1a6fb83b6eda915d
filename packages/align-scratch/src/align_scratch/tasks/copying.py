"""Task `copy`: write the letters again. The least that attention can do, and the first thing to try on a new model."""

from __future__ import annotations

from string import ascii_lowercase

from align_scratch.config.drawn_tasks import CopyConfig
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, draw_examples, symbols


class Copy(ProblemTask):
    """`c a t =` -> ` c a t`. Always `length` letters."""

    lesson = PERFECT

    def __init__(self, config: CopyConfig) -> None:
        self.config = config
        self.partial = config.partial
        self._examples = draw_examples(
            self._problem,
            space=len(ascii_lowercase) ** config.length,
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
        )

    def _problem(self, number: int) -> Example:
        letters = " ".join(symbols(number, ascii_lowercase, self.config.length))
        return Example(f"{letters} =", f" {letters}", f" {letters}")
