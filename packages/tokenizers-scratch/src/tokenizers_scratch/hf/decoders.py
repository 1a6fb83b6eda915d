"""Decoders: from tokens, as texts, to one text. Each is a function from texts to texts; what is left is joined."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import Any

from tokenizers_scratch.byte_alphabet import from_stand_ins
from tokenizers_scratch.custom_patterns import find_spans
from tokenizers_scratch.hf.component import Component
from tokenizers_scratch.hf.pre_tokenizers import PrependScheme, read_character, read_prepend_scheme
from tokenizers_scratch.utf8 import bytes_to_text, text_to_bytes

Decoder = Callable[[list[str]], list[str]]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_CLEANED = (
    *((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")),
    *((" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")),
)


def build_decoder(spec: Component) -> Decoder:
    """The decoder that the file describes. Raises TokenizerFileError."""
    match spec.type:
        case "Sequence":
            return partial(_in_turn, spec.sequence("decoders", build_decoder))
        case "ByteLevel":
            return lambda tokens: [bytes_to_text(b"".join(map(bytes_of, tokens)))]
        case "ByteFallback":
            return _byte_fallback
        case "Fuse":
            return lambda tokens: ["".join(tokens)]
        case "WordPiece":
            return partial(_wordpiece, spec.text("prefix", "##"), spec.flag("cleanup", True))
        case "Metaspace":
            return partial(_metaspace, read_character(spec, "replacement", "▁"), read_prepend_scheme(spec))
        case "BPEDecoder":
            suffix = spec.text("suffix", "</w>")
            return lambda tokens: [t.replace(suffix, " " if t_i else "") for t_i, t in _from_the_end(tokens)]
        case "CTC":
            pad, delimiter = spec.text("pad_token", "<pad>"), spec.text("word_delimiter_token", "|")
            return partial(_ctc, pad, delimiter, spec.flag("cleanup", True))
        case "Strip":
            content = read_character(spec, "content")
            return partial(_each, partial(_strip, content, spec.count("start"), spec.count("stop")))
        case "Replace":
            return partial(_each, partial(_replace, spec.pattern(), spec.text("content")))
        case other:
            raise spec.unsupported(f"the decoder {other!r}")


def last_token_differs(spec: Component) -> bool:
    """Whether the decoder does something else to the last token of a text than to those before."""
    if spec.type == "Sequence":
        return any(map(last_token_differs, spec.children("decoders")))
    return spec.type == "BPEDecoder"


def bytes_of(token: str) -> bytes:
    """The bytes of a byte-level token; a token that is not spelled in stand-ins stands for its own text."""
    try:
        return from_stand_ins(token)
    except ValueError:
        return text_to_bytes(token)


def is_byte_token(token: str) -> bool:
    """Whether it is spelled `<0xNN>`."""
    return _BYTE_TOKEN.fullmatch(token) is not None


def _in_turn(steps: list[Decoder], tokens: list[str]) -> list[str]:
    for step in steps:
        tokens = step(tokens)
    return tokens


def _each(change: Callable[[str], str], tokens: list[str]) -> list[str]:
    return [change(token) for token in tokens]


def _from_the_end(tokens: list[str]) -> Iterable[tuple[int, str]]:
    return zip(range(len(tokens) - 1, -1, -1), tokens, strict=True)


def _byte_fallback(tokens: list[str]) -> list[str]:
    """Runs of byte tokens as text; a run that is no UTF-8 becomes one U+FFFD a byte."""
    out: list[str] = []
    run = bytearray()
    for token in (*tokens, None):
        found = _BYTE_TOKEN.fullmatch(token) if token is not None else None
        if found:
            run.append(int(found[1], 16))
            continue
        if run:
            try:
                out.append(run.decode("utf-8"))
            except UnicodeDecodeError:
                out.extend("\ufffd" * len(run))
            run.clear()
        if token is not None:
            out.append(token)
    return out


def _wordpiece(prefix: str, cleanup: bool, tokens: list[str]) -> list[str]:
    out: list[str] = []
    for i, token in enumerate(tokens):
        if i:
            token = token[len(prefix) :] if token.startswith(prefix) else " " + token
        out.append(_cleaned(token) if cleanup else token)
    return out


def _cleaned(token: str) -> str:
    for old, new in _CLEANED:
        token = token.replace(old, new)
    return token


def _ctc(pad: str, delimiter: str, cleanup: bool, tokens: list[str]) -> list[str]:
    """What speech models write: of equal neighbours one, without padding, which parts letters that are meant twice."""
    out: list[str] = []
    for token, _ in groupby(tokens):
        token = token.replace(pad, "") if pad else token
        if cleanup:
            token = _cleaned(token)
            token = token.replace(delimiter, " ") if delimiter else token
        if token:
            out.append(token)
    return out


def _metaspace(replacement: str, scheme: PrependScheme, tokens: list[str]) -> list[str]:
    first = " " if scheme == "never" else ""
    return [token.replace(replacement, " " if i else first) for i, token in enumerate(tokens)]


def _strip(content: str, start: int, stop: int, token: str) -> str:
    left, right = 0, len(token)
    while left < min(start, len(token)) and token[left] == content:
        left += 1
    while right > max(len(token) - stop, 0) and token[right - 1] == content:
        right -= 1
    return token[left:right]


def _replace(pattern: Any, content: str, token: str) -> str:
    parts: list[str] = []
    done = 0
    for start, end in find_spans(pattern, token):
        parts += (token[done:start], content)
        done = end
    return "".join((*parts, token[done:]))
