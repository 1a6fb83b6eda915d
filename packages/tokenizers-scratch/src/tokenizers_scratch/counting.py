"""How often each word occurs in texts, for any rule that cuts text into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers_scratch.base import each_text
from tokenizers_scratch.patterns import SplitPattern, whole_words
from tokenizers_scratch.special_tokens import SpecialTokens

_WINDOW = 2**18  # characters of one text that are cut into words at a time


def count_words(texts: Iterable[str], pattern: SplitPattern, special_tokens: SpecialTokens) -> Counter[str]:
    """Counts of the words of `texts`; a special token ends a word and is none.

    Memory grows with the number of different words, not with the text.
    """
    counts: Counter[str] = Counter()
    names = tuple(special_tokens.ids)
    for text in each_text(texts):
        if len(text) <= 2 * _WINDOW and not any(map(text.__contains__, names)):
            counts.update(pattern.split(text))
            continue
        windows = (text[start : start + _WINDOW] for start in range(0, len(text), _WINDOW))
        for run in special_tokens.split(windows, "all"):
            if not isinstance(run, int):
                for words in whole_words(run, pattern):
                    counts.update(pattern.split(words))
    return counts


def joined(texts: Iterable[str], separator: str, special_tokens: SpecialTokens) -> Iterator[str]:
    """The texts, many short ones as one: for words that never reach across `separator` nor hold it, which is quicker.

    They stay as they are if a special token has the separator in it, for it might be found across a joint.
    """
    if any(separator in token for token in special_tokens.ids):
        yield from each_text(texts)
        return
    yield from map(separator.join, batches(each_text(texts), _WINDOW))


def batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """The texts in lists of about `size` characters; a longer text ends its list."""
    batch: list[str] = []
    n = 0
    for text in texts:
        batch.append(text)
        n += len(text)
        if n >= size:
            yield batch
            batch, n = [], 0
    if batch:
        yield batch
