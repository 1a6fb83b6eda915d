"""Task `mul`: the product of two numbers, written digit by digit. Far harder than sums: every digit needs them all."""

from __future__ import annotations

from align_scratch.config.drawn_tasks import MulConfig
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, draw_examples


class Mul(ProblemTask):
    """`1 2 * 3 =` -> ` 3 6`. Numbers have 1 to `digits` digits and no leading zeros."""

    lesson = PERFECT

    def __init__(self, config: MulConfig) -> None:
        self.config = config
        self.partial = config.partial
        self._examples = draw_examples(
            self._problem,
            space=10 ** (2 * config.digits),
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
            identity=self._either_way_round,
        )

    def _problem(self, number: int) -> Example:
        left, right = divmod(number, 10**self.config.digits)
        answer = " " + " ".join(str(left * right))
        return Example(f"{' '.join(str(left))} * {' '.join(str(right))} =", answer, answer)

    def _either_way_round(self, number: int) -> str:
        """`a * b` and `b * a` are one problem: whoever has seen one can answer the other."""
        left, right = sorted(divmod(number, 10**self.config.digits))
        return f"{left} * {right}"
