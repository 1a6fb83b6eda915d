"""What the teacher is shown: a success of the same group, or what was said of the failure.

For completion i of a prompt (arXiv:2601.20802, section 3, and the official code):
1. the demonstration is the first sibling j != i of the *same* prompt whose reward reaches the threshold;
2. feedback on i itself is shown if there is any, by default only where there is no demonstration;
3. with neither, the teacher would know no more than the student, and the completion is left out.

Templates are filled in one pass by plain substitution of named fields: what is filled in is never read as a template,
so prompts and answers may hold braces.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from align_scratch.errors import CheckerFailed
from align_scratch.metrics import Metrics
from align_scratch.protocols import Score
from papers_scratch.config.sdpo import RepromptConfig, SDPOConfig

_FIELD = re.compile(r"\{(\w+)\}")
_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True, kw_only=True)
class Reprompt:
    """The teacher's prompt for one completion."""

    text: str | None
    """None: the completion is left out."""
    demonstration: int | None = None
    """Row of the sibling that is shown."""
    feedback: bool = False
    """Whether feedback is shown."""
    feedback_available: bool = False
    feedback_cut: bool = False
    """Whether it is shown without its end, which is beyond `max_feedback_chars`."""


def fill(template: str, **fields: str) -> str:
    """`template` with each {name} of `fields` replaced; other braces stay as they are."""
    return _FIELD.sub(lambda match: fields.get(match[1], match[0]), template)


def teacher_prompt(
    config: RepromptConfig, prompt: str, *, solution: str | None = None, feedback: str | None = None
) -> str:
    """The prompt with a demonstration, feedback, both or neither."""
    shown = "" if solution is None else fill(
        config.template("solution_template"), prompt=prompt, successful_previous_attempt=solution
    )  # fmt: skip
    said = "" if feedback is None else fill(config.template("feedback_template"), prompt=prompt, feedback_raw=feedback)
    if not shown and not said:
        return prompt
    return fill(config.template("reprompt_template"), prompt=prompt, solution=shown, feedback=said)


def strip_thinking(text: str) -> str | None:
    """`text` without its first <think> ... </think>, or None if what is left is blank or has a tag of thinking in it.

    A block that is not closed, or stands in another, cannot be told from the answer.
    """
    start = text.find(_OPEN)
    end = text.find(_CLOSE, start)
    if start >= 0 and end >= 0:
        text = text[:start] + text[end + len(_CLOSE) :]
    return None if not text.strip() or _OPEN in text or _CLOSE in text else text


def choose_demonstrations(
    config: SDPOConfig, rewards: Tensor, texts: Sequence[str], rng: random.Random
) -> list[int | None]:
    """For each of the N = P x G completions the row that is shown to its teacher; rewards (P, G), NaN = not judged."""
    group_size = rewards.shape[1]
    chosen: list[int | None] = []
    for p, group in enumerate((rewards >= config.success_threshold).tolist()):
        successes = [
            p * group_size + j
            for j, success in enumerate(group)
            if success and as_demonstration(config, texts[p * group_size + j])
        ]
        for j in range(group_size):
            own = p * group_size + j
            siblings = [row for row in successes if row != own or not config.exclude_own_success]
            if not siblings:
                chosen.append(None)
            else:
                chosen.append(siblings[0] if config.demonstration == "first" else rng.choice(siblings))
    return chosen


def feedback_on(config: SDPOConfig, score: Score) -> str:
    """What the task says of a failure; empty if it is not asked. Raises CheckerFailed if that is no text."""
    return "" if score.correct or not config.include_feedback else explanation(score)


def explanation(score: Score) -> str:
    """What the task says of a completion. Raises CheckerFailed if that is no text."""
    said: Any = score.explanation
    if not isinstance(said, str):
        raise CheckerFailed(f"task: gave the explanation {said!r:.40}, but feedback is shown as text: give a str")
    return said


def reprompt(
    config: SDPOConfig,
    *,
    prompts: Sequence[str],
    texts: Sequence[str],
    rewards: Tensor,
    explanations: Sequence[str],
    rng: random.Random,
) -> list[Reprompt]:
    """The teacher's prompts of N = P x G completions: `texts` and `explanations` N, prompts P, rewards (P, G).

    An explanation is the feedback of the environment: of failed completions only, blank where there is none.
    """
    group_size = rewards.shape[1]
    found = []
    for row, demonstration in enumerate(choose_demonstrations(config, rewards, texts, rng)):
        prompt, said = prompts[row // group_size], explanations[row].strip()
        available = config.include_feedback and bool(said)
        use = available and not (config.feedback_only_without_solution and demonstration is not None)
        solution = None if demonstration is None else as_demonstration(config, texts[demonstration])
        text = None
        if solution is not None or use:
            feedback = said[: config.max_feedback_chars] if use else None
            text = teacher_prompt(config, prompt, solution=solution, feedback=feedback)
        found.append(
            Reprompt(
                text=text,
                demonstration=demonstration,
                feedback=use,
                feedback_available=available,
                feedback_cut=use and len(said) > config.max_feedback_chars,
            )
        )
    return found


def as_demonstration(config: RepromptConfig, text: str) -> str | None:
    """A completion as a demonstration; None if there is nothing to show."""
    if config.remove_thinking:
        return strip_thinking(text)
    return text if text.strip() else None


def describe_contexts(
    config: SDPOConfig, rewards: Tensor, contexts: Sequence[Reprompt], taught: Tensor, overflow: int
) -> Metrics:
    """Of rewards (P, G), N contexts, and which rows were taught (N,): shares of groups and completions, 0..1; how many
    had their feedback cut, or no room for it."""
    success = rewards >= config.success_threshold  # (P, G)
    n = len(contexts)
    return {
        "self_distillation/success_group_fraction": float(success.any(1).double().mean()),
        "self_distillation/success_sample_fraction": float(success.double().mean()),
        "self_distillation/feedback_available_fraction": sum(c.feedback_available for c in contexts) / n,
        "self_distillation/feedback_used_fraction": sum(c.feedback for c in contexts) / n,
        "self_distillation/feedback_cut": sum(c.feedback_cut for c in contexts),
        "self_distillation/reprompt_sample_fraction": float(taught.double().mean()),
        "self_distillation/reprompt_overflow": overflow,
    }
