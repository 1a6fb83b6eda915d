"""Which characters of a text a token stands for, as half-open spans.

A character that is spread over several tokens belongs to each of them as a whole, as in HF tokenizers: the two tokens
of one character at place 2 both have the span (2, 3).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from itertools import accumulate, pairwise

from tokenizers_scratch.utf8 import text_to_bytes

Span = tuple[int, int]


def spans_of_bytes(text: str, lengths: Iterable[int]) -> list[Span]:
    """Spans of tokens of so many bytes each, one after the other, which together are the bytes of `text`."""
    ends = [0, *accumulate(lengths)]
    if text.isascii():
        return list(pairwise(ends))
    character_at = [i for i, character in enumerate(text) for _ in range(len(text_to_bytes(character)))]
    return [
        (character_at[start], character_at[end - 1] + 1) if end > start else _between(character_at, start, len(text))
        for start, end in pairwise(ends)
    ]


def _between(character_at: list[int], byte: int, n_characters: int) -> Span:
    """The span of a token without bytes."""
    place = character_at[byte] if byte < len(character_at) else n_characters
    return place, place


def spans_of_pieces(pieces: Iterable[str], known: Container[str], *, in_bytes: bool) -> list[Span]:
    """Spans of the tokens of one word, given as its pieces and, one by one, the characters that are no piece.

    Each such character is a token for each of its bytes, or with its neighbours of the kind one unknown token.
    """
    spans: list[Span] = []
    start = 0
    after_unknown = False
    for piece in pieces:
        span = (start, start + len(piece))
        if piece in known:
            spans.append(span)
        elif in_bytes:
            spans.extend([span] * len(text_to_bytes(piece)))
        elif after_unknown:
            spans[-1] = spans[-1][0], span[1]
        else:
            spans.append(span)
        after_unknown = piece not in known
        start = span[1]
    return spans
