"""Task `cipher`: write each letter as its symbol in a secret key. What feedback can teach and rewards hardly.

The reward wants one key. Every demonstration follows a key of its own, drawn anew for each problem: imitation learns
the form, and to use what else a prompt may tell of a key, but nothing of the key that is asked for. A guess is right
once in `symbols ** length` times, so most groups of completions have no success, and a reward says nothing of them.
What the checker says of a failure (`feedback`) names letters one by one.
"""

from __future__ import annotations

from string import ascii_lowercase, digits

from align_scratch.config.drawn_tasks import CipherConfig
from align_scratch.tasks.problems import Example, ProblemTask, draw_examples, hash_unit, symbols


class Cipher(ProblemTask):
    """`c a t =` -> ` 2 0 3`. Always `length` letters, of the first `letters` of the alphabet."""

    def __init__(self, config: CipherConfig) -> None:
        self.config = config
        self.partial, self.feedback = config.partial, config.feedback
        self.lesson = (
            "Each demonstration follows a key of its own, so imitation cannot learn the one that the reward wants: a "
            f"guess is right with probability {config.symbols**-config.length:.2g}. Feedback on a failure tells more "
            "than its reward does: see trainer sdpo with include_feedback=true, after hinted-sft with feedback rows."
        )
        self._alphabet = ascii_lowercase[: config.letters]
        self._examples = draw_examples(
            self._problem,
            space=config.letters**config.length,
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
        )

    def _problem(self, number: int) -> Example:
        word = symbols(number, self._alphabet, self.config.length)
        prompt = " ".join(word) + " ="
        return Example(prompt, self._written(word, "the key"), self._written(word, prompt))

    def _written(self, word: list[str], key: str) -> str:
        """Drawn through a hash: a letter always has the same symbol in one key."""
        drawn = (hash_unit(f"{letter} in {key}", f"cipher {self.config.seed}") for letter in word)
        return "".join(f" {digits[int(number * self.config.symbols)]}" for number in drawn)
