"""The character tokenizer: one id for each character (code point) of the training text.

Lossy: a character that training did not see, or saw too rarely, becomes `<UNK>`, from which it does not come back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

from tokenizers_scratch.base import BaseTokenizer, each_text
from tokenizers_scratch.config import CharConfig
from tokenizers_scratch.errors import EmptyCorpusError
from tokenizers_scratch.offsets import Span
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.storage import TokenizerFile
from tokenizers_scratch.utf8 import text_to_bytes


class CharTokenizer(BaseTokenizer):
    """Special tokens first, then the characters of `alphabet` in order."""

    kind = "char"
    lossless = False
    file_keys = frozenset({"alphabet"})

    def __init__(self, alphabet: Sequence[str], special_tokens: SpecialTokens | None = None) -> None:
        """Raises ValueError unless `alphabet` holds single characters, each once."""
        special_tokens = special_tokens or SpecialTokens.numbered()
        unk_id = special_tokens.role_id("unk")
        if unk_id is None:
            raise ValueError("there must be a special token for unknown characters")
        if any(len(character) != 1 for character in alphabet) or len(set(alphabet)) != len(alphabet):
            raise ValueError("the alphabet must hold single characters, each once")
        super().__init__(
            {i: text_to_bytes(character) for i, character in enumerate(alphabet, len(special_tokens))}, special_tokens
        )
        self._id_of_character = {character: i for i, character in enumerate(alphabet, len(special_tokens))}
        self._unk_id = unk_id

    @classmethod
    def train(cls, texts: Iterable[str], config: CharConfig, /) -> Self:
        """Learn the alphabet: the most frequent characters, and of equally frequent ones the smaller code point first.

        What looks like a special token in a text is text here too. Raises EmptyCorpusError if there is no character.
        """
        counts: Counter[str] = Counter()
        for text in each_text(texts):
            counts.update(text)
        if not counts:
            raise EmptyCorpusError("the training text is empty: there is no character to learn")
        special_tokens = SpecialTokens.numbered(config.special_tokens)
        room = None if config.vocab_size is None else config.vocab_size - len(special_tokens)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([c for c, count in ranked if count >= config.min_frequency][:room], special_tokens)

    @property
    def alphabet(self) -> tuple[str, ...]:
        """The characters that have an id of their own, in the order of their ids."""
        return tuple(self._id_of_character)

    def _encode_plain(self, text: str) -> list[int]:
        find, unk = self._id_of_character.get, self._unk_id
        return [find(character, unk) for character in text]

    def _plain_offsets(self, text: str) -> list[Span]:
        return [(i, i + 1) for i in range(len(text))]

    def _to_file(self) -> dict[str, Any]:
        return {"alphabet": list(self._id_of_character)}

    @classmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        return cls(file.texts("alphabet"), file.special_tokens)
