"""Task `brackets`: close what is open, last opened first. The least task that needs a stack."""

from __future__ import annotations

from align_scratch.config.drawn_tasks import BracketsConfig
from align_scratch.tasks.problems import PERFECT, Example, ProblemTask, Score, draw_examples, first_wrong

PARTNER = {"(": ")", "[": "]", "{": "}", "<": ">"}


class Brackets(ProblemTask):
    """`( [ ] { =` -> ` } )`. Always `length` brackets, at least one left open; all such problems are equally likely."""

    lesson = PERFECT

    def __init__(self, config: BracketsConfig) -> None:
        self.config = config
        self.partial = config.partial
        self._openers = list(PARTNER)[: config.kinds]
        self._ways = _ways(config.length, config.kinds)
        self._examples = draw_examples(
            self._problem,
            space=self._ways[config.length][0],
            n_train=config.n_train,
            n_held_out=config.n_held_out,
            seed=config.seed,
        )

    def _problem(self, number: int) -> Example:
        written: list[str] = []
        opened: list[str] = []
        for remaining in reversed(range(self.config.length)):
            deeper = self._ways[remaining][len(opened) + 1]  # ways to go on behind any one opening bracket
            kind, rest = divmod(number, deeper)
            if kind < len(self._openers):
                opened.append(self._openers[kind])
                written.append(self._openers[kind])
                number = rest
            else:
                written.append(PARTNER[opened.pop()])
                number -= deeper * len(self._openers)
        answer = "".join(f" {PARTNER[bracket]}" for bracket in reversed(opened))
        return Example(" ".join(written) + " =", answer, answer)

    def check(self, example: Example, completion: str, /) -> Score:
        """Mark `completion`; what a wrong bracket should have closed is part of the explanation."""
        score = super().check(example, completion)
        place = first_wrong(example.answer, completion)
        if score.correct or place is None:
            return score
        opened = still_open(example.prompt)
        why = "everything is closed by then"
        if place <= len(opened):
            at, bracket = opened[-place]
            why = f"which closes {bracket!r}, symbol {at} of the problem"
        return Score(score.reward, False, score.parts, f"{score.explanation}, {why}")


def still_open(prompt: str) -> list[tuple[int, str]]:
    """The brackets of a problem that are not closed, with their places counted from 1, outermost first."""
    opened: list[tuple[int, str]] = []
    for at, bracket in enumerate(prompt.split(), start=1):
        if bracket in PARTNER:
            opened.append((at, bracket))
        elif opened and bracket == PARTNER[opened[-1][1]]:
            opened.pop()
    return opened


def _ways(length: int, kinds: int) -> list[list[int]]:
    """Entry [r][d]: in how many ways r more brackets can follow d open ones, so that one is open at the end."""
    ways = [[int(depth > 0) for depth in range(length + 2)]]
    for _ in range(length):
        last = ways[-1]
        row = [kinds * last[d + 1] + (last[d - 1] if d > 0 else 0) for d in range(length + 1)]
        ways.append([*row, 0])  # one deeper than any problem goes
    return ways
