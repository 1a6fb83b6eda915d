"""Task `mul`: the product of two numbers, written digit by digit. Far harder than sums: every digit needs them all."""

from __future__ import annotations

from align_scratch.config.drawn_tasks import MulConfig
from align_scratch.tasks.digits import spell
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, draw_examples


class Mul(ProblemTask):
    """`1 2 * 3 =` -> ` 3 6`. Numbers have 1 to `digits` digits and no leading zeros.

    With `zero_padded` it is `1 2 * 0 3 =` -> ` 0 0 3 6`, and with `reverse_answer` as well ` 6 3 0 0`.
    """

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
        width = self.config.digits if self.config.zero_padded else 1
        in_answer = 2 * self.config.digits if self.config.zero_padded else 1
        answer = " " + spell(str(left * right), width=in_answer, reverse=self.config.reverse_answer)
        return Example(f"{spell(str(left), width=width)} * {spell(str(right), width=width)} =", answer, answer)

    def _either_way_round(self, number: int) -> str:
        """`a * b` and `b * a` are one problem: whoever has seen one can answer the other."""
        left, right = sorted(divmod(number, 10**self.config.digits))
        return f"{left} * {right}"
