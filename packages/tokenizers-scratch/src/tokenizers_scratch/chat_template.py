"""Conversations as ids, by a Jinja template, with a mask of what the assistant is to learn.

Templates are those of transformers: `messages`, `tools`, `add_generation_prompt`, `bos_token` and so on are there,
`{% generation %}` blocks mark what the assistant says, `raise_exception` refuses a conversation. They run in Jinja's
sandbox, with limits on ranges, repeats and output; still, a template can waste time, so take them from where you take
models.

What differs: a special token in a message is text, while one that the template writes is special. So nobody ends the
turn of the user by writing `<|im_end|>`, and a message may speak about special tokens. `allowed_special` undoes that
for the tokens it names. And nothing is added to what the template says: a BOS is there once, if the template has it.

Needs the extra `chat` (`pip install "tokenizers-scratch[chat]"`), which brings Jinja.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.chat_sandbox import load_jinja, sandbox
from tokenizers_scratch.errors import SpecialTokenError, TokenizerDataError, TokenizerFileError
from tokenizers_scratch.offsets import Span
from tokenizers_scratch.special_tokens import ROLES, AllowedSpecial, SpecialTokens
from tokenizers_scratch.storage import read_json_object, read_text

FILE_NAME = "chat_template.jinja"

DEFAULT_TEMPLATE = """\
{{ bos_token }}
{%- for message in messages %}
{{- message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}{{ message.content + eos_token }}{% endgeneration %}
{%- else %}
{{- message.content + eos_token }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'assistant\\n' }}{% endif %}
"""
"""Each message is its role in a line, then its content, ended by EOS: no content can imitate that end."""

MAX_TEMPLATE = 2**18
MAX_OUTPUT = 2**26
MAX_SECONDS = 60.0
_MAX_DEPTH = 64  # of what is in a message

_NONCHARACTERS = tuple(map(chr, range(0xFDD0, 0xFDF0)))  # never assigned, so hardly ever in a text


class ChatTemplateError(TokenizerDataError):
    """A template that cannot be used, or that refuses a conversation; says why."""


@dataclass(frozen=True)
class Chat:
    """A conversation in ids."""

    text: str
    ids: list[int]  # (T,)
    assistant_mask: list[int]  # (T,), 1 where an id is what the assistant says
    offsets: list[Span]  # (T, 2), characters of `text`


@dataclass(frozen=True)
class _Marks:
    """Characters that no text here holds, to find places again after rendering."""

    barrier: str
    open: str
    close: str


class ChatTemplate:
    """A template, compiled once."""

    def __init__(self, source: str = DEFAULT_TEMPLATE) -> None:
        """Raises ChatTemplateError for a template that Jinja does not understand."""
        if len(source) > MAX_TEMPLATE:
            raise ChatTemplateError(f"the chat template has {len(source)} characters, more than {MAX_TEMPLATE}")
        self.source = source
        jinja = load_jinja()
        try:
            self._template = sandbox().from_string(source)
        except jinja.TemplateSyntaxError as error:
            raise ChatTemplateError(f"the chat template has an error in line {error.lineno}: {error.message}") from None
        except (jinja.TemplateError, RecursionError, MemoryError, SyntaxError, ValueError) as error:
            raise ChatTemplateError(f"the chat template cannot be compiled: {_said(error)}") from None

    @classmethod
    def load(cls, directory: Path | str, /) -> ChatTemplate:
        """`chat_template.jinja`, or what older models have in `tokenizer_config.json`. Raises TokenizerFileError."""
        path = Path(directory) / FILE_NAME
        config = path.with_name("tokenizer_config.json")
        if not path.exists() and config.exists():
            path, source = config, read_json_object(config).get("chat_template")
            if isinstance(source, list):  # several, by name
                named = {t.get("name"): t.get("template") for t in source if isinstance(t, dict)}
                source = named.get("default")
            if not isinstance(source, str):
                raise TokenizerFileError(path, "there is no chat template")
        else:
            source = read_text(path)
        try:
            return cls(source)
        except ChatTemplateError as error:
            raise TokenizerFileError(path, str(error)) from None

    def save(self, directory: Path | str, /) -> None:
        """Write `chat_template.jinja`, which transformers reads too."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / FILE_NAME).write_text(self.source, encoding="utf-8", newline="")

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tokenizer: BaseTokenizer,
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Any] | None = None,
        allowed_special: AllowedSpecial = "none",
        **variables: Any,
    ) -> Chat:
        """The conversation as text, ids and mask.

        `allowed_special`: which special tokens the messages, tools and variables may hold. Raises ChatTemplateError
        for messages that are none, and where the template refuses or goes wrong.
        """
        _check_messages(messages)
        allowed = SpecialTokens(tokenizer.special_tokens).recognised(
            "none" if allowed_special == "none_raise" else allowed_special
        )
        values = {"messages": list(messages), "tools": None if tools is None else list(tools), **variables}
        marks = _choose_marks(self.source, values)
        kept = [token for token in tokenizer.special_tokens if token not in allowed]
        if allowed_special == "none_raise":
            for text in _texts(values):
                if found := [token for token in kept if token in text]:
                    raise SpecialTokenError(
                        f"a message holds the special token {found[0]!r}, which is not allowed here"
                    )
        context: dict[str, Any] = {name: _marked(value, kept, marks, name) for name, value in values.items()}
        text_of = {i: token for token, i in tokenizer.special_tokens.items()}
        for role in ROLES:
            i = getattr(tokenizer, f"{role}_id")
            context.setdefault(f"{role}_token", "" if i is None else text_of[i])
        context |= {"add_generation_prompt": add_generation_prompt, "_marks": marks}
        text, barriers, turns = _without_marks(_run(self._template, context), marks)
        ids, offsets = tokenizer.encode_with_offsets(text, allowed_special="all", barriers=barriers)
        return Chat(text, ids, _mask(offsets, turns), offsets)


def _check_messages(messages: object) -> None:
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence):
        raise ChatTemplateError(f"messages must be a list, not {type(messages).__name__}")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ChatTemplateError(f"message {i} must be a mapping with a text 'role'")


def _choose_marks(source: str, values: Mapping[str, Any]) -> _Marks:
    taken = {character for text in (source, *_texts(values)) for character in text if character in _NONCHARACTERS}
    free = [character for character in _NONCHARACTERS if character not in taken]
    if len(free) < 3:
        raise ChatTemplateError("the messages hold nearly all of U+FDD0 to U+FDEF, of which three have to be free")
    return _Marks(*free[:3])


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """All texts within a value."""
    if depth > _MAX_DEPTH:
        raise ChatTemplateError(f"the messages are nested deeper than {_MAX_DEPTH}")
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key, depth + 1)
            yield from _texts(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, depth + 1)


def _marked(value: Any, tokens: Sequence[str], marks: _Marks, key: object = None) -> Any:
    """The value with a barrier in every text wherever a special token could be, or begin, or end."""
    if isinstance(value, str):
        return _with_barriers(value, tokens, marks.barrier, ends=key != "role")
    if isinstance(value, Mapping):
        return {
            _with_barriers(name, tokens, marks.barrier, ends=False) if isinstance(name, str) else name: _marked(
                inner, tokens, marks, name
            )
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_marked(inner, tokens, marks, key) for inner in value]
    return value


def _with_barriers(text: str, tokens: Iterable[str], barrier: str, *, ends: bool) -> str:
    """`ends`: also where a token could begin at the end of the text and go on behind it, or the other way round.

    Not so for roles and keys, which templates compare.
    """
    places: set[int] = set()
    for token in tokens:
        at = text.find(token)
        while at >= 0:
            places.add(at + 1)
            at = text.find(token, at + 1)
        if ends and any(text.startswith(token[i:]) for i in range(1, len(token))):
            places.add(0)
        if ends and any(text.endswith(token[:i]) for i in range(1, len(token))):
            places.add(len(text))
        if len(token) == 1 and token in text:
            raise ChatTemplateError(
                f"the special token {token!r} is one character, so a message cannot hold it as text"
            )
    for place in sorted(places, reverse=True):
        text = text[:place] + barrier + text[place:]
    return text


def _without_marks(rendered: str, marks: _Marks) -> tuple[str, set[int], list[Span]]:
    """The text, the places of barriers in it, and what the assistant says."""
    barriers: set[int] = set()
    turns: list[Span] = []
    opened: list[int] = []
    parts: list[str] = []
    length = start = 0
    for i, character in enumerate(rendered):
        if character not in (marks.barrier, marks.open, marks.close):
            continue
        parts.append(rendered[start:i])
        length += i - start
        start = i + 1
        if character == marks.barrier:
            barriers.add(length)
        elif character == marks.open:
            opened.append(length)
        elif opened:
            turns.append((opened.pop(), length))
    parts.append(rendered[start:])
    return "".join(parts), barriers, turns


def _mask(offsets: Sequence[Span], turns: Sequence[Span]) -> list[int]:
    """1 for each id that stands for a character of a turn."""
    mask = [0] * len(offsets)
    for first, last in turns:
        for i, (start, end) in enumerate(offsets):
            if start < last and end > first:
                mask[i] = 1
    return mask


def _run(template: Any, context: Mapping[str, Any]) -> str:
    jinja = load_jinja()
    deadline = time.monotonic() + MAX_SECONDS
    parts: list[str] = []
    length = 0
    try:
        for part in template.generate(context):
            parts.append(part)
            length += len(part)
            if length > MAX_OUTPUT:
                raise ChatTemplateError(f"the chat template writes more than {MAX_OUTPUT} characters")
            if time.monotonic() > deadline:
                raise ChatTemplateError(f"the chat template takes more than {MAX_SECONDS:.0f} s")
    except ChatTemplateError:
        raise
    except jinja.exceptions.SecurityError as error:
        raise ChatTemplateError(f"the chat template does what it must not: {_said(error)}") from None
    except jinja.TemplateError as error:
        raise ChatTemplateError(f"the chat template refuses this conversation: {_said(error)}") from None
    except Exception as error:  # whatever code in a template can raise
        raise ChatTemplateError(f"the chat template goes wrong: {_said(error)}") from None
    return "".join(parts)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
