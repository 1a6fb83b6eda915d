"""How often each part between two spaces occurs in bytes, by an open-addressing table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenizers_scratch.kernels.arrays import Bytes, Ints, Longs
from tokenizers_scratch.kernels.compiling import compilation, entry

NONE = -1
SPACE = 0x20

# What `numbers` holds.
N_PARTS, USED = 0, 1


class Table(NamedTuple):
    """Parts, each with a space behind it, one after the other in `text`, of which numbers[USED] bytes are in use."""

    slots: Ints  # (a power of two,) parts by their hash, or NONE
    hashes: Longs  # one entry a part
    starts: Longs
    lengths: Longs
    counts: Longs
    text: Bytes
    numbers: Longs


@entry
def count_parts(data: Bytes, begin: int, table: Table) -> int:
    """Count the parts of `data` from `begin`; how far it came: less than all if the table must grow first."""
    mask = table.slots.size - 1
    while begin <= data.size:
        end = begin
        key = np.uint64(0xCBF29CE484222325)
        while end < data.size and data[end] != SPACE:
            key = (key ^ np.uint64(data[end])) * np.uint64(0x100000001B3)
            end += 1
        key ^= key >> np.uint64(32)
        mixed = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(2))
        length = end - begin
        at = np.int64(mixed >> 16) & mask
        while True:
            part = table.slots[at]
            if part == NONE:
                break
            if table.hashes[part] == mixed and table.lengths[part] == length:
                start = table.starts[part]
                i = 0
                while i < length and table.text[start + i] == data[begin + i]:
                    i += 1
                if i == length:
                    break
            at = (at + 1) & mask
        if part == NONE:
            n, used = table.numbers[N_PARTS], table.numbers[USED]
            if n == table.counts.size or used + length + 1 > table.text.size:
                return begin
            table.slots[at] = n
            table.hashes[n] = mixed
            table.starts[n] = used
            table.lengths[n] = length
            table.counts[n] = 1
            for i in range(length):
                table.text[used + i] = data[begin + i]
            table.text[used + length] = SPACE
            table.numbers[N_PARTS] = n + 1
            table.numbers[USED] = used + length + 1
        else:
            table.counts[part] += 1
        begin = end + 1
    return begin


@entry
def fill_slots(table: Table) -> None:
    """Enter all parts into empty slots, after the table has grown."""
    mask = table.slots.size - 1
    for part in range(table.numbers[N_PARTS]):
        at = np.int64(table.hashes[part] >> 16) & mask
        while table.slots[at] != NONE:
            at = (at + 1) & mask
        table.slots[at] = part


class PartCounter:
    """Counts of parts of many texts."""

    def __init__(self, room: int = 2**14) -> None:
        self._table = _empty(room, 16 * room)

    def add(self, text: str) -> None:
        """Count what stands between the spaces of `text`."""
        data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
        done = 0
        while (done := count_parts(data, done, self._table)) <= data.size:
            old = self._table
            n, used = (int(number) for number in old.numbers)
            room, size = old.counts.size, old.text.size
            self._table = new = _empty(
                2 * room if n == room else room, size if n == room else 2 * max(size, data.size - done)
            )
            for name in ("hashes", "starts", "lengths", "counts"):
                getattr(new, name)[:n] = getattr(old, name)[:n]
            new.text[:used] = old.text[:used]
            new.numbers[:] = old.numbers
            fill_slots(new)

    def counts(self, prefix: str = "") -> dict[str, int]:
        """The parts, behind `prefix`, with their counts, in the order in which they were first seen."""
        n, used = (int(number) for number in self._table.numbers)
        text = self._table.text[:used].tobytes().decode("utf-8", "surrogatepass")
        parts = (prefix + text.replace(" ", " " + prefix)).split(" ")[:n]
        return dict(zip(parts, self._table.counts[:n].tolist(), strict=True))


def _empty(room: int, size: int) -> Table:
    """A table for so many parts of so many bytes."""
    slots = np.full(1 << (2 * room - 1).bit_length(), NONE, np.int32)
    hashes, starts, lengths, counts = (np.empty(room, np.int64) for _ in range(4))
    return Table(slots, hashes, starts, lengths, counts, np.empty(size, np.uint8), np.zeros(2, np.int64))


def prepare() -> None:
    """Compile the kernels of this module, or load their machine code."""
    with compilation("parts", "the kernels that count words"):
        counter = PartCounter(2)
        counter.add("a b c a")
