"""Task `sub`: the difference of two numbers, written digit by digit; below zero too, where the option asks for it."""

from __future__ import annotations

from math import isqrt

from align_scratch.config.drawn_tasks import SubConfig
from align_scratch.tasks.digits import spell
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, draw_examples


class Sub(ProblemTask):
    """`8 5 - 4 7 =` -> ` 3 8`; `4 7 - 8 5 =` -> ` - 3 8`. Numbers have 1 to `digits` digits and no leading zeros.

    With `zero_padded`, `1 2 - 7 =` is `1 2 - 0 7 =` -> ` 0 5`, and with `reverse_answer` as well ` 5 0`, after a sign.
    """

    lesson = PERFECT

    def __init__(self, config: SubConfig) -> None:
        self.config = config
        self.partial = config.partial
        n = int(10**config.digits)
        self._examples = draw_examples(
            self._problem,
            space=n * n if config.negative else n * (n + 1) // 2,
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
            identity=self._either_way_round,
        )

    def _numbers(self, number: int) -> tuple[int, int]:
        if self.config.negative:
            return divmod(number, int(10**self.config.digits))
        left = (isqrt(8 * number + 1) - 1) // 2  # pairs left >= right in a row: 0 0, 1 0, 1 1, 2 0, ...
        return left, number - left * (left + 1) // 2

    def _problem(self, number: int) -> Example:
        left, right = self._numbers(number)
        width = self.config.digits if self.config.zero_padded else 1
        answer = " " + spell(str(left - right), width=width, reverse=self.config.reverse_answer)
        return Example(f"{spell(str(left), width=width)} - {spell(str(right), width=width)} =", answer, answer)

    def _either_way_round(self, number: int) -> str:
        """`a - b` and `b - a` are one problem: they differ by a sign."""
        return " - ".join(map(str, sorted(self._numbers(number))))
