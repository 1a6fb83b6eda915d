"""Learn a byte-level BPE vocabulary with kernels: count the words of a stream of texts, then merge."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from tokenizers_scratch.counting import batches
from tokenizers_scratch.kernels.classes import class_table
from tokenizers_scratch.kernels.compiling import compilation
from tokenizers_scratch.kernels.counting import (
    DOCUMENT,
    LONGEST_COUNTED,
    NEEDED,
    PLACE,
    bytes_of_words,
    count,
    list_words,
)
from tokenizers_scratch.kernels.documents import groups, join, join_bytes, pieces, read_only
from tokenizers_scratch.kernels.learning import DONE, GROW, TOKENS, first_state, grown, learn
from tokenizers_scratch.kernels.machine import PADDING
from tokenizers_scratch.kernels.splitting import NONE, PATTERN_NUMBERS
from tokenizers_scratch.kernels.words import ROWS, Ahead, WordTable, ahead, empty_table, move_rows
from tokenizers_scratch.kernels.words import grown as grown_table

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Longs

_PIECE = 2**20  # bytes that one thread counts at a time, about
_NO_LIMIT = 2**62
_MERGES_A_CALL = 4096  # between two calls an interrupt is noticed


class Trainer:
    """Counts words, then learns merges. The result depends neither on the threads nor on the order of the texts."""

    def __init__(self, pattern: str, threads: int) -> None:
        self._pattern = PATTERN_NUMBERS[pattern]
        self._classes = class_table()
        self._threads = threads
        self._counts: list[tuple[WordTable, Ahead, Counter[bytes]]] = [
            (empty_table(2**14, 2**16, 0), ahead(), Counter()) for _ in range(threads)
        ]

    def count(self, texts: Iterable[str]) -> None:
        """Count the words of texts, each a text of its own. Reads as far ahead as the threads need."""
        with ThreadPoolExecutor(self._threads) as pool:
            running: deque[Future[None]] = deque()
            for batch in batches(texts, _PIECE):
                data, bounds = join(batch)
                bounds, _ = pieces(data, bounds, self._pattern, _PIECE)
                for group in groups(bounds, _PIECE):
                    part = bounds[group]
                    running.append(pool.submit(self._count, data, part, np.ones(len(part), np.int64), self._pattern))
                while len(running) > 2 * self._threads:
                    running.popleft().result()
            for future in running:
                future.result()

    def add(self, word_counts: Mapping[bytes, int]) -> None:
        """Add words that were counted elsewhere."""
        data, bounds = join_bytes(list(word_counts))
        self._count(data, bounds, np.fromiter(word_counts.values(), np.int64, len(word_counts)), NONE)

    def _count(self, data: Bytes, bounds: Longs, times: Longs, pattern: int) -> None:
        table, words, long_words = self._counts.pop()
        progress = np.zeros(3, np.int64)
        while not count(data, bounds, times, pattern, self._classes, table, words, progress):
            length = int(progress[NEEDED])
            if length > LONGEST_COUNTED:
                place = int(progress[PLACE])
                long_words[data[place : place + length].tobytes()] += int(times[progress[DOCUMENT]])
                progress[PLACE] += length
            else:
                table = grown_table(table, length, 0)
        self._counts.append((table, words, long_words))

    def learn(
        self, *, n_tokens: int, min_frequency: int, max_token_length: int | None, byte_order: Sequence[int], ties: str
    ) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """Tokens in the order of their ids, and merges in the order they were learned: see `bpe_reference.py`.

        Uses up what was counted.
        """
        by_text = int(ties == "lexicographic")
        longest = max_token_length or _NO_LIMIT
        data, bounds, times = self._words()
        state = first_state(data, bounds, times, np.array(list(byte_order), np.uint8), n_tokens, by_text)
        while (answer := learn(state, min_frequency, longest, by_text, _MERGES_A_CALL)) != DONE:
            if answer == GROW:
                state = grown(state)
        tokens = [bytes((byte,)) for byte in byte_order]
        merges = []
        for left, right in state.merged[: state.used[TOKENS] - 256].tolist():
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
        return tokens, merges

    def _words(self) -> tuple[Bytes, Longs, Longs]:
        """All words, each once: where each is in the bytes, and its count."""
        while len(self._counts) > 1:
            table, _, long_words = self._counts.pop()
            data, bounds, times = _words_of(table)
            self._count(data, bounds, times, NONE)
            self._counts[0][2].update(long_words)
        table, _, long_words = self._counts.pop()
        data, bounds, times = _words_of(table)
        if long_words:
            more, more_bounds = join_bytes(list(long_words))
            bounds = np.concatenate((bounds, more_bounds + len(data)))
            times = np.concatenate((times, np.fromiter(long_words.values(), np.int64, len(long_words))))
            data = read_only(np.concatenate((data, more)))
        return data, bounds, times


def _words_of(table: WordTable) -> tuple[Bytes, Longs, Longs]:
    data = np.zeros(bytes_of_words(table) + PADDING, np.uint8)
    bounds = np.empty((int(table.used[ROWS]), 2), np.int64)
    times = np.empty(len(bounds), np.int64)
    list_words(table, data, bounds, times)
    return read_only(data), bounds, times


def prepare() -> None:
    """Compile the kernels of this module, or load their machine code."""
    with compilation("trainer", "the kernels that train"):
        trainer = Trainer("gpt2", 2)
        trainer.count(["the cat sat on a longer-than-15-letters mat ", "ab" * LONGEST_COUNTED])
        move_rows(empty_table(4, 0, 0).rows, empty_table(16, 0, 0).rows)
        data, bounds, times = trainer._words()
        state = grown(first_state(data, bounds, times, np.arange(256, dtype=np.uint8), 300, 0))
        learn(state, 1, _NO_LIMIT, 0, 9)
