"""How often each word occurs in texts, for any rule that cuts text into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers_scratch.base import each_text
from tokenizers_scratch.patterns import SplitPattern, whole_words
from tokenizers_scratch.special_tokens import SpecialTokens

_WINDOW = 2**18  # characters of one text that are cut into words at a time


def count_words(texts: Iterable[str], pattern: SplitPattern, special_tokens: SpecialTokens) -> Counter[str]:
    """Counts of the words of `texts`; a special token ends a word and is none.

    Memory grows with the number of different words, not with the text.
    """
    counts: Counter[str] = Counter()
    for text in each_text(texts):
        windows = (text[start : start + _WINDOW] for start in range(0, len(text), _WINDOW))
        for run in special_tokens.split(windows, "all"):
            if not isinstance(run, int):
                for words in whole_words(run, pattern):
                    counts.update(pattern.split(words))
    return counts
