"""A text that remembers, for each of its characters, which characters of the original it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers_scratch.offsets import Span

Edit = tuple[str, int]
"""What the next so many characters become. What is put in has the span of the last character taken, or of the one
before if none is taken, as in HF tokenizers."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Character `i` of `text` came from the characters `starts[i]` to `ends[i]` of the original text."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str) -> Aligned:
        """An original text."""
        return cls(text, range(len(text)), range(1, len(text) + 1))

    def slice(self, start: int, end: int) -> Aligned:
        return Aligned(self.text[start:end], self.starts[start:end], self.ends[start:end])

    def span(self, start: int, end: int) -> Span:
        """Where the characters `start` to `end` came from."""
        if start >= end:
            place = self.starts[start] if start < len(self.text) else (self.ends[-1] if self.text else 0)
            return place, place
        return self.starts[start], self.ends[end - 1]

    def edited(self, edits: Iterable[Edit]) -> Aligned:
        """The text after edits from left to right, which together take all of its characters."""
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        for new, taken in edits:
            at += taken
            if new:
                parts.append(new)
                from_ = max(at - 1, 0)
                starts.extend([self.starts[from_] if self.text else 0] * len(new))
                ends.extend([self.ends[from_] if self.text else 0] * len(new))
        return Aligned("".join(parts), starts, ends)

    def replaced(self, text: str) -> Aligned:
        """Another text, of which each character came from the character at its place."""
        return Aligned(text, self.starts, self.ends)

    def prepended(self, prefix: str) -> Aligned:
        """The text with `prefix`, which has the span of the first character; an empty text stays as it is."""
        if not self.text:
            return self
        return Aligned(
            prefix + self.text,
            [self.starts[0]] * len(prefix) + list(self.starts),
            [self.ends[0]] * len(prefix) + list(self.ends),
        )
