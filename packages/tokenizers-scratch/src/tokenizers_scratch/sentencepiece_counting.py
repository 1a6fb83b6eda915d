"""How often each word occurs in texts as sentencepiece has words: from one space to the next."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenizers_scratch.base import each_text
from tokenizers_scratch.counting import batches
from tokenizers_scratch.patterns import whole_words
from tokenizers_scratch.scripts import MARKER
from tokenizers_scratch.sentencepiece_text import SPACED, SentencePieceText, split_at_markers
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.subword_kernels import kernels

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.parts import PartCounter

_FEW_CHARACTERS = 2**21  # to count those, plain Python takes no longer than the kernels to load
_WINDOW = 2**18  # characters that are normalised at a time
_WAITING = 2  # batches that wait to be counted, at most


def get_sentencepiece_word_freqs(
    texts: Iterable[str],
    rules: SentencePieceText | None = None,
    special_tokens: SpecialTokens | None = None,
    *,
    threads: int = 1,
) -> Counter[str]:
    """How often each word occurs in the normalised `texts`, markers included; a special token ends a word and is none.

    Memory grows with the number of different words, not with the text. `threads`: with two and more, words are counted
    while the next texts are read.
    """
    counter = _WordCounter(rules or SentencePieceText(), special_tokens or SpecialTokens({}))
    parts = batches(filter(None, each_text(texts)), _WINDOW)
    if threads == 1:
        for batch in parts:
            counter.add(batch)
        return counter.counts()
    from concurrent.futures import Future, ThreadPoolExecutor  # here, because a small job has no time for it

    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[None]] = deque()
        for batch in parts:
            waiting.append(pool.submit(counter.add, batch))
            if len(waiting) > _WAITING:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    return counter.counts()


class _WordCounter:
    """Counts the words of batches of texts."""

    def __init__(self, rules: SentencePieceText, special_tokens: SpecialTokens) -> None:
        self._rules = rules
        self._special_tokens = special_tokens
        self._after_space = _PartCounts()
        self._at_start: Counter[str] = Counter()

    def add(self, texts: list[str]) -> None:
        """Count the words of `texts`, none of which is empty."""
        # With a dummy prefix, many short texts have the words of one text with spaces between them.
        joined = " ".join(texts)
        if (
            len(joined) <= 2 * _WINDOW
            and self._rules.add_dummy_prefix
            and not any(map(joined.__contains__, self._special_tokens.ids))
        ):
            self._after_space.add(self._rules.spaced(joined))
        else:
            for text in texts:
                self._add_one(text)

    def _add_one(self, text: str) -> None:
        rules, started = self._rules, False
        windows = (text[start : start + _WINDOW] for start in range(0, len(text), _WINDOW))
        for run in self._special_tokens.split(windows, "all"):
            if not isinstance(run, int):
                for chunk in whole_words(run, SPACED):
                    plain = rules.spaced(chunk)
                    if rules.remove_extra_whitespaces and not started and not (plain := plain.lstrip(" ")):
                        continue
                    if started or not rules.add_dummy_prefix:
                        first, space, plain = plain.partition(" ")
                        self._at_start[first] += 1
                        if not space:
                            started = True
                            continue
                    self._after_space.add(plain)
                    started = True

    def counts(self) -> Counter[str]:
        """The words with their counts."""
        # Almost all parts are one word each, behind one marker.
        counts = self._after_space.counts(MARKER)
        if self._rules.remove_extra_whitespaces:
            counts.pop(MARKER, None)
        if "".join(counts).count(MARKER) > len(counts):
            for word in [word for word in counts if MARKER in word[1:]]:
                count = counts.pop(word)
                for part in split_at_markers(word):
                    counts[part] = counts.get(part, 0) + count
        for text, count in self._at_start.items():
            for word in split_at_markers(text):
                counts[word] = counts.get(word, 0) + count
        return Counter(counts)


class _PartCounts:
    """How often each part between two spaces occurs: by plain Python if there are few, else by a kernel."""

    def __init__(self) -> None:
        self._few: list[str] = []  # what is still to be counted
        self._n_few = 0
        self._counts: Counter[str] = Counter()
        self._kernel: PartCounter | None = None

    def add(self, text: str) -> None:
        """Count the parts of `text`."""
        if self._kernel is not None:
            self._kernel.add(text)
            return
        self._few.append(text)
        self._n_few += len(text)
        if self._n_few > _FEW_CHARACTERS:
            if kernel := kernels("parts", 1.0):
                self._kernel = kernel.PartCounter()
            self._empty()

    def _empty(self) -> None:
        for text in self._few:
            if self._kernel is not None:
                self._kernel.add(text)
            else:
                self._counts.update(text.split(" "))
        self._few.clear()
        self._n_few = 0

    def counts(self, prefix: str) -> dict[str, int]:
        """Parts, behind `prefix`, with their counts."""
        self._empty()
        if self._kernel is not None:
            return self._kernel.counts(prefix)
        return {prefix + part: count for part, count in self._counts.items()}
