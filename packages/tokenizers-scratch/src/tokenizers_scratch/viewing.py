"""Looking at tokens: what each piece of a text is, with everything in it made visible.

Nothing that a text holds reaches a screen as it is: white space is drawn, control and invisible characters are named
(`<U+202E>`), bytes that are no whole character are in hex (`<F0>`). So a text can neither hide nor send commands to a
terminal. The pages are in `viewing_html.py`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.special_tokens import AllowedSpecial
from tokenizers_scratch.utf8 import text_to_bytes

_DRAWN = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
_NAMED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_DOTTED_CIRCLE = "\u25cc"


@dataclass(frozen=True)
class Piece:
    """One token where it stands."""

    id: int
    data: bytes
    """As in the vocabulary."""
    shown: str
    """`data` made visible."""
    special: bool
    unknown: bool
    partial: bool
    """Whether it begins or ends within a character."""


@dataclass(frozen=True)
class Row:
    """One token of the table: how often it is in the text."""

    piece: Piece
    frequency: int


@dataclass(frozen=True)
class Statistics:
    """Counts of a text and its tokens."""

    characters: int
    bytes: int
    tokens: int
    different: int
    """Of the tokens."""
    unknown: int
    vocab_size: int

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens if self.tokens else 0.0

    @property
    def characters_per_token(self) -> float:
        """What some call the compression ratio."""
        return self.characters / self.tokens if self.tokens else 0.0


def pieces(tokenizer: BaseTokenizer, text: str, *, allowed_special: AllowedSpecial = "none") -> list[Piece]:
    """The tokens of a text, in order."""
    special = frozenset(tokenizer.special_tokens.values())
    made: dict[int, Piece] = {}
    found = []
    for i in tokenizer.encode(text, allowed_special=allowed_special):
        if i not in made:
            data = tokenizer.vocab[i]
            unknown = i == tokenizer.unk_id
            made[i] = Piece(i, data, shown_bytes(data), i in special, unknown, not _is_whole(data))
        found.append(made[i])
    return found


def statistics(tokenizer: BaseTokenizer, text: str, found: Sequence[Piece]) -> Statistics:
    """Counts for a text and its pieces."""
    return Statistics(
        characters=len(text),
        bytes=len(text_to_bytes(text)),
        tokens=len(found),
        different=len({piece.id for piece in found}),
        unknown=sum(piece.unknown for piece in found),
        vocab_size=tokenizer.vocab_size,
    )


def table(found: Sequence[Piece]) -> list[Row]:
    """Every different token, the most frequent first, then by id."""
    counts = Counter(piece.id for piece in found)
    by_id = {piece.id: piece for piece in found}
    return [Row(by_id[i], n) for i, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def colours(found: Sequence[Piece], n: int) -> Iterator[int]:
    """A colour from 0 to n - 1 for each piece: its id modulo n, or the next one if the piece before has that."""
    before = -1
    for piece in found:
        colour = piece.id % n
        if colour == before:
            colour = (colour + 1) % n
        before = colour
        yield colour


def shown_bytes(data: bytes) -> str:
    """Bytes made visible: characters as by `shown_text`, what is none of them in hex."""
    parts = []
    while data:
        try:
            parts.append(shown_text(data.decode("utf-8")))
            break
        except UnicodeDecodeError as error:
            parts.append(shown_text(data[: error.start].decode("utf-8")))
            parts.extend(f"<{byte:02X}>" for byte in data[error.start : error.end])
            data = data[error.end :]
    return "".join(parts)


def shown_text(text: str) -> str:
    """A text made visible, on one line."""
    return "".join(map(_shown, text, " " + text))


def shown_name(text: str) -> str:
    """The same for what is not looked at but called by, such as a path: spaces stay."""
    return " ".join(map(shown_text, text.split(" ")))


def _shown(character: str, before: str) -> str:
    if character in _DRAWN:
        return _DRAWN[character]
    category = unicodedata.category(character)
    if category in _NAMED:
        return f"<U+{ord(character):04X}>"
    if category.startswith("M") and before == " ":
        return _DOTTED_CIRCLE + character  # it would be drawn over what stands before
    return character


def _is_whole(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True
