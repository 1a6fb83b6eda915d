"""Task `reverse`: write letters backwards. The pure test of looking back: no arithmetic, no order to learn."""

from __future__ import annotations

from string import ascii_lowercase

from align_scratch.config.tasks import ReverseConfig
from align_scratch.tasks.problems import Example, ProblemTask, draw_examples


class Reverse(ProblemTask):
    """`c a t =` -> ` t a c`. Always `length` letters."""

    def __init__(self, config: ReverseConfig) -> None:
        self.config = config
        self.partial = config.partial
        self.lesson = (
            "Every demonstration is already right, so more imitation does as well as reinforcement here: "
            "a reward earns its keep where demonstrations are missing or mixed (task sort)."
        )
        self._examples = draw_examples(
            self._problem,
            space=len(ascii_lowercase) ** config.length,
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
        )

    def _problem(self, number: int) -> Example:
        letters: list[str] = []
        for _ in range(self.config.length):
            number, letter = divmod(number, len(ascii_lowercase))
            letters.append(ascii_lowercase[letter])
        answer = " " + " ".join(reversed(letters))
        return Example(" ".join(letters) + " =", answer, answer)
