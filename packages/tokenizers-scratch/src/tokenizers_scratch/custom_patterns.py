r"""Split patterns that a user or a file brings: compiled within bounds, matched against the clock.

What a pattern does not match is a word too, between two matches or at the ends, so no text is lost; tiktoken drops it,
HF tokenizers keeps it (`Split` with `Isolated`), and so does this.

A regular expression can take time exponential in the text, and a counted repeat is unrolled when it is compiled
(`a{99999999}` takes gigabytes). So the length of a pattern is limited, and how far its repeats multiply; recursion and
fuzzy matching are refused; and matching has a budget of time that grows with the text, far above what an honest
pattern needs.

With such a pattern a text is in memory as a whole, where a published one lets go of what lies behind the last certain
border. There is no such border to be found: whether a match ends at a place may depend on any text behind it, as in
`a(?=.*b)|.`, or in `a.*b|a`, whose first alternative is tried up to the end and given up; and the engine does not say
how far it looked. Memory is then bounded by the size of one document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import regex

from tokenizers_scratch.errors import PatternTimeoutError

MAX_LENGTH = 4096
"""Characters of a pattern. The published ones have at most a few hundred."""

MAX_REPEATS = 10_000
"""The product of all counted repeats in a pattern, each taken at its largest."""

_SECONDS = 1.0  # for any text
_CHARACTERS_PER_SECOND = 100_000  # honest patterns do millions

_COUNT = re.compile(r"\{([0-9]*)(?:,([0-9]*))?\}")
_REFUSED = re.compile(
    r"\(\?(?:R|[0-9&]|[+-][0-9]|P>)"  # recursion
    r"|\{[^{}]*[a-z]\s*<|\\L<"  # fuzzy matching, named lists
)


@lru_cache(maxsize=64)
def compile_pattern(pattern: str, *, multiline: bool = False) -> Any:
    """`pattern` compiled. Raises ValueError, saying why, for one that is invalid or could take unbounded memory."""
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"the regular expression has {len(pattern)} characters, more than {MAX_LENGTH}")
    repeats = 1
    for least, most in _COUNT.findall(pattern):
        repeats *= max(int((most or least or "0")[:9]), int((least or "0")[:9]), 1)
        if repeats > MAX_REPEATS:
            raise ValueError(f"its counted repeats multiply to more than {MAX_REPEATS}")
    if found := _REFUSED.search(pattern):
        raise ValueError(f"{found[0]!r} is not allowed in it: recursion and fuzzy matching have no bounds")
    try:
        compiled = regex.compile(pattern, regex.VERSION0 | (regex.MULTILINE if multiline else 0))
    except regex.error as error:
        raise ValueError(f"it is no regular expression: {error}") from None
    except (RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"it is too large to compile ({type(error).__name__})") from None
    if compiled.flags & regex.REVERSE:
        raise ValueError("it must not search backwards")
    return compiled


def find_spans(compiled: Any, text: str) -> Iterator[tuple[int, int]]:
    """Non-empty matches from left to right, as half-open spans. Raises PatternTimeoutError when time is up."""
    budget = _SECONDS + len(text) / _CHARACTERS_PER_SECOND
    try:
        for match in compiled.finditer(text, timeout=budget):
            start, end = match.span()
            if end > start:
                yield start, end
    except TimeoutError:
        raise PatternTimeoutError(compiled.pattern, len(text), budget) from None


def split_text(compiled: Any, text: str) -> list[str]:
    """The matches, and what lies between them."""
    words: list[str] = []
    done = 0
    for start, end in find_spans(compiled, text):
        if start > done:
            words.append(text[done:start])
        words.append(text[start:end])
        done = end
    if done < len(text):
        words.append(text[done:])
    return words
