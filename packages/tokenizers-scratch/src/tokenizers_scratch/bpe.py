"""Byte-level byte-pair encoding, as GPT-2 has it: cut text into words, spell each in bytes, merge pairs of tokens.

Sennrich et al., 2016 (arXiv:1508.07909); on bytes: Radford et al., 2019 (GPT-2). `bpe_reference.py` is the algorithm in
its plainest form; `bpe_train.py` and `bpe_merge.py` do the same faster.

Choices that decide the vocabulary: of equally frequent pairs the one with the smaller left id, then the smaller right
id, is merged first, as in HF tokenizers, with bytes numbered as in GPT-2 (`byte_alphabet.py`). Other than in HF
tokenizers, a special token in the training text is no text: it ends a word and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tokenizers_scratch.base import BaseTokenizer, each_text
from tokenizers_scratch.bpe_encode import LONG, EncodingKernels
from tokenizers_scratch.bpe_learn import learn_from_texts
from tokenizers_scratch.bpe_merge import merge_word
from tokenizers_scratch.byte_alphabet import from_stand_ins, single_bytes, to_stand_ins
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.counting import batches
from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.gpt2_files import GPT2Files, read_gpt2_files, write_gpt2_files
from tokenizers_scratch.patterns import SplitPattern, split_pattern, whole_words
from tokenizers_scratch.special_tokens import ROLES, AllowedSpecial, SpecialTokens, check_special_tokens
from tokenizers_scratch.storage import TokenizerFile
from tokenizers_scratch.utf8 import text_to_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 2**23  # characters of several texts that are encoded at a time
_CACHED_WORDS = 2**16
_LONGEST_CACHED = 64  # characters


class BPETokenizer(BaseTokenizer):
    """Byte-level BPE from a vocabulary and its merges, or `train`ed, or from GPT-2's files.

    Words already seen are looked up; the cache holds at most 65,536 words of at most 64 characters.
    """

    kind = "bpe"
    lossless = True
    file_keys = frozenset({"pattern", "vocab", "merges"})

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: SpecialTokens | Sequence[str] = (),
        *,
        pattern: str = "gpt2",
    ) -> None:
        """`vocab`: the bytes of each id; may hold the special tokens. `merges`: pairs of tokens, the earliest first.

        Special tokens given as texts have the id that their bytes have in `vocab`, else the next free ones.
        Raises ValueError for a vocabulary that cannot work: a byte without token, two tokens of the same bytes, ids
        that are not 0 to n - 1, a merge of or to something that is no token, a pattern that is neither known nor a
        regular expression.
        """
        self._pattern: SplitPattern = split_pattern(pattern)
        if not isinstance(special_tokens, SpecialTokens):
            special_tokens = _find_special_tokens(vocab, special_tokens)
        special_ids = set(special_tokens.ids.values())
        ordinary = {i: token for i, token in vocab.items() if i not in special_ids}
        super().__init__(ordinary, special_tokens)

        id_of = {token: i for i, token in ordinary.items()}
        if len(id_of) != len(ordinary):
            twice = next(token for i, token in ordinary.items() if id_of[token] != i)
            raise ValueError(f"the vocabulary holds the token {to_stand_ins(twice)!r} twice")
        for byte in single_bytes():
            if byte not in id_of:
                raise ValueError(f"the vocabulary lacks the single byte {byte[0]} ({to_stand_ins(byte)!r})")
        self._merges = tuple(merges)
        self._id_of_byte = [id_of[byte] for byte in single_bytes(range(256))]
        self._ranks: dict[tuple[int, int], int] = {}
        self._products: list[int] = []
        for rank, (left, right) in enumerate(self._merges):
            what = f"merge {rank}, {to_stand_ins(left)!r} + {to_stand_ins(right)!r},"
            for token in (left, right, left + right):
                if token not in id_of:
                    raise ValueError(f"{what} needs {to_stand_ins(token)!r}, which is no token")
            if self._ranks.setdefault((id_of[left], id_of[right]), rank) != rank:
                raise ValueError(f"{what} is there twice")
            self._products.append(id_of[left + right])
        self._split_ascii = self._pattern.split_ascii or self._pattern.split
        self._word_ids = _WordCache(self)
        self._kernels = EncodingKernels(pattern, self._id_of_byte, self._ranks, self._products)

    @classmethod
    def train(cls, texts: Iterable[str], config: BPEConfig, /, *, threads: int | None = None) -> Self:
        """Learn merges from `texts`, each a text of its own: no word goes on from one into the next.

        To train on one text that comes in chunks, pass `whole_words(chunks, split_pattern(config.pattern))`. Memory
        grows with the number of different words, not with the text. Learns fewer merges than asked if there are no
        more pairs that are frequent enough. `threads`: how many count the words of a large corpus, all cores if None;
        the result is the same. Raises EmptyCorpusError if there is no text.
        """
        special_tokens = SpecialTokens.numbered(config.special_tokens)
        tokens, merges = learn_from_texts(texts, config, special_tokens, threads)
        vocab = dict(enumerate(tokens, len(special_tokens)))
        return cls(vocab, merges, special_tokens, pattern=config.pattern)

    @classmethod
    def from_files(
        cls,
        vocab: Path | str,
        merges: Path | str,
        /,
        special_tokens: Sequence[str] | None = None,
        *,
        eos_token: str | None = None,
        pattern: str = "gpt2",
    ) -> Self:
        """Read `vocab.json` and `merges.txt` in the format of GPT-2 (`gpt2_files.py`).

        `special_tokens`: None takes every entry that is neither a byte nor made by a merge (in GPT-2's files,
        `<|endoftext|>`). `eos_token`: which of them ends a text, if it is not called `<EOS>`. Raises
        TokenizerFileError.
        """
        files = read_gpt2_files(Path(vocab), Path(merges), special_tokens)
        if eos_token is not None and eos_token not in files.special_tokens:
            raise ValueError(f"eos_token: got {eos_token!r}, must be one of {sorted(files.special_tokens)}")
        roles = ROLES if eos_token is None else {**ROLES, "eos": eos_token}
        try:
            return cls(files.vocab, files.merges, SpecialTokens(files.special_tokens, roles), pattern=pattern)
        except ValueError as error:
            raise TokenizerFileError(Path(vocab), f"{error} (with the merges of {merges})") from error

    def save_files(self, vocab: Path | str, merges: Path | str, /) -> None:
        """Write `vocab.json` and `merges.txt`, which HF tokenizers and `from_files` read.

        The files do not say which entries are special tokens. Raises ValueError if one is written like another token.
        """
        files = GPT2Files(dict(self.vocab), list(self.merges), dict(self.special_tokens))
        write_gpt2_files(files, vocab, merges)

    @property
    def merges(self) -> tuple[tuple[bytes, bytes], ...]:
        """Pairs of tokens in the order in which they are merged."""
        return self._merges

    @property
    def pattern(self) -> str:
        """The name of the rule that cuts text into words, or the regular expression."""
        return self._pattern.name

    def encode_to_numpy(
        self, text: str, /, *, allowed_special: AllowedSpecial = "none", threads: int = 1
    ) -> NDArray[np.uint32]:
        """`encode` as an array, which a long text needs half the time for. `threads`: how many share its words."""
        if isinstance(allowed_special, str) and allowed_special == "none":
            encoder = self._kernels.encoder(len(text)) if len(text) >= LONG else None
            if encoder is not None:
                return encoder.encode([text], threads)[0]
        return super().encode_to_numpy(text, allowed_special=allowed_special)

    def encode_batch(
        self, texts: Iterable[str], /, *, allowed_special: AllowedSpecial = "none", threads: int = 1
    ) -> list[list[int]]:
        """`encode` of each text. `threads`: how many share them, if they are many or long."""
        if not (isinstance(allowed_special, str) and allowed_special == "none"):
            return super().encode_batch(texts, allowed_special=allowed_special)
        rows: list[list[int]] = []
        for group in batches(each_text(texts), _BATCH):
            encoder = self._kernels.encoder(sum(map(len, group)))
            if encoder is None:
                rows.extend(map(self._encode_plain, group))
            else:
                ids, ends = encoder.encode(group, threads)
                flat = ids.tolist()
                rows.extend(flat[start:end] for start, end in pairwise((0, *ends.tolist())))
        return rows

    def _encode_plain(self, text: str) -> list[int]:
        if len(text) >= LONG and (encoder := self._kernels.encoder(len(text))) is not None:
            ids: list[int] = encoder.encode([text])[0].tolist()
            return ids
        split = self._split_ascii if text.isascii() else self._pattern.split
        return list(chain.from_iterable(map(self._word_ids.__getitem__, split(text))))

    def _encode_stream(self, chunks: Iterator[str]) -> Iterator[int]:
        for text in whole_words(chunks, self._pattern):
            yield from self._encode_plain(text)

    def _encode_word(self, word: str) -> list[int]:
        symbols = list(map(self._id_of_byte.__getitem__, text_to_bytes(word)))
        return merge_word(symbols, self._ranks, self._products)

    def _to_file(self) -> dict[str, Any]:
        special = set(self.special_tokens.values())
        return {
            "pattern": self.pattern,
            "vocab": {to_stand_ins(token): i for i, token in self.vocab.items() if i not in special},
            "merges": [[to_stand_ins(left), to_stand_ins(right)] for left, right in self._merges],
        }

    @classmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        vocab = {i: from_stand_ins(token) for token, i in file.ids("vocab").items()}
        if len(vocab) != len(file.ids("vocab")):
            raise file.error("two tokens have one id")
        merges = [(from_stand_ins(left), from_stand_ins(right)) for left, right in file.pairs("merges")]
        return cls(vocab, merges, file.special_tokens, pattern=file.text("pattern"))


class _WordCache(dict[str, tuple[int, ...]]):
    """Ids of words. When full it starts anew, which costs less than keeping track of what was used last."""

    def __init__(self, tokenizer: BPETokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(self._tokenizer._encode_word(word))
        if len(word) <= _LONGEST_CACHED:
            if len(self) >= _CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids


def _find_special_tokens(vocab: Mapping[int, bytes], tokens: Sequence[str]) -> SpecialTokens:
    check_special_tokens(tokens)
    id_of = {token: i for i, token in vocab.items()}
    unused = count(len(vocab))
    ids = {}
    for token in tokens:
        known = id_of.get(text_to_bytes(token))
        ids[token] = next(unused) if known is None else known
    return SpecialTokens(ids)
