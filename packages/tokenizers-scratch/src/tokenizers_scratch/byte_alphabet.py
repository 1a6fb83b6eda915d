"""The 256 printable characters that stand for bytes in GPT-2's files, and the order of bytes that follows from them.

Bytes that are printable in Latin-1 stand for themselves; the other 68 take the characters from U+0100 upwards, in
order (a space becomes U+0120, a newline U+010A). GPT-2 numbers the bytes by the code point of their stand-in, so `!`
is first and a space number 220. That order decides ties in training, hence it is the order of the byte-level BPE here.
Source: `bytes_to_unicode` of openai/gpt-2, which defines the format.
"""

from __future__ import annotations

from collections.abc import Iterable

_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)

BYTE_ORDER: tuple[int, ...] = _PRINTABLE + _OTHERS
"""All byte values, ordered by the code point of their stand-in."""

_TO_CHARACTER = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}
_TO_BYTE = {character: byte for byte, character in _TO_CHARACTER.items()}


def to_stand_ins(data: bytes) -> str:
    """Bytes as printable text, one character a byte."""
    return "".join(map(_TO_CHARACTER.__getitem__, data))


def from_stand_ins(text: str) -> bytes:
    """The inverse of `to_stand_ins`. Raises ValueError for a character that stands for no byte."""
    try:
        return bytes(map(_TO_BYTE.__getitem__, text))
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} in {text!r} stands for no byte") from None


def single_bytes(order: Iterable[int] = BYTE_ORDER) -> list[bytes]:
    """The 256 tokens that every byte-level vocabulary starts with."""
    return [bytes((byte,)) for byte in order]
