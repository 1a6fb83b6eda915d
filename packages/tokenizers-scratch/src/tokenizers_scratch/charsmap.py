"""sentencepiece's compiled normalisation rules: which runs of characters become which, found with a double-array trie.

Layout (google/sentencepiece, `normalizer.cc`; the trie is s-yata/darts-clone's): four bytes, little-endian, say how
many bytes of trie follow; the rest is NUL-terminated UTF-8 replacements. A trie unit is 32 bits: a node's child with
label `c` stands at the node's offset XOR `c`; a node that ends a rule has a leaf at its offset, whose value is the
place of the replacement. All places are checked, for the file may say anything.
"""

from __future__ import annotations

import struct
from functools import lru_cache


class Charsmap:
    """The rules of one model."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError for data that is not in the layout."""
        if len(data) < 4:
            raise ValueError(f"the rules have {len(data)} bytes, which is not even their size")
        (size,) = struct.unpack_from("<I", data)
        if size % 4 or not 0 < size <= len(data) - 4:
            raise ValueError(f"the rules say that their trie has {size} bytes, but {len(data) - 4} bytes follow")
        self._units = struct.unpack_from(f"<{size // 4}I", data, 4)
        self._replacements = data[4 + size :]
        self.matches = lru_cache(maxsize=2**14)(self._matches)

    def _matches(self, text: str) -> tuple[tuple[int, str], ...]:
        """The rules for beginnings of `text`, shortest first: how many bytes, and what they become.

        Raises ValueError for a rule whose replacement is outside of the data or not UTF-8.
        """
        units = self._units
        node = _offset(units[0])
        found = []
        for length, byte in enumerate(text.encode("utf-8", "surrogatepass"), 1):
            node ^= byte
            if byte == 0 or node >= len(units) or units[node] & 0x800000FF != byte:
                break
            unit = units[node]
            node ^= _offset(unit)
            if unit >> 8 & 1:
                if node >= len(units):
                    raise ValueError("a rule leads out of the trie")
                found.append((length, self._replacement(units[node] & 0x7FFFFFFF)))
        return tuple(found)

    def _replacement(self, place: int) -> str:
        end = self._replacements.find(b"\0", place)
        if place > len(self._replacements) or end < 0:
            raise ValueError("a replacement leads out of the data")
        try:
            return self._replacements[place:end].decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("a replacement is not UTF-8") from None


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)
