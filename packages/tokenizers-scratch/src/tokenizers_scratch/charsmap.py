"""sentencepiece's compiled normalisation rules: which runs of characters become which, found with a double-array trie.

Layout (google/sentencepiece, `normalizer.cc`; the trie is s-yata/darts-clone's): four bytes, little-endian, say how
many bytes of trie follow; the rest is NUL-terminated UTF-8 replacements. A trie unit is 32 bits: a node's child with
label `c` stands at the node's offset XOR `c`; a node that ends a rule has a leaf at its offset, whose value is the
place of the replacement. All places are checked, for the file may say anything.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from functools import lru_cache

MAX_RULES = 2**20
_LONGEST_SOURCE = 256  # bytes
_LONGEST_REPLACEMENT = 1024  # bytes; U+FDFA becomes 33


class Charsmap:
    """The rules of one model."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError for data that is not in the layout."""
        if len(data) < 4:
            raise ValueError(f"the rules have {len(data)} bytes, which is not even their size")
        (size,) = struct.unpack_from("<I", data)
        if size % 4 or not 0 < size <= len(data) - 4:
            raise ValueError(f"the rules say that their trie has {size} bytes, but {len(data) - 4} bytes follow")
        self._units: tuple[int, ...] = struct.unpack_from(f"<{size // 4}I", data, 4)
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
                found.append((length, self._replacement(self._leaf(node))))
        return tuple(found)

    def rules(self) -> dict[str, str]:
        """All rules: what becomes what. Raises ValueError for one that is damaged, and for more than can be meant."""
        children: defaultdict[int, list[int]] = defaultdict(list)  # by the offset of their parent
        for place, unit in enumerate(self._units):
            if not unit >> 31:
                children[place ^ unit & 0xFF].append(place)
        found: dict[str, str] = {}
        waiting = [(0, b"")]
        steps = 0
        while waiting:
            node, source = waiting.pop()
            offset = node ^ _offset(self._units[node])
            if len(source) > _LONGEST_SOURCE or len(found) > MAX_RULES or steps > 4 * MAX_RULES:
                raise ValueError("there are more rules, or longer ones, than can be meant")
            if source and self._units[node] >> 8 & 1:
                found[_text(source)] = self._replacement(self._leaf(offset))
            for child in children.get(offset, ()):
                steps += 1
                if self._units[child] & 0xFF:
                    waiting.append((child, source + bytes((self._units[child] & 0xFF,))))
        return found

    def _leaf(self, place: int) -> int:
        if place >= len(self._units):
            raise ValueError("a rule leads out of the trie")
        return self._units[place] & 0x7FFFFFFF

    def _replacement(self, place: int) -> str:
        end = self._replacements.find(b"\0", place, place + _LONGEST_REPLACEMENT + 1)
        if place > len(self._replacements) or end < 0:
            raise ValueError(f"a replacement leads out of the data, or has more than {_LONGEST_REPLACEMENT} bytes")
        try:
            return self._replacements[place:end].decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("a replacement is not UTF-8") from None


def _text(source: bytes) -> str:
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("what a rule takes is not UTF-8") from None


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)
