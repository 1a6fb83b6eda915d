"""Special tokens: ids that plain text never produces.

`<PAD> <UNK> <BOS> <EOS>` are ids 0 to 3 of every tokenizer trained here; the user's own follow. What looks like a
special token in a text is text, unless the caller allows it; where allowed tokens overlap, the leftmost wins, and of
those that start together the longest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import chain, groupby
from types import MappingProxyType
from typing import Literal, cast

from tokenizers_scratch.errors import SpecialTokenError

ROLES: Mapping[str, str] = MappingProxyType({"pad": "<PAD>", "unk": "<UNK>", "bos": "<BOS>", "eos": "<EOS>"})
"""What a special token is for, and the token that has this role unless somebody says otherwise."""

AllowedSpecial = Literal["all", "none", "none_raise"] | AbstractSet[str]
"""Which special tokens may be recognised in a text: all, none (they are text), none and raise if there is one, or
exactly these."""


class SpecialTokens:
    """Special tokens by their text, with their ids and roles. Immutable."""

    def __init__(self, ids: Mapping[str, int], roles: Mapping[str, str] = ROLES) -> None:
        check_special_tokens(tuple(ids))
        if len(set(ids.values())) != len(ids):
            raise ValueError("two special tokens have one id")
        self.ids: Mapping[str, int] = dict(ids)
        self.roles: Mapping[str, str] = {r: t for r, t in roles.items() if r in ROLES and t in ids}

    @classmethod
    def numbered(cls, own: Sequence[str] = ()) -> SpecialTokens:
        """The four standard tokens as ids 0 to 3, then the user's own."""
        tokens = (*ROLES.values(), *own)
        check_special_tokens(tokens)
        return cls({token: i for i, token in enumerate(tokens)})

    def __len__(self) -> int:
        return len(self.ids)

    def role_id(self, role: str) -> int | None:
        """The id of the token with this role, if there is one."""
        return self.ids[self.roles[role]] if role in self.roles else None

    def split(self, chunks: Iterable[str], allowed: AllowedSpecial) -> Iterator[Iterator[str] | int]:
        """One text, given in chunks, as runs of plain text (in chunks again) and ids of special tokens.

        A run must be used up before the next item is taken. Raises ValueError at once if `allowed` is none of the
        possible values or names an unknown token; while iterating, SpecialTokenError if `allowed` is "none_raise" and
        a special token turns up.
        """
        recognised = self.recognised(allowed)
        if not recognised:
            return iter((iter(chunks),))
        return self._runs(self._parts(chunks, recognised, refuse=allowed == "none_raise"))

    def _runs(self, parts: Iterator[str | int]) -> Iterator[Iterator[str] | int]:
        for kind, run in groupby(parts, key=type):
            if kind is str:
                yield cast("Iterator[str]", run)
            else:
                yield from cast("Iterator[int]", run)

    def find(
        self, text: str, allowed: AllowedSpecial, barriers: Collection[int] = ()
    ) -> Iterator[tuple[int, int, int | None]]:
        """One text as runs of plain text and special tokens: start, end, and the id of a token or None.

        A token that reaches across one of `barriers`, places between characters, is text. Raises as `split`.
        """
        tokens = self.recognised(allowed)
        done = at = 0
        while tokens and (match := _finder(tokens).search(text, at)):
            start, end = match.span()
            if any(place in barriers for place in range(start + 1, end)):
                at = start + 1
                continue
            at = end
            if allowed == "none_raise":
                raise SpecialTokenError(f"the text holds the special token {match[0]!r}, which is not allowed here")
            if start > done:
                yield done, start, None
            yield start, end, self.ids[match[0]]
            done = end
        if done < len(text):
            yield done, len(text), None

    def recognised(self, allowed: AllowedSpecial) -> frozenset[str]:
        """The tokens that are looked for. Raises ValueError for what is none of the possible values."""
        if isinstance(allowed, str):
            if allowed not in ("all", "none", "none_raise"):
                raise ValueError(f'allowed_special: got {allowed!r}, must be "all", "none", "none_raise" or a set')
            return frozenset() if allowed == "none" else frozenset(self.ids)
        if unknown := sorted(set(allowed) - set(self.ids)):
            raise ValueError(f"allowed_special: {unknown[0]!r} is no special token of this tokenizer")
        return frozenset(allowed)

    def _parts(self, chunks: Iterable[str], tokens: frozenset[str], refuse: bool) -> Iterator[str | int]:
        """Pieces of plain text, cut wherever a chunk ended, and ids."""
        find = _finder(tokens)
        longest = max(map(len, tokens))
        end: tuple[str | None] = (None,)
        buffer = ""
        for chunk in chain(chunks, end):
            buffer += chunk or ""
            # A token that starts before `certain` is wholly visible, and so is any longer one that starts there.
            certain = len(buffer) - longest + 1 if chunk is not None else len(buffer)
            done = 0
            for match in find.finditer(buffer):
                if match.start() >= certain:
                    break
                if refuse:
                    raise SpecialTokenError(f"the text holds the special token {match[0]!r}, which is not allowed here")
                if match.start() > done:
                    yield buffer[done : match.start()]
                yield self.ids[match[0]]
                done = match.end()
            if certain > done:
                yield buffer[done:certain]
                done = certain
            buffer = buffer[done:]


def check_special_tokens(tokens: Sequence[str]) -> None:
    """Raise ValueError if one is empty, appears twice, or cannot be written to a file."""
    seen: set[str] = set()
    for token in tokens:
        if not token:
            raise ValueError("a special token is the empty string, which would match everywhere")
        if token in seen:
            raise ValueError(f"the special token {token!r} appears twice")
        seen.add(token)
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise ValueError(f"the special token {token!r} holds a lone surrogate, which no file can hold")


@lru_cache(maxsize=64)
def _finder(tokens: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)))
