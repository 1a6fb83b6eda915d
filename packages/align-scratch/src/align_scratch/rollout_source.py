"""Where a policy's training data comes from: prompts in a seeded order, its own completions, marks of the task."""

from __future__ import annotations

import torch

from align_scratch.asking import ask
from align_scratch.config.policy import PolicyConfig
from align_scratch.evaluation import Evaluation
from align_scratch.prompt_room import with_room
from align_scratch.protocols import Model, Sampler, Task, Tokenizer
from align_scratch.rollouts import Prompts, Rollouts, check_fit, longest_answer, roll_out
from align_scratch.schedule import Shuffled, derived_seed


class RolloutSource:
    """Batches of rollouts by step number, and the evaluation that goes with them.

    What a resumed run must carry over is `generator` alone: which prompts a step has follows from its number.
    """

    def __init__(
        self,
        config: PolicyConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: Task,
        sampler: Sampler,
        seed: int,
        name: str,
        rewarded_elsewhere: bool = False,
    ) -> None:
        """`name` is the trainer's: two trainers of one seed draw different numbers. rewarded_elsewhere: the task needs
        no checker, since rewards come from a model.

        Raises DoesNotFit if the parts cannot work together: no end mark, a short context, a sampler that masks, no
        checker; MissingField where it is the task's data that lacks answers.
        """
        self.config, self.model, self.tokenizer, self.task, self.sampler = config, model, tokenizer, task, sampler
        if not rewarded_elsewhere:
            ask(
                task,
                "check",
                "task: cannot mark completions, so there is nothing to learn from; use one that can",
            )
        examples = task.examples("train")
        self.prompts = Prompts(tokenizer, examples)
        self.max_new_tokens = config.max_new_tokens or (longest_answer(tokenizer, examples) if examples else 1)
        room = (
            None if model.max_length is None or config.too_long == "error" else model.max_length - self.max_new_tokens
        )
        if room is not None:
            self.prompts = with_room(self.prompts, room, "training")
        check_fit(
            model=model,
            tokenizer=tokenizer,
            sampler=sampler,
            prompts=self.prompts.ids,
            max_new_tokens=self.max_new_tokens,
        )
        self.device = next(model.parameters()).device
        self.batches = Shuffled(len(self.prompts), config.prompts_per_step, derived_seed(seed, f"{name} prompts"))
        self.generator = torch.Generator(self.device).manual_seed(derived_seed(seed, f"{name} sampling"))
        self.evaluation = Evaluation(
            model=model, tokenizer=tokenizer, task=task, sampler=sampler, max_new_tokens=self.max_new_tokens
        )
        if room is not None:
            self.evaluation.held_out = with_room(self.evaluation.held_out, room, "held-out")

    def sample(self, step: int) -> Rollouts:
        """Of step 0, 1, ...: `group_size` marked completions of each of its prompts. Puts the model in eval mode."""
        self.model.eval()
        examples, prompts = self.prompts.select(self.batches[step])
        return roll_out(
            self.model,
            self.tokenizer,
            self.task,
            examples,
            prompts,
            sampler=self.sampler,
            group_size=self.config.group_size,
            max_new_tokens=self.max_new_tokens,
            generator=self.generator,
        )
