"""Task `reverse`: write letters backwards. The pure test of looking back: no arithmetic, no order to learn."""

from __future__ import annotations

from string import ascii_lowercase

from align_scratch.config.tasks import ReverseConfig
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, draw_examples, symbols


class Reverse(ProblemTask):
    """`c a t =` -> ` t a c`. Always `length` letters."""

    lesson = PERFECT

    def __init__(self, config: ReverseConfig) -> None:
        self.config = config
        self.partial = config.partial
        self._examples = draw_examples(
            self._problem,
            space=len(ascii_lowercase) ** config.length,
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
            identity=self._either_way_round,
        )

    def _problem(self, number: int) -> Example:
        letters = symbols(number, ascii_lowercase, self.config.length)
        answer = " " + " ".join(reversed(letters))
        return Example(" ".join(letters) + " =", answer, answer)

    def _either_way_round(self, number: int) -> str:
        """`c a t` and `t a c` are one problem: the text of one, read backwards, answers the other."""
        letters = "".join(symbols(number, ascii_lowercase, self.config.length))
        return min(letters, letters[::-1])
