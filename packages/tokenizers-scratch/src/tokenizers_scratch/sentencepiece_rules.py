"""A sentencepiece model's own rules for characters, as its file has them, and the pieces that no rule touches.

The rules are looked for from left to right; at each place the longest user-defined piece counts, else the longest
rule, else the character stays as it is. Spaces at the ends of what a rule or such a piece gives are collapsed with
their neighbours, spaces within it are not.

Source: sentencepiece `normalizer.cc` (`Normalizer::Normalize`, `NormalizePrefix`), re-created from what it does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

from tokenizers_scratch.charsmap import Charsmap
from tokenizers_scratch.hf.aligned import Aligned

_SPACES = re.compile("  +")

Part = tuple[int, int, str | None]
"""Characters of a text from where to where, and what they become; None if they stay."""


class CompiledRules:
    """The rules of one model. Immutable."""

    def __init__(self, charsmap: bytes = b"", *, name: str = "", kept: Iterable[str] = ()) -> None:
        """`charsmap`: as in the file (`charsmap.py`). `kept`: user-defined pieces. ValueError for damaged rules."""
        self.charsmap, self.name, self.kept = charsmap, name, frozenset(kept)
        self._rules, self._longest = _table(charsmap) if charsmap else ({}, {})
        self._kept: defaultdict[str, list[str]] = defaultdict(list)
        for text in sorted(self.kept, key=len, reverse=True):
            self._kept[text[0]].append(text)
        self._find = _finder((*self._rules, *self.kept))

    @property
    def crosses_spaces(self) -> bool:
        """Whether what stands before a space may decide what becomes of the space."""
        return any(" " in source[1:] for source in (*self._rules, *self.kept))

    def parts(self, text: str) -> Iterator[Part]:
        """The text in parts, each as long as it can be."""
        done = at = 0
        while self._find and (found := self._find.search(text, at)):
            start = found.start()
            end, new = self._at(text, start)
            if new is None:
                at = start + 1
                continue
            if start > done:
                yield done, start, None
            yield start, end, new
            done = at = end
        if done < len(text):
            yield done, len(text), None

    def _at(self, text: str, start: int) -> tuple[int, str | None]:
        for kept in self._kept.get(text[start], ()):
            if text.startswith(kept, start):
                return start + len(kept), kept
        for end in range(min(len(text), start + self._longest.get(text[start], 0)), start, -1):
            new = self._rules.get(text[start:end])
            if new is not None:
                return end, new
        return start, None

    def spaced(self, text: str) -> str:
        """The text after the rules."""
        return "".join(text[start:end] if new is None else new for start, end, new in self.parts(text))

    def collapsed(self, text: str, *, after_space: bool) -> str:
        """The text after the rules, of neighbouring spaces one; none at the start if it comes `after_space`."""
        out: list[str] = []
        for start, end, new in self.parts(text):
            if new is None:
                new = _SPACES.sub(" ", text[start:end])
            if after_space:
                new = new.lstrip(" ")
            if new:
                out.append(new)
                after_space = new.endswith(" ")
        return "".join(out)

    def aligned(self, text: str, *, after_space: bool | None = None) -> Aligned:
        """`spaced`, or with `after_space` `collapsed`, with the places that characters came from."""
        characters: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        collapse = after_space is not None
        for start, end, new in self.parts(text):
            inside = False  # what a rule or a piece of its own gave
            for i, character in enumerate(text[start:end] if new is None else new):
                if collapse and after_space and character == " " and not inside:
                    continue
                characters.append(character)
                starts.append(start + i if new is None else start)
                ends.append(start + i + 1 if new is None else end)
                after_space = character == " "
                inside = new is not None
        return Aligned("".join(characters), starts, ends)


def _finder(sources: Iterable[str]) -> re.Pattern[str] | None:
    """Finds places where a source may begin: by its first two characters, so that most letters are not looked at."""
    single: set[str] = set()
    first: set[str] = set()
    second: set[str] = set()
    for source in sources:
        if len(source) == 1:
            single.add(source)
        else:
            first.add(source[0])
            second.add(source[1])
    ways = [_class_of(single)] if single else []
    if first:
        ways.append(f"{_class_of(first)}(?={_class_of(second)})")
    return re.compile("|".join(ways)) if ways else None


def _class_of(characters: Iterable[str]) -> str:
    """A class of `re`, in ranges: it looks at what lies beyond U+FFFF one entry after the other."""
    codes = sorted(map(ord, characters))
    starts = [code for before, code in pairwise([-2, *codes]) if code != before + 1]
    ends = [code for code, after in pairwise([*codes, -2]) if after != code + 1]
    return "[" + "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True)) + "]"


@lru_cache(maxsize=4)
def _table(charsmap: bytes) -> tuple[dict[str, str], dict[str, int]]:
    """What becomes what, and the length of the longest rule that begins with each character."""
    rules = Charsmap(charsmap).rules()
    longest: dict[str, int] = {}
    for source in rules:
        longest[source[0]] = max(longest.get(source[0], 0), len(source))
    return rules, longest
