"""How messages become the text that a model reads: chat, Alpaca, question and answer, R1-Zero, question only, plain.

A template is a table: what stands before and after a message of each role. Role markers are plain text, which every
tokenizer can write and no tokenizer needs to know. Rendering keeps the text of each reply apart from what stands around
it, so that what is learned follows from lengths, never from a search for markers.

The last reply is followed by nothing: the model ends it by its end mark. The markers of `chat` are ChatML's; `alpaca`
has the words of Taori et al. 2023, and `r1_zero` those of DeepSeek-AI 2025 (table 1), because models were trained on
exactly these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from align_scratch.records.fields import Message
from align_scratch.rewards.extraction import without_boxes

_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
)
_R1_ZERO = (
    "A conversation between User and Assistant. The User asks a question, and the Assistant solves it. The Assistant "
    "first thinks about the reasoning process in the mind and then provides the User with the answer. The reasoning "
    "process is enclosed within <think> </think> and answer is enclosed within <answer> </answer> tags, respectively, "
    "i.e., <think> reasoning process here </think> <answer> answer here </answer>.\n"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text; `reply` says whether the assistant wrote it."""

    text: str
    reply: bool


@dataclass(frozen=True, slots=True)
class Template:
    """`around` gives what stands before and after a message of each role; `opening` what stands before all.

    A system message takes the place of the opening. `reserved` texts are markers that no message may hold.
    """

    name: str
    around: Mapping[str, tuple[str, str]]
    opening: str = ""
    reserved: tuple[str, ...] = field(default=())

    def prompt(self, context: Sequence[Message]) -> str:
        """The text that asks for a reply to `context`: everything up to where the reply begins."""
        return "".join(piece.text for piece in self.pieces(context, ""))

    def pieces(self, context: Sequence[Message], reply: str) -> tuple[Piece, ...]:
        """`context` and the `reply` to it as runs of text, replies and what stands around them in turn.

        The last piece is `reply`. Raises ValueError if a message holds one of the template's markers.
        """
        pieces: list[Piece] = []
        pending = "" if context and context[0].role == "system" else self.opening
        for message in (*context, Message("assistant", reply)):
            for marker in self.reserved:
                if marker in message.content:
                    raise ValueError(
                        f"a message holds {marker!r}, by which the template {self.name!r} tells who speaks: "
                        "choose another template, or take it out"
                    )
            before, after = self.around[message.role]
            if message.role == "assistant":
                pieces += [Piece(pending + before, False), Piece(message.content, True)]
                pending = after
            else:
                pending += before + message.content + after
        return tuple(pieces)


TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template(
            "chat",
            {role: (f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ("system", "user", "assistant")},
            reserved=("<|im_start|>", "<|im_end|>"),
        ),
        Template(
            "alpaca",
            {
                "system": ("", "\n\n"),
                "user": ("### Instruction:\n", "\n\n"),
                "assistant": ("### Response:\n", "\n\n"),
            },
            opening=_ALPACA,
            reserved=("### Instruction:", "### Response:"),
        ),
        Template("qa", {"system": ("", "\n\n"), "user": ("Question: ", "\n"), "assistant": ("Answer: ", "\n\n")}),
        Template(
            "r1_zero",
            {"system": ("", "\n"), "user": ("User: ", "\n"), "assistant": ("Assistant: <think>", "\n")},
            opening=_R1_ZERO,
        ),
        Template("question_only", {"system": ("", "\n"), "user": ("", "\n"), "assistant": ("", "\n")}),
        Template("plain", {"system": ("", ""), "user": ("", ""), "assistant": ("", "")}),
    )
}
"""By name. `question_only` puts a line end behind the question, `plain` adds nothing at all."""


def template(name: str) -> Template:
    """The template of this name. Raises ValueError if there is none."""
    if name not in TEMPLATES:
        raise ValueError(f"template: got {name!r}, must be one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def with_answer(name: str, solution: str, answer: str) -> str:
    """A worked solution and its answer, as the template asks for them.

    r1_zero: the solution as thoughts, then the answer in tags. question_only: the answer in a box behind the solution,
    whose own boxes are opened, since there must be one only. Others: the solution as it is, which names the answer
    itself, as GSM8K's do behind `####`.
    """
    if name in ("r1_zero", "question_only"):
        solution = solution.rpartition("####")[0].rstrip() or solution
    if name == "r1_zero":
        return f" {solution} </think> <answer> {answer} </answer>"
    if name == "question_only":
        return f"{without_boxes(solution)}\nThe answer is \\boxed{{{answer}}}."
    return solution


def bare_answer(name: str, answer: str) -> str:
    """The shortest completion that gives `answer` in the form that the template asks for."""
    if name == "r1_zero":
        return f"</think> <answer> {answer} </answer>"
    if name == "question_only":
        return f"\\boxed{{{answer}}}"
    return answer
