"""What the fields of a record mean, in the names that the ecosystem's data sets use, and what is wrong with one.

| fields | a row is |
|---|---|
| `text` | text to model |
| `messages` | a conversation whose last message is the assistant's |
| `prompt` | something to answer, without an answer |
| `prompt`, `completion` | a demonstration |
| `prompt`, `completion`, `answer` | a demonstration, and what a checker looks for |
| `prompt`, `completion`, `label` | a completion and whether it was liked, true or false |
| `prompt`, `answer` | a problem with a checkable answer |
| `prompt`, `chosen`, `rejected` | a preference; also with `margin`, a number, or with `answer` |
| `chosen`, `rejected` | the same, the prompt in both: lists of messages, or transcripts like HH-RLHF's |
| `question`, `answer` | GSM8K: worked solution, then `#### ` and the answer |

A prompt, and what answers it, is text or a list of messages (`role`, `content`). Other fields are passed over; all
records of a file have the fields of its first. Every fault is a DataError naming file and line; faults of meaning (an
empty completion, chosen equal to rejected, ...) can be skipped and counted instead.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_scratch.errors import DataError
from align_scratch.records.reading import Record, read_records

ROLES = ("system", "user", "assistant")
SHAPES: tuple[tuple[str, ...], ...] = tuple(
    tuple(names.split())
    for names in (
        "prompt chosen rejected margin answer",
        "prompt chosen rejected margin",
        "prompt chosen rejected answer",
        "prompt chosen rejected",
        "prompt completion label",
        "prompt completion answer",
        "prompt completion",
        "prompt answer",
        "question answer",
        "chosen rejected",
        "messages",
        "prompt",
        "text",
    )
)
"""The combinations of fields that mean something; of those that a file has, the first."""

_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_MARK = re.compile(r"<<[^<>\n]*>>")  # GSM8K's notes for a calculator: <<48/2=24>>


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """A record whose fields are sound; what it has not is None, and `context`, the messages to answer, empty."""

    where: str
    text: str | None = None
    context: tuple[Message, ...] = ()
    completion: str | None = None
    answer: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    margin: float | None = None
    label: bool | None = None
    conversational: bool = False
    """Whether the prompt is a list of messages, which asks for a chat template, and not a text to go on from."""


class _Fault(Exception):
    """Something wrong with one row alone: `kind` for counting, the rest for the user."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


def read_rows(path: Path, *, skipped: Counter[str] | None = None) -> Iterator[Row]:
    """The rows of a data file, streamed.

    skipped: None stops at the first faulty row; otherwise rows with faults of meaning are left out and counted there.
    What is no record at all (broken JSON, other fields than the first record has) stops in either case.

    Raises DataError naming file and line, NotAvailable for .parquet without pyarrow.
    """
    shape: tuple[str, ...] | None = None
    first = ""
    for record in read_records(path):
        present = {name for name, value in record.values.items() if value is not None}
        if shape is None:
            shape, first = shape_of(present, record.where), record.where
        if missing := [name for name in shape if name not in present]:
            raise DataError(
                f"{record.where}: has no {_names(missing)}, which the first record ({first}) has; all records of a "
                "file need the same fields: add it, or put these records into a file of their own"
            )
        try:
            yield _row(record, shape)
        except _Fault as fault:
            if skipped is None:
                raise DataError(f"{record.where}: {fault}; correct or remove the record, or skip such ones") from None
            skipped[fault.kind] += 1
    if shape is None:
        raise DataError(f"{path}: holds no record")


def shape_of(present: set[str], where: str) -> tuple[str, ...]:
    """The fields that the file is read by. Raises DataError if they mean nothing together."""
    for one, other in (("chosen", "rejected"), ("rejected", "chosen")):
        if one in present and other not in present:
            raise DataError(f"{where}: has `{one}` and no `{other}`, but a preference has both: add the other")
    for shape in SHAPES:
        if present.issuperset(shape):
            return shape
    known = "; ".join(" + ".join(shape) for shape in reversed(SHAPES))
    found = f"the fields {_names(sorted(present)[:8])}" if present else "no field with a value"
    raise DataError(f"{where}: has {found}, must have one of these sets: {known}; rename what is there")


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name[:40]}`" for name in names)


def _row(record: Record, shape: tuple[str, ...]) -> Row:
    values, where = record.values, record.where
    if "text" in shape:
        return Row(where, text=_text(values, "text"))
    if "messages" in shape:
        messages = _messages(values["messages"], "messages")
        if messages[-1].role != "assistant":
            raise _Fault("no reply", "`messages` must end with a message of the assistant: there is nothing to learn")
        if len(messages) < 2:
            raise _Fault("no prompt", "`messages` begins with the assistant: there is nothing that it answers")
        return Row(where, context=messages[:-1], completion=messages[-1].content, conversational=True)
    if "question" in shape:
        question = Message("user", _text(values, "question"))
        solution, answer = worked_solution(_text(values, "answer"))
        return Row(where, context=(question,), completion=solution, answer=answer)
    if "prompt" not in shape:
        context, chosen, rejected = _sides(values)
        return Row(where, context=context, chosen=chosen, rejected=rejected, conversational=True)
    listed = isinstance(values["prompt"], list)
    row: dict[str, Any] = {"context": _prompt(values["prompt"]), "conversational": listed}
    row |= {name: _reply(values, name) for name in ("completion", "chosen", "rejected") if name in shape}
    if "answer" in shape:
        row["answer"] = _text(values, "answer")
    if "label" in shape:
        row["label"] = values["label"]
        if not isinstance(row["label"], bool):
            raise _Fault("label", f"`label` is {_shown(values['label'])}, must be true or false")
    if "margin" in shape:
        row["margin"] = _number(values["margin"])
    if "chosen" in shape and row["chosen"] == row["rejected"]:
        raise _Fault("chosen equals rejected", "`chosen` and `rejected` are the same, so nothing is preferred")
    return Row(where, **row)


def worked_solution(text: str) -> tuple[str, str]:
    """(solution without calculator marks, gold answer) of a GSM8K answer; the gold stands behind the last `#### `.

    A text without that mark is its own answer.
    """
    solution = _MARK.sub("", text).strip()
    _, mark, gold = solution.rpartition("####")
    return solution, gold.strip() if mark and gold.strip() else solution


def _text(values: Mapping[str, Any], name: str) -> str:
    return _sound(values[name], f"`{name}`")


def _sound(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _Fault("not text", f"{what} is {_shown(value)}, must be text" + _quotes(value))
    if not value.strip():
        raise _Fault("empty", f"{what} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise _Fault("surrogate", f"{what} holds half of a character, U+{code:04X}, which is no text") from None
    return value


def _prompt(value: Any) -> tuple[Message, ...]:
    if isinstance(value, list):
        messages = _messages(value, "prompt")
        if messages[-1].role == "assistant":
            raise _Fault("no prompt", "`prompt` ends with a message of the assistant, so there is nothing to answer")
        return messages
    return (Message("user", _sound(value, "`prompt`")),)


def _reply(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if not isinstance(value, list):
        return _text(values, name)
    messages = _messages(value, name)
    if len(messages) != 1 or messages[0].role != "assistant":
        raise _Fault("reply", f"`{name}` must be text or one message of the assistant; put the rest into `prompt`")
    return messages[0].content


def _sides(values: Mapping[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """(what both sides answer, chosen, rejected) of two conversations that differ in their last message."""
    chosen, rejected = (
        _messages(values[name], name) if isinstance(values[name], list) else _transcript(values, name)
        for name in ("chosen", "rejected")
    )
    if chosen[:-1] != rejected[:-1] or not chosen[:-1] or {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise _Fault(
            "sides",
            "without `prompt`, `chosen` and `rejected` must be one conversation up to a last message of the assistant",
        )
    if chosen[-1] == rejected[-1]:
        raise _Fault("chosen equals rejected", "`chosen` and `rejected` are the same, so nothing is preferred")
    return chosen[:-1], chosen[-1].content, rejected[-1].content


def _transcript(values: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    messages = transcript(_text(values, name))
    if not messages:
        raise _Fault(
            "transcript",
            f"without `prompt`, `{name}` must be a list of messages, or a text of `Human:` and `Assistant:`",
        )
    return tuple(Message(m.role, _sound(m.content, f"a turn of `{name}`")) for m in messages)


def transcript(text: str) -> tuple[Message, ...]:
    """Messages of a text like HH-RLHF's: `Human:` and `Assistant:` in turn, with an empty line before each.

    Empty if the text is none. The last turn may be empty, for someone to fill in.
    """
    opening, *turns = _TURN.split(text.strip())
    if opening:
        return ()
    roles = ("user" if who == "Human" else "assistant" for who in turns[::2])
    return tuple(Message(role, said.strip()) for role, said in zip(roles, turns[1::2], strict=True))


def _messages(value: Any, name: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise _Fault("not messages", f"`{name}` is {_shown(value)}, must be a list of messages")
    if not value:
        raise _Fault("empty", f"`{name}` is empty")
    return tuple(_message(item, f"message {i} of `{name}`", i) for i, item in enumerate(value, start=1))


def _message(item: Any, what: str, place: int) -> Message:
    if not isinstance(item, dict) or not {"role", "content"} <= item.keys():
        raise _Fault("not messages", f"{what} must be an object with `role` and `content`")
    role = item["role"]
    if role not in ROLES:
        raise _Fault("role", f"{what} has the role {_shown(role)}, must be one of {', '.join(ROLES)}")
    if role == "system" and place > 1:
        raise _Fault("role", f"{what} has the role 'system', which only the first message may have")
    return Message(role, _sound(item["content"], f"`content` in {what}"))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Fault("margin", f"`margin` is {_shown(value)}, must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Fault("margin", f"`margin` is {_shown(value)}, must be finite")
    return number


def _shown(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, bool | int | float | str) else f"a {type(value).__name__}"


def _quotes(value: Any) -> str:
    return f': write "{value}" in quotes' if isinstance(value, int | float) and not isinstance(value, bool) else ""
