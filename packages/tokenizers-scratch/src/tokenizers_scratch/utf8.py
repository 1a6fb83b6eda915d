r"""Text <-> bytes for every Python string, lone surrogates included.

The encoding is UTF-8, and a lone surrogate (U+D800..U+DFFF, which JSON escapes and file names can smuggle into a
`str`) is written as the three bytes that its code point would have (Python's `surrogatepass`). So every string has
bytes and comes back from them unchanged. Bytes that are neither become U+FFFD, one for each maximal ill-formed part,
as the Unicode standard recommends (section 3.9, "U+FFFD Substitution of Maximal Subparts").

tiktoken and HF tokenizers differ here: the first turns lone surrogates into U+FFFD, the second raises TypeError.
"""

from __future__ import annotations

import re
from typing import Literal

_SURROGATE = re.compile(rb"(\xed[\xa0-\xbf][\x80-\xbf])")
# What may still become a character if more bytes come: a proper prefix of a well-formed sequence, at the very end.
_INCOMPLETE = re.compile(
    rb"(?:[\xc2-\xdf]|\xe0[\xa0-\xbf]?|[\xe1-\xef][\x80-\xbf]?"
    rb"|\xf0(?:[\x90-\xbf][\x80-\xbf]?)?|[\xf1-\xf3][\x80-\xbf]{0,2}|\xf4(?:[\x80-\x8f][\x80-\xbf]?)?)\Z"
)


def text_to_bytes(text: str) -> bytes:
    """Any string as bytes; different strings have different bytes."""
    return text.encode("utf-8", "surrogatepass")


def bytes_to_text(data: bytes, ill_formed: Literal["replace", "backslashreplace"] = "replace") -> str:
    r"""The inverse of `text_to_bytes`. Ill-formed bytes become U+FFFD, or `\xNN` with "backslashreplace"."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # 0xED is never a continuation byte, so cutting around encoded surrogates cuts no other character.
        parts = _SURROGATE.split(data)
        return "".join(
            part.decode("utf-8", "surrogatepass" if i % 2 else ill_formed)  # every second part is a surrogate
            for i, part in enumerate(parts)
        )


def incomplete_tail(data: bytes) -> int:
    """How many bytes at the end (0 to 3) could still be completed to a character by bytes that follow."""
    match = _INCOMPLETE.search(data[-3:])
    return len(match[0]) if match else 0
