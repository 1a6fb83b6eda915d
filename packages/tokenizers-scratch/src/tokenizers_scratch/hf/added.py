"""Added tokens: found in a text before anything else, each as one token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

import regex

from tokenizers_scratch.hf.aligned import Aligned
from tokenizers_scratch.hf.component import Component
from tokenizers_scratch.hf.normalizers import WHITE_SPACE

_WORD = regex.compile(r"\w")


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """`single_word`: only with no letter, digit or underscore beside it. `lstrip`, `rstrip`: takes the white space
    before and behind. `normalized`: looked for in the normalised text, normalised itself. `special`: left out by
    `decode` and, here, text unless it is allowed."""

    id: int
    content: str
    single_word: bool
    lstrip: bool
    rstrip: bool
    normalized: bool
    special: bool


def read_added_token(spec: Component, i: int) -> AddedToken:
    """One of the file, which has the id `i`."""
    special = spec.flag("special", False)
    return AddedToken(
        id=i,
        content=spec.text("content"),
        single_word=spec.flag("single_word", False),
        lstrip=spec.flag("lstrip", False),
        rstrip=spec.flag("rstrip", False),
        normalized=spec.flag("normalized", not special),
        special=special,
    )


class AddedTokens:
    """Finds tokens in a text: the leftmost, and of those that begin together the longest."""

    def __init__(self, tokens: list[AddedToken], spelled: Callable[[str], str]) -> None:
        """`spelled`: what a token looks like in the texts that are searched."""
        self._tokens: dict[str, AddedToken] = {}
        for token in tokens:
            self._tokens.setdefault(spelled(token.content), token)
        self._tokens.pop("", None)
        longest_first = sorted(self._tokens, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def split(
        self, text: Aligned, allowed: Set[str], barriers: Set[int]
    ) -> Iterator[Aligned | tuple[AddedToken, Aligned]]:
        """Runs of text and tokens, each with what it was found as.

        A special token is found if `allowed` holds it, and if it does not reach across one of `barriers`, places in
        the original text.
        """
        done = at = 0
        source = text.text
        while self._pattern and (match := self._pattern.search(source, at)):
            token = self._tokens[match[0]]
            start, end = match.span()
            at = end
            if token.special and token.content not in allowed:
                continue  # it still hides shorter ones within it, as in HF
            if barriers and token.special:
                first, last = text.span(start, end)
                if any(place in barriers for place in range(first + 1, last)):
                    at = start + 1
                    continue
            if token.single_word and (_is_word(source[start - 1 : start]) or _is_word(source[end : end + 1])):
                continue
            while token.lstrip and start > done and source[start - 1] in WHITE_SPACE:
                start -= 1
            while token.rstrip and end < len(source) and source[end] in WHITE_SPACE:
                end += 1
            start = max(start, done)
            if start > done:
                yield text.slice(done, start)
            yield token, text.slice(start, end)
            done = end
        if done < len(source):
            yield text.slice(done, len(source))


def _is_word(character: str) -> bool:
    return _WORD.match(character) is not None
