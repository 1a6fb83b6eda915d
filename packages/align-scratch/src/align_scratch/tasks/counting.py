"""Task `count-letters`: how often is a letter in a word? What models are mocked for, with letters they can see."""

from __future__ import annotations

from string import ascii_lowercase

from align_scratch.config.drawn_tasks import CountLettersConfig
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, draw_examples, symbols


class CountLetters(ProblemTask):
    """`b : a b c a b =` -> ` 2`. Always `length` letters, of the first `letters` of the alphabet."""

    lesson = PERFECT

    def __init__(self, config: CountLettersConfig) -> None:
        self.config = config
        self.partial = config.partial
        self._alphabet = ascii_lowercase[: config.letters]
        self._examples = draw_examples(
            self._problem,
            space=config.letters ** (config.length + 1),
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
            identity=self._word,
        )

    def _problem(self, number: int) -> Example:
        asked, *word = symbols(number, self._alphabet, self.config.length + 1)
        answer = " " + " ".join(str(word.count(asked)))
        return Example(f"{asked} : {' '.join(word)} =", answer, answer)

    def _word(self, number: int) -> str:
        """Questions about one word stand on one side, whichever letter they ask for."""
        return " ".join(symbols(number, self._alphabet, self.config.length + 1)[1:])
