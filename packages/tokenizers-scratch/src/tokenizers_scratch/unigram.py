"""The Unigram tokenizer: pieces with probabilities, and of all ways to cut a text the most probable one.

Kudo, 2018 (arXiv:1804.10959). `unigram_reference.py` is the training in its plainest form, `unigram_lattice.py` what
can be asked of one word; `kernels/unigram.py` does the same faster.

Text is cut into words first, by the GPT-2 pattern unless another is chosen, and no piece crosses from one word into the
next; a piece is plain text, so a word carries the space before it. (`sentencepiece` is the same model behind
sentencepiece's own treatment of text.) With byte fallback, the default, every text comes back; without, characters
that training did not see become `<UNK>`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.byte_alphabet import single_bytes
from tokenizers_scratch.config_subword import UnigramConfig
from tokenizers_scratch.counting import count_words
from tokenizers_scratch.offsets import Span, spans_of_pieces
from tokenizers_scratch.patterns import split_pattern, whole_words
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.storage import TokenizerFile
from tokenizers_scratch.unigram_model import UnigramModel, check_sampling
from tokenizers_scratch.unigram_train import learn_unigram
from tokenizers_scratch.utf8 import text_to_bytes
from tokenizers_scratch.vocabulary import cover, extract_unique_chars, room_beside


class UnigramTokenizer(BaseTokenizer):
    """A Unigram model from its pieces, or `train`ed. Words already seen are looked up, at most 65,536."""

    kind = "unigram"
    lossless = False  # unless it has byte fallback
    file_keys = frozenset({"pattern", "pieces", "byte_ids"})

    def __init__(
        self,
        pieces: Mapping[int, tuple[str, float]],
        special_tokens: SpecialTokens | None = None,
        *,
        byte_ids: Sequence[int] = (),
        pattern: str = "gpt2",
    ) -> None:
        """`pieces`: text and log p by id. `byte_ids`: the ids of the 256 bytes, for characters that are no piece.

        Raises ValueError for a vocabulary that cannot work.
        """
        special_tokens = special_tokens or SpecialTokens.numbered()
        unk_id = special_tokens.role_id("unk")
        if unk_id is None:
            raise ValueError("there must be a special token for unknown characters")
        self._model = UnigramModel(pieces, unk_id, byte_ids)
        vocab = {i: text_to_bytes(text) for i, (text, _) in pieces.items()}
        vocab |= dict(zip(byte_ids, single_bytes(range(256)), strict=False))
        super().__init__(vocab, special_tokens)
        self._pieces = dict(pieces)
        self._byte_ids = tuple(byte_ids)
        self._pattern = split_pattern(pattern)

    @classmethod
    def train(cls, texts: Iterable[str], config: UnigramConfig, /) -> Self:
        """Learn pieces from `texts`, each a text of its own: no word goes on from one into the next.

        Memory grows with the number of different words, not with the text. Learns fewer pieces than asked if there
        are no more. Raises EmptyCorpusError, and VocabularyTooSmallError if the characters do not fit.
        """
        special_tokens = SpecialTokens.numbered(config.special_tokens)
        byte_ids = range(len(special_tokens), len(special_tokens) + (256 if config.byte_fallback else 0))
        reserved = len(special_tokens) + len(byte_ids)
        words = cover(count_words(texts, split_pattern(config.pattern), special_tokens), config.character_coverage)
        alphabet = len(extract_unique_chars(words))
        room = room_beside(alphabet, vocab_size=config.vocab_size, reserved=reserved)
        learned = learn_unigram(
            words, n_pieces=alphabet + room, max_piece_length=config.max_piece_length, n_seeds=config.n_seeds
        )
        return cls(dict(enumerate(learned, reserved)), special_tokens, byte_ids=byte_ids, pattern=config.pattern)

    @property
    def pieces(self) -> Mapping[int, tuple[str, float]]:
        """Text and log p of each id that is neither a special token nor a byte."""
        return dict(self._pieces)

    @property
    def byte_ids(self) -> tuple[int, ...]:
        """The ids of the 256 bytes; empty without byte fallback."""
        return self._byte_ids

    @property
    def pattern(self) -> str:
        """The rule that cuts text into words: its name, or the regular expression."""
        return self._pattern.name

    def sample(self, text: str, /, *, rng: random.Random, alpha: float = 0.1, nbest_size: int = -1) -> list[int]:
        """Ids of a random segmentation, drawn with probability proportional to p ** alpha (Kudo, 2018, section 3.3).

        `nbest_size`: -1 draws from all segmentations, n from the n most probable ones. For training a model that is
        not to depend on one segmentation.
        """
        check_sampling(alpha, nbest_size)
        return self._model.sample(self._pattern.split(text), alpha, nbest_size, rng)

    def n_best(self, text: str, size: int, /) -> list[tuple[list[int], float]]:
        """Ids and log p of the `size` most probable segmentations, the best first; fewer if there are fewer."""
        return self._model.n_best(self._pattern.split(text), size)

    def _encode_plain(self, text: str) -> list[int]:
        return self._model.encode_words(self._pattern.split(text))

    def _plain_offsets(self, text: str) -> list[Span]:
        spans: list[Span] = []
        start = 0
        for word in self._pattern.split(text):
            pieces = self._model.pieces_of(word)
            found = spans_of_pieces(pieces, self._model.id_of, in_bytes=bool(self._byte_ids))
            spans.extend((start + first, start + last) for first, last in found)
            start += len(word)
        return spans

    def _encode_stream(self, chunks: Iterator[str]) -> Iterator[int]:
        for text in whole_words(chunks, self._pattern):
            yield from self._encode_plain(text)

    def _to_file(self) -> dict[str, Any]:
        return {
            "pattern": self.pattern,
            "pieces": [[i, text, score] for i, (text, score) in self._pieces.items()],
            "byte_ids": list(self.byte_ids),
        }

    @classmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        return cls(
            file.scored("pieces"), file.special_tokens, byte_ids=file.numbers("byte_ids"), pattern=file.text("pattern")
        )
