"""The warm start of SDPO: imitation that also teaches to read a teacher's prompt.

A teacher knows more than its student only if the model makes use of what its prompt shows. A large model has learnt
that; a small one has to be taught. So a share of the demonstrations stands behind the prompt that a teacher would get:
with the solution in it, or with what the task says of an attempt that failed (another problem's solution).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from align_scratch.protocols import Adapter, Model, Sampler, Task, Tokenizer
from align_scratch.rollouts import Prompts
from align_scratch.sft import SFT
from align_scratch.tasks.problems import Example, hash_unit
from papers_scratch.config.sdpo import HintedSFTConfig
from papers_scratch.sdpo.reprompting import as_demonstration, teacher_prompt


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
            feedback = self.task.check(example, other.demonstration).explanation.strip() or None
        prompt = teacher_prompt(self.config, example.prompt, solution=solution, feedback=feedback)
        if prompt == example.prompt and wanted == example.demonstration:
            return example  # with all that its task knows of it besides
        return Example(prompt=prompt, answer=example.answer, demonstration=wanted)

    def examples(self, split: str, /) -> Sequence[Any]:
        return self._train if split == "train" else self.task.examples(split)

    def check(self, example: Any, completion: str, /) -> Any:
        return self.task.check(example, completion)


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
