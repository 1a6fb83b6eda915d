"""Task `sort`: put digits in order. The default shows what a reward can do that demonstrations cannot.

The reward wants one order; a share `mixed` of the demonstrations shows the other, and nothing in the prompt tells
which. Imitation then settles at the mixture however long it runs. A reward selects the one behaviour out of the two
that were shown; it invents nothing.
"""

from __future__ import annotations

from align_scratch.config.tasks import SortConfig
from align_scratch.tasks.problems import Example, ProblemTask, draw_examples, hash_unit


class Sort(ProblemTask):
    """`3 1 2 =` -> ` 3 2 1`. Single digits between spaces, so that a byte-level BPE keeps one token a digit."""

    def __init__(self, config: SortConfig) -> None:
        self.config = config
        self.partial, self.feedback = config.partial, config.feedback
        self.lesson = _lesson(config)
        self._examples = draw_examples(
            self._problem,
            space=10**config.length,
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
        )

    def _problem(self, number: int) -> Example:
        digits = str(number).zfill(self.config.length)
        prompt = " ".join(digits) + " ="
        wanted_reverse = self.config.order == "descending"
        answer = " " + " ".join(sorted(digits, reverse=wanted_reverse))
        # Decided by the prompt and the seed through a hash: fixed for each prompt, and nothing a model could read off.
        if hash_unit(prompt, f"mixed {self.config.seed}") < self.config.mixed:
            return Example(prompt, answer, " " + " ".join(sorted(digits, reverse=not wanted_reverse)))
        return Example(prompt, answer, answer)


def _lesson(config: SortConfig) -> str:
    if config.mixed == 0.0:
        return (
            f"Every demonstration already sorts {config.order}, as the reward wants: here more imitation does as well "
            "as reinforcement. Set task.mixed above 0 to see where it does not."
        )
    other = "ascending" if config.order == "descending" else "descending"
    return (
        f"{config.mixed:.0%} of the demonstrations sort {other} and nothing in a prompt tells which, so imitation "
        f"alone stays near {1 - config.mixed:.0%} when it samples, however long it goes on. The reward wants "
        f"{config.order}: reinforcement selects that behaviour out of the two that were shown."
    )
