"""Reading hints, rehearsed: so that a teacher that follows its student does not forget what makes it a teacher.

SDPO moves the model behind its own prompts only. What it says behind a prompt that shows a solution is not trained, and
in a small model drifts: an average of such students no longer copies what it is shown. The rehearsal is one more term,
imitation of the solution behind the prompt that shows it, as the warm start taught it:

    1/N sum_i 1/|o_j| sum_t  - log pi( o_jt | c_i, o_j<t ),   j the sibling that c_i shows.

The paper has no such term, and its models have no need of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from align_scratch.protocols import Model, Sampler
from align_scratch.scoring import sequence_log_probs
from inference_scratch.score import Sequences, pack
from papers_scratch.sdpo.reprompting import Reprompt


class Rehearsal:
    """Of one batch: the N prompts of its teacher, and behind each the completion that it shows."""

    def __init__(
        self,
        model: Model,
        sampler: Sampler,
        *,
        contexts: Sequence[Reprompt],
        completions: Sequence[Sequence[int]],
        teacher_rows: Sequences,
        taught: Tensor,
    ) -> None:
        """`completions`: ids of all N; `taught` (N,) bool: which rows of `teacher_rows` have a teacher's prompt."""
        self.model, self.sampler = model, sampler
        lengths = teacher_rows.prompt_lengths.tolist()
        prompts = [ids[:length] for ids, length in zip(teacher_rows.ids.tolist(), lengths, strict=True)]
        shown = [
            completions[i if context.demonstration is None else context.demonstration]
            for i, context in enumerate(contexts)
        ]
        limit = model.max_length
        fits = [
            context.demonstration is not None and (limit is None or len(prompt) + len(ids) <= limit)
            for context, prompt, ids in zip(contexts, prompts, shown, strict=True)
        ]
        self.use = taught & torch.tensor(fits, device=taught.device)  # (N,)
        self.rows = pack(prompts, shown, device=taught.device)

    def loss(self, rows: Tensor, n_rows: int) -> Tensor:
        """The term of `rows` (M,), a part of an update of `n_rows` completions; those that show none count 0."""
        part = self.rows.select(rows[self.use[rows]])
        if not len(part.ids):
            return torch.zeros((), device=rows.device)
        log_probs = sequence_log_probs(self.model, part, self.sampler)  # (M, T)
        return -(log_probs.sum(1) / part.completion_lengths).sum() / n_rows
