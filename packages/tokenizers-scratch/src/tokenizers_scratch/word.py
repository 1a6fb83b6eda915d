r"""The word tokenizer: one id for each word of the training text, words being runs of letters, or single marks.

Lossy, and that is why subwords were invented: a word that training did not see often enough becomes `<UNK>`; white
space is not kept (decoding puts one space between two words, so `a, b` comes back as `a , b`); case goes if asked.
What comes back from decoding stays as it is when it is encoded and decoded again.

A word is `\w+` or one character that is neither `\w` nor white space, both as in the third-party `regex`: `\w` there
holds combining marks, which `re` cuts off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import regex

from tokenizers_scratch.config_subword import WordConfig
from tokenizers_scratch.contextual import ContextualTokenizer, Decoder
from tokenizers_scratch.counting import count_words, joined
from tokenizers_scratch.errors import EmptyCorpusError
from tokenizers_scratch.hf.aligned import Aligned
from tokenizers_scratch.offsets import Span
from tokenizers_scratch.patterns import SplitPattern, whole_words
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.storage import TokenizerFile
from tokenizers_scratch.utf8 import text_to_bytes
from tokenizers_scratch.vocabulary import build_initial_vocab

_WORD = regex.compile(r"\w++|[^\w\s]")
WORDS = SplitPattern("words", _WORD.findall, regex.compile(r"(?r)(?<=\S)(?=\s)").search)
"""Cuts text into words and drops white space, which is a border wherever it follows something else."""


def split_into_words(text: str, *, lowercase: bool = False) -> list[str]:
    """The words of a text, without the white space between them."""
    return WORDS.split(text.lower() if lowercase else text)


def get_word_frequencies(
    texts: Iterable[str], special_tokens: SpecialTokens | None = None, *, lowercase: bool = False
) -> Counter[str]:
    """How often each word occurs in `texts`; a special token ends a word and is none.

    Memory grows with the number of different words, not with the text.
    """
    pattern = replace(WORDS, split=partial(split_into_words, lowercase=lowercase))
    special_tokens = special_tokens or SpecialTokens({})
    return count_words(joined(texts, "\n", special_tokens), pattern, special_tokens)


class WordTokenizer(ContextualTokenizer):
    """Special tokens first, then `words` in order."""

    kind = "word"
    file_keys = frozenset({"words", "lowercase"})

    def __init__(
        self, words: Sequence[str], special_tokens: SpecialTokens | None = None, *, lowercase: bool = False
    ) -> None:
        """Raises ValueError for an entry that is no word, or is there twice, or is named like a special token."""
        special_tokens = special_tokens or SpecialTokens.numbered()
        unk_id = special_tokens.role_id("unk")
        if unk_id is None:
            raise ValueError("there must be a special token for unknown words")
        if list(special_tokens.ids.values()) != list(range(len(special_tokens))):
            raise ValueError("special tokens must have the first ids")
        for word in words:
            if split_into_words(word, lowercase=lowercase) != [word]:
                raise ValueError(f"{word!r} is no word that this tokenizer cuts a text into")
        vocab = build_initial_vocab(special_tokens.ids, words)
        if len(vocab) != len(special_tokens) + len(words):
            raise ValueError("a word is there twice, or named like a special token")
        self._id_of_word = {word: i for word, i in vocab.items() if word not in special_tokens.ids}
        super().__init__({i: text_to_bytes(word) for word, i in self._id_of_word.items()}, special_tokens)
        self._lowercase = lowercase
        self._unk_id = unk_id

    @classmethod
    def train(cls, texts: Iterable[str], config: WordConfig, /) -> Self:
        """Learn the most frequent words; of equally frequent ones the smaller by code points first.

        What looks like a special token in a text is text when encoding, but is not learned from. Raises
        EmptyCorpusError if there is no word.
        """
        special_tokens = SpecialTokens.numbered(config.special_tokens)
        counts = get_word_frequencies(texts, special_tokens, lowercase=config.lowercase)
        if not counts:
            raise EmptyCorpusError("the training text is empty: there is no word to learn")
        room = None if config.vocab_size is None else config.vocab_size - len(special_tokens)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        words = [w for w, count in ranked if count >= config.min_frequency and w not in special_tokens.ids]
        return cls(words[:room], special_tokens, lowercase=config.lowercase)

    @property
    def lowercase(self) -> bool:
        """Whether The and the are one word."""
        return self._lowercase

    def _encode_plain(self, text: str) -> list[int]:
        find, unk = self._id_of_word.get, self._unk_id
        return [find(word, unk) for word in split_into_words(text, lowercase=self._lowercase)]

    def _encode_stream(self, chunks: Iterator[str]) -> Iterator[int]:
        for text in whole_words(chunks, WORDS):
            yield from self._encode_plain(text)

    def _plain_offsets(self, text: str) -> list[Span]:
        shown = Aligned.of(text)
        if self._lowercase:  # of a few characters the lower case is two
            shown = shown.edited((character.lower(), 1) for character in text)
        return [shown.span(*match.span()) for match in _WORD.finditer(shown.text)]

    def _new_decoder(self, skip_special: bool) -> Decoder:
        shown = self._bytes_without_special if skip_special else self._bytes
        started = False

        def decode(ids: Iterable[int]) -> bytes:
            nonlocal started
            parts: list[bytes] = []
            for i in self._checked(ids):
                if word := shown[i]:
                    parts.append(b" " + word if started else word)
                    started = True
            return b"".join(parts)

        return decode

    def _to_file(self) -> dict[str, Any]:
        return {"words": list(self._id_of_word), "lowercase": self._lowercase}

    @classmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        return cls(file.texts("words"), file.special_tokens, lowercase=file.flag("lowercase"))
