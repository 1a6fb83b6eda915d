"""Task `add`: the sum of two numbers, written digit by digit. Answers differ in length, so the end must be learned."""

from __future__ import annotations

from align_scratch.config.tasks import AddConfig
from align_scratch.tasks.problems import Example, ProblemTask, draw_examples


class Add(ProblemTask):
    """`4 7 + 8 5 =` -> ` 1 3 2`. Numbers have 1 to `digits` digits and no leading zeros."""

    def __init__(self, config: AddConfig) -> None:
        self.config = config
        self.partial = config.partial
        self.lesson = (
            "Every demonstration is the right sum, so more imitation does as well as reinforcement here: "
            "a reward earns its keep where demonstrations are missing or mixed (task sort)."
        )
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
        answer = " " + " ".join(str(left + right))
        return Example(f"{' '.join(str(left))} + {' '.join(str(right))} =", answer, answer)

    def _either_way_round(self, number: int) -> str:
        """`a + b` and `b + a` are one problem: whoever has seen one can answer the other."""
        left, right = sorted(divmod(number, 10**self.config.digits))
        return f"{left} + {right}"
