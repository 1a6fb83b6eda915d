"""WordPiece, as BERT has it: words cut greedily into the longest pieces there are, `##` before all but a word's first.

Schuster & Nakajima, 2012; Devlin et al., 2019 (arXiv:1810.04805). Encoding is that of HF tokenizers' `BertNormalizer`,
`BertPreTokenizer` and `WordPiece` (`bert.py` says where Unicode versions differ); training is by likelihood score
(`wordpiece_reference.py`), which HF's trainer is not: that one is BPE with `##`.

Lossy: white space, and with lowercasing case and accents, do not come back; neither does a word that holds an unknown
character, or is too long, which is one `[UNK]` as a whole. Decoding joins words by spaces and changes nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

from tokenizers_scratch.bert import BertText
from tokenizers_scratch.config_subword import BERT_TOKENS, WordPieceConfig
from tokenizers_scratch.contextual import ContextualTokenizer, Decoder
from tokenizers_scratch.counting import count_words, joined
from tokenizers_scratch.hf.bert_words import split_aligned_for_bert
from tokenizers_scratch.offsets import Span
from tokenizers_scratch.patterns import whole_words
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.storage import TokenizerFile
from tokenizers_scratch.utf8 import text_to_bytes
from tokenizers_scratch.vocabulary import extract_unique_chars, room_beside
from tokenizers_scratch.wordpiece_reference import PREFIX, wordpiece_alphabet
from tokenizers_scratch.wordpiece_train import learn_wordpieces

_CACHED_WORDS = 2**16
_LONGEST_CACHED = 64  # characters
_END = ""  # the key, in a node of a trie, of the id that ends there

Trie = dict[str, Any]
"""Characters to the nodes that follow them; `_END` to the id of the piece that ends here."""


class WordPieceTokenizer(ContextualTokenizer):
    """WordPiece from a vocabulary, or `train`ed.

    Words already seen are looked up; the cache holds at most 65,536 words of at most 64 characters.
    """

    kind = "wordpiece"
    file_keys = frozenset(
        {"vocab", "max_word_length", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"}
    )

    def __init__(
        self,
        vocab: Sequence[str],
        special_tokens: SpecialTokens | None = None,
        *,
        text: BertText | None = None,
        max_word_length: int = 100,
    ) -> None:
        """`vocab`: the pieces in the order of their ids, those of special tokens among them (any text: BERT's
        `[unused0]` and the like are pieces that no text has). None: BERT's five are special if they are there.

        Raises ValueError for a piece that is empty or there twice, and if there is no unknown token.
        """
        if special_tokens is None:
            known = {token: vocab.index(token) for token in BERT_TOKENS.values() if token in vocab}
            special_tokens = SpecialTokens(known, BERT_TOKENS)
        unk_id = special_tokens.role_id("unk")
        if unk_id is None:
            raise ValueError("there must be a special token for unknown words")
        if max_word_length < 1:
            raise ValueError(f"max_word_length: got {max_word_length}, must be at least 1: words have characters")
        special = set(special_tokens.ids.values())
        pieces = {i: piece for i, piece in enumerate(vocab) if i not in special}
        if len(set(pieces.values())) != len(pieces) or "" in pieces.values():
            raise ValueError("a piece is empty, or there twice")
        super().__init__({i: text_to_bytes(piece) for i, piece in pieces.items()}, special_tokens)
        self._vocab_list = tuple(vocab)
        self._text = text or BertText()
        self._max_word_length = max_word_length
        self._unk_id = unk_id
        self._first: Trie = {}
        self._inner: Trie = {}
        for i, piece in pieces.items():
            _enter(self._first, piece, i)
            if piece.startswith(PREFIX) and piece != PREFIX:
                _enter(self._inner, piece.removeprefix(PREFIX), i)
        prefix = PREFIX.encode()
        self._continues = [i in pieces and piece.startswith(prefix) for i, piece in enumerate(self._bytes)]
        self._cache: dict[str, tuple[int, ...]] = {}

    @classmethod
    def train(cls, texts: Iterable[str], config: WordPieceConfig, /) -> Self:
        """Learn pieces from the words of `texts`. Memory grows with the number of different words, not with the text.

        A word that is too long or holds a character beyond `limit_alphabet` will be `[UNK]`, so it is not learned
        from. Raises EmptyCorpusError, and VocabularyTooSmallError if the characters do not fit.
        """
        tokens = (*BERT_TOKENS.values(), *config.special_tokens)
        special_tokens = SpecialTokens({token: i for i, token in enumerate(tokens)}, BERT_TOKENS)
        text = BertText(
            clean_text=config.clean_text,
            handle_chinese_chars=config.handle_chinese_chars,
            strip_accents=config.strip_accents,
            lowercase=config.lowercase,
        )
        counts = count_bert_words(texts, text, special_tokens)
        words = {word: n for word, n in counts.items() if len(word) <= config.max_word_length}
        characters = extract_unique_chars(words)
        if len(characters) > config.limit_alphabet:
            kept = set(sorted(characters, key=lambda c: (-characters[c], c))[: config.limit_alphabet])
            words = {word: n for word, n in words.items() if kept.issuperset(word)}
        alphabet = len(wordpiece_alphabet(words))
        what = "characters, with and without ##"
        room = room_beside(alphabet, vocab_size=config.vocab_size, reserved=len(tokens), what=what)
        pieces = learn_wordpieces(words, n_pieces=alphabet + room, min_frequency=config.min_frequency)
        own = set(config.special_tokens)
        pieces = [piece for piece in pieces if piece not in own]  # a word of this name would have two ids
        return cls((*tokens, *pieces), special_tokens, text=text, max_word_length=config.max_word_length)

    @property
    def text_rules(self) -> BertText:
        """What is done to text before it is cut."""
        return self._text

    @property
    def max_word_length(self) -> int:
        """A word of more characters is unknown."""
        return self._max_word_length

    def _encode_plain(self, text: str) -> list[int]:
        ids: list[int] = []
        find = self._cache.get
        for part in self._text.uncut(text):
            known = find(part)
            ids.extend(self._encode_part(part) if known is None else known)
        return ids

    def _plain_offsets(self, text: str) -> list[Span]:
        spans: list[Span] = []
        for word in split_aligned_for_bert(self._text, text):
            ids = self._encode_word(word.text)
            if ids == [self._unk_id]:
                spans.append(word.span(0, len(word.text)))
                continue
            start = 0
            for i in ids:
                end = start + len(self._vocab_list[i]) - (len(PREFIX) if self._continues[i] and start else 0)
                spans.append(word.span(start, end))
                start = end
        return spans

    def _encode_part(self, part: str) -> tuple[int, ...]:
        ids = tuple(i for word in self._text.words_of(part) for i in self._encode_word(word))
        if len(part) <= _LONGEST_CACHED:
            if len(self._cache) >= _CACHED_WORDS:
                self._cache.clear()  # to start anew costs less than to keep track of what was used last
            self._cache[part] = ids
        return ids

    def _encode_word(self, word: str) -> list[int]:
        """Ids of a word: the longest piece that begins it, then the longest that goes on, and so forth."""
        if len(word) > self._max_word_length:
            return [self._unk_id]
        ids: list[int] = []
        start = 0
        node = self._first
        while start < len(word):
            found, end = None, start
            for i in range(start, len(word)):
                following = node.get(word[i])
                if following is None:
                    break
                node = following
                if _END in node:
                    found, end = node[_END], i + 1
            if found is None:
                return [self._unk_id]
            ids.append(found)
            start = end
            node = self._inner
        return ids

    def _encode_stream(self, chunks: Iterator[str]) -> Iterator[int]:
        for text in whole_words(chunks, self._text.pattern):
            yield from self._encode_plain(text)

    def _new_decoder(self, skip_special: bool) -> Decoder:
        shown = self._bytes_without_special if skip_special else self._bytes
        started = False

        def decode(ids: Iterable[int]) -> bytes:
            nonlocal started
            parts: list[bytes] = []
            for i in self._checked(ids):
                if piece := shown[i]:
                    if not started:  # also a continuation, whose ## then stays, as in HF tokenizers
                        parts.append(piece)
                    elif self._continues[i]:
                        parts.append(piece[len(PREFIX) :])
                    else:
                        parts.append(b" " + piece)
                    started = True
            return b"".join(parts)

        return decode

    def _to_file(self) -> dict[str, Any]:
        text = self._text
        return {
            "vocab": list(self._vocab_list),
            "max_word_length": self._max_word_length,
            "clean_text": text.clean_text,
            "handle_chinese_chars": text.handle_chinese_chars,
            "strip_accents": text.strip_accents,
            "lowercase": text.lowercase,
        }

    @classmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        vocab = file.texts("vocab")
        for token, i in file.special_tokens.ids.items():
            if i >= len(vocab) or vocab[i] != token:
                raise file.error(f"'vocab' does not hold the special token {token!r} at {i}")
        text = BertText(**{name: file.flag(name) for name in names})
        return cls(vocab, file.special_tokens, text=text, max_word_length=file.number("max_word_length"))


def count_bert_words(texts: Iterable[str], text: BertText, special_tokens: SpecialTokens) -> Counter[str]:
    """How often each word occurs in `texts`; a special token ends a word and is none."""
    counts: Counter[str] = Counter()
    pattern = replace(text.pattern, split=text.uncut)
    for part, n in count_words(joined(texts, "\n", special_tokens), pattern, special_tokens).items():
        for word in text.words_of(part):
            counts[word] += n
    return counts


def _enter(trie: Trie, piece: str, piece_id: int) -> None:
    for character in piece:
        trie = trie.setdefault(character, {})
    trie[_END] = piece_id
