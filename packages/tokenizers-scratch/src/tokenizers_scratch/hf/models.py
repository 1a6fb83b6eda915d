"""Models: cut one word into tokens. Each gives ids with the characters of the word that they stand for.

| model | rule |
|---|---|
| BPE | start from characters; join the pair whose merge stands first in the list, again and again |
| WordPiece | from the left, the longest piece that fits; a word that does not come out is unknown as a whole |
| Unigram | of all ways to cut the word the one with the greatest sum of scores (Viterbi) |
| WordLevel | a word is a token, or unknown |
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tokenizers_scratch.bpe_merge import merge_word
from tokenizers_scratch.errors import TokenizerDataError
from tokenizers_scratch.formats.tokenizer_json import read_merges
from tokenizers_scratch.hf.component import Component
from tokenizers_scratch.hf.dropout import merge_with_dropout

Token = tuple[int, int, int]
"""An id, and the characters of the word from where to where it stands for."""

_CACHED_WORDS = 2**14
_LONGEST_CACHED = 64
_UNKNOWN_PENALTY = 10.0  # below the worst score of any piece


class Model:
    """A vocabulary and the rule that cuts words."""

    def __init__(
        self,
        vocab: Mapping[str, int],
        cut: Callable[[str], list[Token]],
        unk_token: str | None,
        *,
        dropout: float | None = None,
    ) -> None:
        self.vocab = vocab
        self.dropout = dropout
        self.unk_token = unk_token
        self._cut = cut
        self._words: dict[str, list[Token]] = {}

    def tokens(self, word: str) -> list[Token]:
        """The tokens of a word. Raises TokenizerDataError if it has a character that nothing stands for."""
        if len(word) > _LONGEST_CACHED:
            return self._cut(word)
        found = self._words.get(word)
        if found is None:
            if len(self._words) >= _CACHED_WORDS:
                self._words.clear()
            found = self._words[word] = self._cut(word)
        return found

    def sampler(self, dropout: float | None, rng: random.Random) -> Callable[[str], list[Token]]:
        """What cuts a word at random. Raises ValueError for a model that has no such thing."""
        if not isinstance(self._cut, _BPE):
            raise ValueError("dropout: this model is no BPE, and only BPE has merges to pass over")
        dropout = self.dropout if dropout is None else dropout
        if dropout is None or not 0 <= dropout <= 1:
            raise ValueError(f"dropout: got {dropout}, must be from 0 to 1, as the file says none: it is a probability")
        return partial(self._cut.sampled, dropout, rng)


def build_model(spec: Component) -> Model:
    """The model that the file describes. Raises TokenizerFileError."""
    match _model_type(spec):
        case "BPE":
            return _bpe(spec)
        case "WordPiece":
            return _wordpiece(spec)
        case "Unigram":
            return _unigram(spec)
        case "WordLevel":
            vocab = spec.vocab()
            return Model(vocab, _WordLevel(vocab, spec.text("unk_token", "<unk>")), spec.text("unk_token", "<unk>"))
        case other:
            raise spec.unsupported(f"the model {other!r}")


def _model_type(spec: Component) -> str:
    """Older files do not say it; what they hold does."""
    if "type" in spec.content:
        return spec.type
    if "merges" in spec.content:
        return "BPE"
    if "max_input_chars_per_word" in spec.content:
        return "WordPiece"
    return "Unigram" if isinstance(spec.content.get("vocab"), list) else "WordLevel"


# --- BPE


def _bpe(spec: Component) -> Model:
    vocab = spec.vocab()
    prefix = spec.optional_text("continuing_subword_prefix") or ""
    dropout = spec.content.get("dropout")
    if dropout is not None and not (type(dropout) in (int, float) and 0 <= float(dropout) <= 1):  # type: ignore[arg-type]
        raise spec.error("must have a number from 0 to 1 as 'dropout', or none")
    unk_token = spec.optional_text("unk_token")
    if unk_token is not None and unk_token not in vocab:
        raise spec.error(f"has the unknown token {unk_token!r}, which is not in the vocabulary")
    ranks: dict[tuple[int, int], int] = {}
    products: list[int] = []
    for left, right in read_merges(spec.path, spec.content):
        merged = left + right[len(prefix) :]
        for token in (left, right, merged):
            if token not in vocab:
                raise spec.error(f"has the merge {left!r} + {right!r}, which needs {token!r}, which is no token")
        ranks[vocab[left], vocab[right]] = len(products)
        products.append(vocab[merged])
    cut = _BPE(
        vocab,
        ranks,
        products,
        prefix=prefix,
        suffix=spec.optional_text("end_of_word_suffix") or "",
        unk_id=None if unk_token is None else vocab[unk_token],
        fuse_unk=spec.flag("fuse_unk", False),
        byte_fallback=spec.flag("byte_fallback", False),
        ignore_merges=spec.flag("ignore_merges", False),
    )
    return Model(vocab, cut, unk_token, dropout=None if dropout is None else float(dropout))  # type: ignore[arg-type]


class _BPE:
    def __init__(
        self,
        vocab: Mapping[str, int],
        ranks: Mapping[tuple[int, int], int],
        products: list[int],
        *,
        prefix: str,
        suffix: str,
        unk_id: int | None,
        fuse_unk: bool,
        byte_fallback: bool,
        ignore_merges: bool,
    ) -> None:
        self.vocab, self.ranks, self.products = vocab, ranks, products
        self.prefix, self.suffix = prefix, suffix
        self.unk_id, self.fuse_unk = unk_id, fuse_unk
        self.bytes = byte_ids(vocab) if byte_fallback else {}
        self.ignore_merges = ignore_merges

    def __call__(self, word: str) -> list[Token]:
        if self.ignore_merges and word in self.vocab:
            return [(self.vocab[word], 0, len(word))]
        # What merges leaves the ids that remain where their first character was.
        return self._merged(word, lambda ids: merge_word(ids, self.ranks, self.products))

    def sampled(self, dropout: float, rng: random.Random, word: str) -> list[Token]:
        """A random segmentation."""
        return self._merged(word, lambda ids: merge_with_dropout(ids, self.ranks, self.products, dropout, rng))

    def _merged(self, word: str, merge: Callable[[list[int]], object]) -> list[Token]:
        start_tokens = self._characters(word)
        ids = [i for i, _, _ in start_tokens]
        merge(ids)
        kept = [place for place, i in enumerate(ids) if i >= 0]
        ends = [start_tokens[place - 1][2] for place in kept[1:]] + [token[2] for token in start_tokens[-1:]]
        return [(ids[place], start_tokens[place][1], end) for place, end in zip(kept, ends, strict=True)]

    def _characters(self, word: str) -> list[Token]:
        tokens: list[Token] = []
        unknown: Token | None = None
        for i, character in enumerate(word):
            spelled = self.prefix + character if i else character
            if i == len(word) - 1:
                spelled += self.suffix
            known = self.vocab.get(spelled)
            if known is not None:
                if unknown is not None:
                    tokens.append(unknown)
                    unknown = None
                tokens.append((known, i, i + 1))
                continue
            if self.bytes and (spelling := [self.bytes.get(b) for b in spelled.encode("utf-8", "surrogatepass")]):
                of_bytes = [(b, i, i + 1) for b in spelling if b is not None]
                if len(of_bytes) == len(spelling):
                    tokens.extend(of_bytes)  # before an unknown character that waits, as in HF
                    continue
            if self.unk_id is not None:
                if unknown is not None and self.fuse_unk:
                    unknown = (self.unk_id, unknown[1], i + 1)
                else:
                    if unknown is not None:
                        tokens.append(unknown)
                    unknown = (self.unk_id, i, i + 1)
        if unknown is not None:
            tokens.append(unknown)
        return tokens


def byte_ids(vocab: Mapping[str, int]) -> dict[int, int]:
    """The ids of the tokens `<0x00>` to `<0xFF>`, as many as there are."""
    return {byte: vocab[name] for byte in range(256) if (name := f"<0x{byte:02X}>") in vocab}


# --- WordPiece and WordLevel


def _wordpiece(spec: Component) -> Model:
    vocab, unk_token = spec.vocab(), spec.text("unk_token", "[UNK]")
    cut = _WordPiece(
        vocab,
        unk_token,
        prefix=spec.text("continuing_subword_prefix", "##"),
        longest=spec.count("max_input_chars_per_word", 100),
    )
    return Model(vocab, cut, unk_token)


class _WordPiece:
    def __init__(self, vocab: Mapping[str, int], unk_token: str, *, prefix: str, longest: int) -> None:
        self.vocab, self.prefix, self.longest = vocab, prefix, longest
        self.unk_token = unk_token
        self.longest_piece = max(map(len, vocab), default=0)

    def __call__(self, word: str) -> list[Token]:
        if len(word) > self.longest:
            return [(unknown_id(self.vocab, self.unk_token), 0, len(word))]
        tokens: list[Token] = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + self.longest_piece), start, -1):
                piece = word[start:end] if start == 0 else self.prefix + word[start:end]
                if (i := self.vocab.get(piece)) is not None:
                    tokens.append((i, start, end))
                    start = end
                    break
            else:
                return [(unknown_id(self.vocab, self.unk_token), 0, len(word))]
        return tokens


class _WordLevel:
    def __init__(self, vocab: Mapping[str, int], unk_token: str) -> None:
        self.vocab, self.unk_token = vocab, unk_token

    def __call__(self, word: str) -> list[Token]:
        i = self.vocab.get(word)
        return [(unknown_id(self.vocab, self.unk_token) if i is None else i, 0, len(word))]


def unknown_id(vocab: Mapping[str, int], unk_token: str) -> int:
    """The id of the unknown token. Raises TokenizerDataError if there is none, and only when it is needed."""
    i = vocab.get(unk_token)
    if i is None:
        raise TokenizerDataError(f"the text holds what no token stands for, and {unk_token!r} is not in the vocabulary")
    return i


# --- Unigram


def _unigram(spec: Component) -> Model:
    scores: dict[str, float] = {}
    vocab: dict[str, int] = {}
    for i, item in enumerate(spec.items("vocab")):
        if not (isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and _is_score(item[1])):
            raise spec.error(f"must have pairs of a piece and its score in 'vocab', unlike that at {i}")
        if item[0] in vocab:
            raise spec.error(f"has the piece {item[0]!r} twice")
        vocab[item[0]], scores[item[0]] = i, float(item[1])
    spec.check_texts("vocab", vocab)
    unk_id = None if spec.content.get("unk_id") is None else spec.count("unk_id")
    if unk_id is not None and unk_id >= len(vocab):
        raise spec.error(f"has the 'unk_id' {unk_id}, but there are {len(vocab)} pieces")
    names = list(vocab)
    cut = _Unigram(vocab, scores, unk_id, byte_ids(vocab) if spec.flag("byte_fallback", False) else {})
    return Model(vocab, cut, None if unk_id is None else names[unk_id])


def _is_score(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


class _Unigram:
    def __init__(
        self, vocab: Mapping[str, int], scores: Mapping[str, float], unk_id: int | None, of_bytes: Mapping[int, int]
    ) -> None:
        self.vocab, self.scores, self.unk_id, self.bytes = vocab, scores, unk_id, of_bytes
        self.longest_piece = max(map(len, vocab), default=0)
        self.unknown_score = min(scores.values(), default=0.0) - _UNKNOWN_PENALTY

    def __call__(self, word: str) -> list[Token]:
        tokens: list[Token] = []
        for start, end in self._best_path(word):
            piece = word[start:end]
            if (i := self.vocab.get(piece)) is not None:
                tokens.append((i, start, end))
                continue
            places = [(byte, start + k) for k, c in enumerate(piece) for byte in c.encode("utf-8", "surrogatepass")]
            if self.bytes and all(byte in self.bytes for byte, _ in places):
                tokens.extend((self.bytes[byte], place, place + 1) for byte, place in places)
            else:
                tokens.append((self._unknown(), start, end))
        return tokens

    def _best_path(self, word: str) -> list[tuple[int, int]]:
        """Of equally good ways to a place, the one whose last piece begins first; neighbouring unknowns as one."""
        best = [0.0] + [-math.inf] * len(word)
        came_from = [-1] * (len(word) + 1)
        unknown = [False] * (len(word) + 1)
        for start in range(len(word)):
            single = False
            for end in range(start + 1, min(len(word), start + self.longest_piece) + 1):
                piece = word[start:end]
                score = self.scores.get(piece)
                if score is None:
                    continue
                single = single or end == start + 1
                if came_from[end] < 0 or best[start] + score > best[end]:
                    best[end], came_from[end] = best[start] + score, start
                    unknown[end] = self.vocab[piece] == self.unk_id
            if not single:
                self._unknown()
                end = start + 1
                if came_from[end] < 0 or best[start] + self.unknown_score > best[end]:
                    best[end], came_from[end], unknown[end] = best[start] + self.unknown_score, start, True
        path: list[tuple[int, int]] = []
        end = len(word)
        fused = False
        while end > 0:
            start = came_from[end]
            if unknown[end] and fused:
                path[-1] = start, path[-1][1]
            else:
                path.append((start, end))
            fused = unknown[end]
            end = start
        return path[::-1]

    def _unknown(self) -> int:
        if self.unk_id is None:
            raise TokenizerDataError("the text holds what no piece stands for, and the model has no unknown piece")
        return self.unk_id
