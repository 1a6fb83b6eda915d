"""What a sentencepiece model may hold besides ordinary pieces, and models that are neither Unigram nor BPE.

- A user-defined piece is always one piece for BPE and for a model of characters. In a Unigram model it competes, with
  the score that sentencepiece 0.2.3 gives it: a tenth of its length in UTF-8 bytes less one, so above all others.
- An unused piece is in the vocabulary and is never produced: BPE makes it on the way and takes it apart again, for
  the others it is not there; what can only be cut into it is unknown.
- A model of words takes whole words between spaces, a model of characters single characters; what is no piece is
  unknown.

Source: sentencepiece `unigram_model.cc`, `bpe_model.cc`, `word_model.cc`, `char_model.cc`, re-created from what they
do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, Protocol

from tokenizers_scratch.sentencepiece_bpe import cut_word
from tokenizers_scratch.sentencepiece_bpe_model import BPEModel
from tokenizers_scratch.unigram_model import UNKNOWN_PENALTY, PieceIds, UnigramModel, check_pieces
from tokenizers_scratch.utf8 import text_to_bytes

Scored = Mapping[int, tuple[str, float]]
Kind = Literal["unigram", "bpe", "word", "char"]


class PieceModel(Protocol):
    """What cuts words into pieces."""

    id_of: dict[str, int]

    def pieces_of(self, word: str) -> list[str]: ...
    def encode_words(self, words: Sequence[str]) -> list[int]: ...


def build_piece_model(
    kind: Kind,
    pieces: Scored,
    unk_id: int,
    byte_ids: Sequence[int] = (),
    *,
    user_defined: Collection[int] = (),
    unused: Collection[int] = (),
) -> PieceModel:
    """The model for `pieces`, all of them. Raises ValueError for pieces that cannot be."""
    if strange := sorted({*user_defined, *unused} - pieces.keys()) or sorted({*user_defined} & {*unused}):
        raise ValueError(f"the id {strange[0]} is that of no piece, or of one that is both user-defined and unused")
    check_pieces(pieces, byte_ids)
    if kind == "unigram":
        if not user_defined and not unused:
            return UnigramModel(pieces, unk_id, byte_ids)
        return _unigram(pieces, unk_id, byte_ids, user_defined, unused)
    if kind == "bpe" and not user_defined and not unused:
        return BPEModel(pieces, unk_id, byte_ids)
    return _Whole(kind, pieces, unk_id, byte_ids, user_defined, unused)


def _unigram(
    pieces: Scored, unk_id: int, byte_ids: Sequence[int], user_defined: Collection[int], unused: Collection[int]
) -> UnigramModel:
    ordinary = [score for i, (_, score) in pieces.items() if i not in unused and i not in user_defined]
    scored = {
        i: (text, 0.1 * (len(text_to_bytes(text)) - 1) if i in user_defined else score)
        for i, (text, score) in pieces.items()
        if i not in unused
    }
    model = UnigramModel(scored, unk_id, byte_ids)
    model.unknown = min(ordinary, default=0.0) - UNKNOWN_PENALTY
    return model


class _Whole:
    """BPE with pieces of all kinds, words, or characters."""

    def __init__(
        self,
        kind: Kind,
        pieces: Scored,
        unk_id: int,
        byte_ids: Sequence[int],
        user_defined: Collection[int],
        unused: Collection[int],
    ) -> None:
        self._ids = PieceIds({i: piece for i, piece in pieces.items() if i not in unused}, unk_id, byte_ids)
        self.id_of = self._ids.id_of
        self._kind = kind
        self._unused = {pieces[i][0] for i in unused}
        self._scores = {text: score for i, (text, score) in pieces.items() if i not in user_defined}
        longest_first = sorted((pieces[i][0] for i in user_defined), key=lambda text: (-len(text), text))
        self._find = None
        if longest_first and kind != "word":
            self._find = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def pieces_of(self, word: str) -> list[str]:
        """The segmentation as text; what is no piece stands by itself."""
        if self._kind == "word":
            return [word]
        return list(self._pieces_of(word))

    def encode_words(self, words: Sequence[str]) -> list[int]:
        """Ids of words that stand side by side."""
        return self._ids.of([piece for word in words for piece in self.pieces_of(word)])

    def _pieces_of(self, word: str) -> Iterator[str]:
        for i, part in enumerate(self._find.split(word) if self._find else (word,)):
            if i % 2:
                yield part
            elif self._kind == "char":
                yield from part
            else:
                for piece in cut_word(part, self._scores):
                    yield from self._apart(piece)

    def _apart(self, piece: str) -> Iterator[str]:
        """A piece that is never produced as the two that it was made of."""
        parts = [piece]
        if piece in self._unused:
            parts = cut_word(piece, {text: score for text, score in self._scores.items() if text != piece})
        if len(parts) == 1:
            yield piece
        else:
            for part in parts:
                yield from self._apart(part)
