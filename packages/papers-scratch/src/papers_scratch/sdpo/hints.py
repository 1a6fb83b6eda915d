"""The warm start of SDPO: imitation that also teaches to read a teacher's prompt.

A teacher knows more than its student only if the model makes use of what its prompt shows. A large model has learnt
that; a small one has to be taught. So a share of the demonstrations stands behind the prompt that a teacher would get:
with the solution in it, or with what the task says of an attempt that failed. That attempt is another problem's
solution, or the right one with a word replaced, which is wrong at any place alike, as a model's own attempts are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.rollouts import Prompts
from align_scratch.sft import SFT
from align_scratch.tasks.problems import hash_unit
from align_scratch.templates import Piece
from papers_scratch.config.sdpo import HintedSFTConfig
from papers_scratch.sdpo.reprompting import as_demonstration, explanation, teacher_prompt


@dataclass(frozen=True, slots=True)
class HintedExample:
    """A problem whose prompt may show more than its task's. `pieces` are the runs of text of a conversation."""

    prompt: str
    answer: str
    demonstration: str
    pieces: tuple[Piece, ...] = ()


class Hinted:
    """A task some of whose training prompts show a solution or feedback. Held-out problems and marks are the task's."""

    def __init__(self, task: Task, config: HintedSFTConfig, seed: int) -> None:
        self.task, self.config = task, config
        plain = list(task.examples("train"))
        self._train = [self._hinted(example, plain[i - 1], seed) for i, example in enumerate(plain)]

    def _hinted(self, example: Any, other: Any, seed: int) -> Any:
        draw = hash_unit(example.prompt, f"hints {seed}")
        wanted = example.answer if self.config.imitate == "answer" else example.demonstration
        solution = feedback = None
        if draw < self.config.hints:
            solution = as_demonstration(self.config, wanted)
        elif draw < self.config.hints + self.config.feedback:
            attempt = other.demonstration
            if self.config.attempt == "changed":
                attempt = with_one_word_of(wanted, other.demonstration, f"attempt {seed} {example.prompt}")
            # As if what is imitated were the answer: feedback that contradicts it would teach to ignore feedback.
            has_fields = is_dataclass(example)
            asked = replace(example, answer=wanted) if has_fields else example  # with all else that it has
            feedback = explanation(self.task.check(asked, attempt)).strip() or None
        prompt = teacher_prompt(self.config, example.prompt, solution=solution, feedback=feedback)
        if prompt == example.prompt and wanted == example.demonstration:
            return example  # with all that its task knows of it besides
        return HintedExample(prompt, example.answer, wanted, _pieces(example, prompt, wanted))

    def examples(self, split: str, /) -> Sequence[Any]:
        return self._train if split == "train" else self.task.examples(split)

    def check(self, example: Any, completion: str, /) -> Any:
        return self.task.check(example, completion)


def with_one_word_of(text: str, other: str, key: str) -> str:
    """`text` with a word of `other` in the place of one of its own that differs; unchanged if `other` has none.

    `key` decides which of both.
    """
    words = list(re.finditer(r"\S+", text))
    if not words:
        return text
    chosen = words[int(hash_unit(key, "place") * len(words))]
    choices = [word for word in other.split() if word != chosen[0]]
    if not choices:
        return text
    word = choices[int(hash_unit(key, "word") * len(choices))]
    return text[: chosen.start()] + word + text[chosen.end() :]


def _pieces(example: Any, prompt: str, wanted: str) -> tuple[Piece, ...]:
    """The runs of a conversation whose prompt now stands in `prompt`; its earlier replies are replies there too."""
    runs: tuple[Piece, ...] = getattr(example, "pieces", ())
    if not runs:
        return ()
    before, _, behind = prompt.rpartition(example.prompt)
    around = Piece(before, False), *runs[:-1], Piece(behind, False), Piece(wanted, True)
    return tuple(piece for piece in around if piece.text)


class HintedSFT(SFT):
    """Trainer `hinted-sft`: `sft` on such a task. Accuracy, and so `stop_at`, is that of prompts without a hint."""

    def __init__(
        self,
        config: HintedSFTConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: Task,
        sampler: Sampler | None = None,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> None:
        hinted: Any = Hinted(task, config, seed)
        super().__init__(
            config, model=model, tokenizer=tokenizer, task=hinted, sampler=sampler, adapter=adapter, seed=seed
        )
        self.prompts = Prompts(tokenizer, task.examples("train"))
