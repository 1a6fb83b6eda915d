"""Task `parity`: is the number of ones odd? Every bit matters, so that nothing can be guessed from a part.

Without working the answer is one bit, right half of the time by chance, and a small transformer that imitates a few
thousand examples stays at that. With working it is the parity after each bit, which needs only the bit before: the
least example of why thinking step by step helps.
"""

from __future__ import annotations

from itertools import accumulate
from operator import xor

from align_scratch.config.drawn_tasks import ParityConfig
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, draw_examples, symbols


class Parity(ProblemTask):
    """`1 0 1 1 =` -> ` 1 1 0 1`, or ` 1` without working. Always `length` bits."""

    def __init__(self, config: ParityConfig) -> None:
        self.config = config
        self.partial = config.partial
        self.lesson = PERFECT if config.working else PERFECT + " Half of all guesses are right."
        self._examples = draw_examples(
            self._problem,
            space=2**config.length,
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
        )

    def _problem(self, number: int) -> Example:
        bits = symbols(number, "01", self.config.length)
        parities = [str(bit) for bit in accumulate(map(int, bits), xor)]
        answer = " " + " ".join(parities if self.config.working else parities[-1:])
        return Example(" ".join(bits) + " =", answer, answer)
