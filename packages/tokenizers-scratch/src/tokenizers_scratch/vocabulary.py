"""Numbering pieces, and turning the numbering around."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import compress, groupby
from operator import not_
from typing import TYPE_CHECKING

from tokenizers_scratch.errors import EmptyCorpusError, VocabularyTooSmallError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MANY_WORDS = 20_000
"""From so many on, numpy counts characters quicker than it takes to load."""


def build_initial_vocab(special_tokens: Iterable[str], pieces: Iterable[str]) -> dict[str, int]:
    """Ids from 0: the special tokens, then the pieces that are none of them, in the order given."""
    vocab: dict[str, int] = {}
    for piece in (*special_tokens, *pieces):
        vocab.setdefault(piece, len(vocab))
    return vocab


def invert_vocab(vocab: Mapping[str, int]) -> dict[int, str]:
    """Pieces by their id. Raises ValueError if two pieces have one id."""
    inverted = {i: piece for piece, i in vocab.items()}
    if len(inverted) != len(vocab):
        raise ValueError("two pieces have one id")
    return inverted


def extract_unique_chars(word_counts: Mapping[str, int]) -> Counter[str]:
    """How often each character occurs in words that occur so many times."""
    counts: Counter[str] = Counter()
    if len(word_counts) > _MANY_WORDS:
        import numpy as np

        codes, lengths = _code_points(word_counts)
        weights = np.repeat(np.fromiter(word_counts.values(), np.float64, len(word_counts)), lengths)
        found = np.bincount(codes, weights)  # exact up to 2 ** 53
        return Counter({chr(code): int(found[code]) for code in np.flatnonzero(found)})
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    return counts


def cover(word_counts: Mapping[str, int], share: float, always: str = "") -> dict[str, int]:
    """The words without the rarest characters: the most frequent ones that make up `share` of the text stay.

    A word is cut where a character is dropped. `always`: characters that stay in any case.
    """
    covered = dict(word_counts)
    if share >= 1:
        return covered
    characters = extract_unique_chars(word_counts)
    wanted = share * sum(characters.values())
    dropped = set(characters).difference(always)
    for character in sorted(characters, key=lambda c: (-characters[c], c)):
        if wanted <= 0:
            break
        dropped.discard(character)
        wanted -= characters[character]
    to_cut = {word: covered.pop(word) for word in _words_with(dropped, word_counts)}
    for word, count in to_cut.items():
        for outside, part in groupby(word, dropped.__contains__):
            if not outside:
                inside = "".join(part)
                covered[inside] = covered.get(inside, 0) + count
    return covered


def _words_with(characters: Collection[str], words: Collection[str]) -> list[str]:
    """The words that have one of these characters."""
    if len(words) <= _MANY_WORDS or not characters:
        return list(compress(words, map(not_, map(set(characters).isdisjoint, words))))
    import numpy as np

    codes, lengths = _code_points(words)
    wanted = np.zeros(max(int(codes.max()), *map(ord, characters)) + 1, np.bool_)
    wanted[[ord(character) for character in characters]] = True
    found = np.repeat(np.arange(len(words)), lengths)[wanted[codes]]
    listed = list(words)
    return [listed[i] for i in np.unique(found)]


def _code_points(words: Collection[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The code points of words, one behind the other, and how long each word is."""
    import numpy as np

    codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes, np.fromiter(map(len, words), np.int64, len(words))


def room_beside(alphabet: int, *, vocab_size: int, reserved: int, what: str = "characters") -> int:
    """How many pieces may still be learned beside an alphabet that has to be in the vocabulary.

    Raises EmptyCorpusError if there is no alphabet, VocabularyTooSmallError if it does not fit.
    """
    if not alphabet:
        raise EmptyCorpusError("the training text is empty: there is no word to learn from")
    if reserved + alphabet > vocab_size:
        raise VocabularyTooSmallError(
            vocab_size, reserved + alphabet, f"{reserved} fixed entries and {alphabet} {what}"
        )
    return vocab_size - reserved - alphabet
