"""Task `add`: the sum of two numbers, written digit by digit. Answers differ in length, so the end must be learned,
unless zeros in front are asked for.

A share `mixed` of the demonstrations forgets to carry, and nothing in the prompt tells which: as with mixed orders in
`sort`, imitation settles at the mixture, and a reward selects one of the two behaviours.
"""

from __future__ import annotations

from align_scratch.config.tasks import AddConfig
from align_scratch.tasks.digits import spell
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, draw_examples, hash_unit


class Add(ProblemTask):
    """`4 7 + 8 5 =` -> ` 1 3 2`. Numbers have 1 to `digits` digits and no leading zeros.

    With `zero_padded`, `7 + 8 5 =` is `0 7 + 8 5 =` -> ` 0 9 2`, and with `reverse_answer` as well ` 2 9 0`.
    """

    def __init__(self, config: AddConfig) -> None:
        self.config = config
        self.partial = config.partial
        self.lesson = PERFECT if config.mixed == 0.0 else _lesson(config.mixed)
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
        prompt = f"{spell(str(left), width=width)} + {spell(str(right), width=width)} ="
        answer = self._answer(str(left + right))
        # Decided by the problem and the seed through a hash: the same however it is written, and nothing a model could
        # read off.
        problem = f"{spell(str(left))} + {spell(str(right))} ="
        if hash_unit(problem, f"mixed {self.config.seed}") < self.config.mixed:
            return Example(prompt, answer, self._answer(without_carry(left, right)))
        return Example(prompt, answer, answer)

    def _answer(self, number: str) -> str:
        width = self.config.digits + 1 if self.config.zero_padded else 1
        return " " + spell(number, width=width, reverse=self.config.reverse_answer)

    def _either_way_round(self, number: int) -> str:
        """`a + b` and `b + a` are one problem: whoever has seen one can answer the other."""
        left, right = sorted(divmod(number, 10**self.config.digits))
        return f"{left} + {right}"


def without_carry(left: int, right: int) -> str:
    """Digits added place by place, forgetting what is carried: 47 and 85 give 22. As wide as the longer number."""
    width = max(len(str(left)), len(str(right)))
    pairs = zip(str(left).zfill(width), str(right).zfill(width), strict=True)
    return "".join(str((int(a) + int(b)) % 10) for a, b in pairs)


def _lesson(mixed: float) -> str:
    return (
        f"{mixed:.0%} of the demonstrations forget to carry and nothing in a prompt tells which, so imitation settles "
        "at that mixture, however long it goes on (sums without a carry are the same either way). The reward wants the "
        "sum: reinforcement selects that behaviour out of the two that were shown."
    )
