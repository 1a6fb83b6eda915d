"""Graders for prompts that ask for reasoning and then an answer: `r1_zero` and `question_only`.

Each is a composition with the parts `format` and `answer`. The format is a gate: without it nothing is paid, and it
pays nothing by itself, so that neither a tidy wrong answer nor a list of answers earns anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.rewards.composition import Composition, Judgement
from align_scratch.rewards.extraction import answer_block, boxes, has_r1_zero_form, last_box
from align_scratch.rewards.matching import Undecided, judge_math


@dataclass(frozen=True, kw_only=True)
class ThinkAnswerFormat:
    """`... </think> <answer> ... </answer>`, spelled so, exactly once (the prompt has opened `<think>`)."""

    name: str = "format"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        if has_r1_zero_form(completion):
            return Judgement(1.0)
        for mark in ("</think>", "<answer>", "</answer>"):
            if (count := completion.count(mark)) != 1:
                return Judgement(0.0, f"{mark} must be there exactly once, not {count} times")
        return Judgement(0.0, "must end in </think> <answer> the answer </answer>, in this order and spelling")


@dataclass(frozen=True, kw_only=True)
class ThinkAnswer:
    """The one answer block, or the last box in it, is the answer, by `math_answers.compare`."""

    name: str = "answer"
    loose_percent: bool = False
    undecided: Undecided = "wrong"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        block = answer_block(completion) if has_r1_zero_form(completion) else None
        if block is None:
            return Judgement(0.0, "no answer block to read", unparsed=True)
        got = last_box(block) or block
        return judge_math(got, answer, loose_percent=self.loose_percent, undecided=self.undecided)


@dataclass(frozen=True, kw_only=True)
class OneBoxFormat:
    """Exactly one `\\boxed{...}`."""

    name: str = "format"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        if (count := len(boxes(completion))) == 1:
            return Judgement(1.0)
        return Judgement(0.0, f"\\boxed{{}} must be there exactly once, not {count} times")


@dataclass(frozen=True, kw_only=True)
class OneBox:
    """What stands in the only box is the answer, by `math_answers.compare`."""

    name: str = "answer"
    loose_percent: bool = False
    undecided: Undecided = "wrong"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        found = boxes(completion)
        if len(found) != 1:
            return Judgement(0.0, "no single box to read", unparsed=True)
        return judge_math(found[0], answer, loose_percent=self.loose_percent, undecided=self.undecided)


def r1_zero(*, loose_percent: bool = False, undecided: Undecided = "wrong") -> Composition:
    """The grader of the `r1_zero` prompt: 1 for a right answer in the asked form, else 0."""
    answer = ThinkAnswer(loose_percent=loose_percent, undecided=undecided)
    return Composition([(ThinkAnswerFormat(), 0.0), (answer, 1.0)], correct="answer", gate="format")


def question_only(*, loose_percent: bool = False, undecided: Undecided = "wrong") -> Composition:
    """The grader of the `question_only` prompt, which asks for a box: 1 for a right answer in exactly one, else 0."""
    answer = OneBox(loose_percent=loose_percent, undecided=undecided)
    return Composition([(OneBoxFormat(), 0.0), (answer, 1.0)], correct="answer", gate="format")
