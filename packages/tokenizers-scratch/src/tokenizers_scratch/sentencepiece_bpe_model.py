"""Words to ids by sentencepiece's BPE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from tokenizers_scratch.sentencepiece_bpe import cut_word
from tokenizers_scratch.unigram_model import PieceIds, check_pieces

_CACHED_WORDS = 2**16
_LONGEST_CACHED = 64  # characters


class BPEModel:
    """Pieces by id, each with its text and score. Words already seen are looked up."""

    def __init__(self, pieces: Mapping[int, tuple[str, float]], unk_id: int, byte_ids: Sequence[int] = ()) -> None:
        """`byte_ids`: those of the 256 bytes, or none. Raises ValueError for pieces that cannot be."""
        self._scores = check_pieces(pieces, byte_ids)
        self._ids = PieceIds(pieces, unk_id, byte_ids)
        self.id_of = self._ids.id_of
        self._cache: dict[str, list[int]] = {}

    def pieces_of(self, word: str) -> list[str]:
        """The segmentation as text; characters that are no piece stand by themselves."""
        return cut_word(word, self._scores)

    def encode_words(self, words: Sequence[str]) -> list[int]:
        """Ids of words that stand side by side."""
        return list(chain.from_iterable(map(self._encode, words)))

    def _encode(self, word: str) -> list[int]:
        known = self._cache.get(word)
        if known is None:
            known = self._ids.of(cut_word(word, self._scores))
            if len(word) <= _LONGEST_CACHED:
                if len(self._cache) >= _CACHED_WORDS:
                    self._cache.clear()  # to start anew costs less than to keep track of what was used last
                self._cache[word] = known
        return known
