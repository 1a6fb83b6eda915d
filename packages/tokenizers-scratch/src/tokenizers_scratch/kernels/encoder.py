"""A byte-level BPE vocabulary, ready to encode with kernels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from tokenizers_scratch.kernels.classes import class_table
from tokenizers_scratch.kernels.compiling import compilation
from tokenizers_scratch.kernels.documents import groups, join, pieces
from tokenizers_scratch.kernels.encoding import NEEDED, WRITTEN, encode
from tokenizers_scratch.kernels.long_words import Workspace, workspace_for
from tokenizers_scratch.kernels.machine_code import fixed
from tokenizers_scratch.kernels.ranks import make_merges
from tokenizers_scratch.kernels.splitting import PATTERN_NUMBERS
from tokenizers_scratch.kernels.words import IDS, LONGEST, TEXT, Ahead, WordTable, ahead, empty_table, grown, move_rows

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ids, Longs

_PIECE = 2**20  # bytes that one thread encodes at a time, about
_MOST_ROWS = 2**20  # half as many words; with what else a table holds at most 100 MB
_MOST_TEXT = 2**25
_MOST_IDS = 2**23
_KEPT_SPACE = 2**16  # the length of a word whose workspace is kept


class Encoder:
    """Texts to arrays of ids. May be used by several threads at once: each has its own table of words."""

    def __init__(
        self, pattern: str, id_of_byte: Sequence[int], pairs: Sequence[tuple[int, int]], products: Sequence[int]
    ) -> None:
        """`pairs`: the ids that each merge joins, the earliest first; `products`: the ids it gives."""
        self._pattern = PATTERN_NUMBERS[pattern]
        joined = np.array(pairs, np.int32).reshape(-1, 2)
        merges = make_merges(
            np.array(id_of_byte, np.int32), joined[:, 0].copy(), joined[:, 1].copy(), np.array(products, np.int32)
        )
        self._vocabulary = fixed(class_table()), fixed(merges)
        self._idle: list[_Memory] = []

    def encode(self, texts: Sequence[str], threads: int = 1) -> tuple[Ids, Longs]:
        """Ids of all texts, one behind the other, and where those of each text end."""
        data, bounds = join(texts)
        if threads == 1 or int(bounds[-1:, 1].sum()) <= _PIECE:
            return self._encode(data, bounds)
        bounds, last = pieces(data, bounds, self._pattern, _PIECE)
        tasks = [bounds[part] for part in groups(bounds, _PIECE)]
        with ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(lambda task: self._encode(data, task), tasks))
        before = np.cumsum([0, *(len(ids) for ids, _ in done)])
        ends = np.concatenate([ends + offset for (_, ends), offset in zip(done, before, strict=False)])
        return np.concatenate([ids for ids, _ in done]), ends[last]

    def _encode(self, data: Bytes, bounds: Longs) -> tuple[Ids, Longs]:
        out = np.empty(int((bounds[:, 1] - bounds[:, 0]).sum()) + 2, np.uint32)
        ends = np.empty(len(bounds), np.int64)
        progress = np.zeros(4, np.int64)
        memory = self._idle.pop() if self._idle else _Memory(len(out))
        while True:
            table, words, space = memory.arguments
            if encode(data, bounds, self._pattern, *self._vocabulary, table, words, space, out, ends, progress):
                break
            memory.make_room(int(progress[NEEDED]), len(out))
        memory.forget_huge_words()
        self._idle.append(memory)
        out.resize(progress[WRITTEN], refcheck=False)
        return out, ends


class _Memory:
    """The words that one thread has met, and room for those to come."""

    def __init__(self, n_bytes: int) -> None:
        """For a text of so many bytes, to begin with."""
        self._set(_table_for(n_bytes), ahead(), workspace_for(0))

    def _set(self, table: WordTable, words: Ahead, space: Workspace) -> None:
        self.table, self._words, self.space = table, words, space
        self.arguments = fixed(table), fixed(words), fixed(space)

    def make_room(self, length: int, n_bytes: int) -> None:
        """For a word of this length that did not fit, in a text of so many bytes."""
        table, space = self.table, self.space
        if length > LONGEST:
            space = workspace_for(length)
        elif len(table.rows) < _MOST_ROWS and table.used[TEXT] < _MOST_TEXT and table.used[IDS] < _MOST_IDS:
            table = grown(table, LONGEST, LONGEST)
        else:  # starting anew costs less than keeping track of what was used last
            table = _table_for(n_bytes)
        self._set(table, self._words, space)

    def forget_huge_words(self) -> None:
        """Give back the room that was needed for one."""
        if len(self.space.heap) > 3 * _KEPT_SPACE:
            self._set(self.table, self._words, workspace_for(0))


def _table_for(n_bytes: int) -> WordTable:
    """Room for what so many bytes of text usually hold; memory that is not used costs nothing."""
    n_rows = 2**10
    while n_rows < min(n_bytes // 16, 2**17, _MOST_ROWS):
        n_rows *= 2
    n_bytes = min(n_bytes + 2**10, 2**22)
    return empty_table(n_rows, n_bytes, n_bytes)


def prepare() -> None:
    """Compile the kernels of this module, or load their machine code."""
    with compilation("encoder", "the kernels that encode"):
        encoder = Encoder("gpt2", range(256), [(97, 98)], [256])
        encoder.encode(["a" * 1000, "it's a word and a much longer-than-15-letters word"])
        pieces(*join(["a b c"]), 0, 1)
        move_rows(empty_table(4, 0, 0).rows, empty_table(16, 0, 0).rows)
