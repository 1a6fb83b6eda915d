"""SentencePiece: raw text in, spaces as U+2581 in the pieces, cut by a Unigram model or by BPE.

Kudo & Richardson, 2018 (arXiv:1808.06226). Given the pieces and scores of a model, ids are those of the sentencepiece
library. `sentencepiece_text.py` says what is done to text, `sentencepiece_bpe.py` and `unigram_reference.py` how the
two kinds of model are learned.

Defaults differ from the library's and are those of Llama's tokenizer, because less is lost with them: characters are
not normalised, spaces stay as they are, unknown characters are spelled in bytes. With them every text comes back, but
that U+2581 comes back as a space. The dummy prefix goes before the first text that is not a special token.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, get_args

from tokenizers_scratch.byte_alphabet import single_bytes
from tokenizers_scratch.config_subword import SentencePieceConfig
from tokenizers_scratch.contextual import ContextualTokenizer, Decoder
from tokenizers_scratch.offsets import Span, spans_of_pieces
from tokenizers_scratch.patterns import whole_words
from tokenizers_scratch.scripts import MARKER, script_of
from tokenizers_scratch.sentencepiece_aligned import normalize_aligned
from tokenizers_scratch.sentencepiece_bpe_train import learn_pieces
from tokenizers_scratch.sentencepiece_counting import get_sentencepiece_word_freqs
from tokenizers_scratch.sentencepiece_kinds import Kind, build_piece_model
from tokenizers_scratch.sentencepiece_rules import CompiledRules
from tokenizers_scratch.sentencepiece_text import SPACED, SentencePieceText, split_at_markers
from tokenizers_scratch.special_tokens import AllowedSpecial, SpecialTokens
from tokenizers_scratch.storage import TokenizerFile
from tokenizers_scratch.unigram_model import UnigramModel, check_sampling
from tokenizers_scratch.unigram_reference import one_kind
from tokenizers_scratch.unigram_train import learn_unigram
from tokenizers_scratch.utf8 import text_to_bytes
from tokenizers_scratch.vocabulary import cover, extract_unique_chars, room_beside

_INNER_MARKER = re.compile(f".{MARKER}", re.DOTALL)


class SentencePieceTokenizer(ContextualTokenizer):
    """SentencePiece from pieces and scores, or `train`ed. Words already seen are looked up, at most 65,536."""

    kind = "sentencepiece"
    file_keys = frozenset(
        {"model", "normalization", "add_dummy_prefix", "remove_extra_whitespaces", "pieces", "byte_ids"}
    )
    optional_file_keys = frozenset({"user_defined", "unused", "charsmap", "charsmap_name"})

    def __init__(
        self,
        pieces: Mapping[int, tuple[str, float]],
        special_tokens: SpecialTokens | None = None,
        *,
        model: Kind = "unigram",
        byte_ids: Sequence[int] = (),
        text: SentencePieceText | None = None,
        user_defined: Collection[int] = (),
        unused: Collection[int] = (),
    ) -> None:
        """`pieces`: text, with U+2581 for a space, and score by id. `byte_ids`: the ids of the 256 bytes, if there are.

        `user_defined`, `unused`: which of the pieces are that (`sentencepiece_kinds.py`); training makes none, files
        of sentencepiece may have them, as they may have the models "word" and "char". The rules in `text` must keep
        the user-defined pieces. Raises ValueError for a vocabulary that cannot work.
        """
        if model not in get_args(Kind):
            raise ValueError(f"model: got {model!r}, must be unigram, bpe, word or char: no other is known")
        special_tokens = special_tokens or SpecialTokens.numbered()
        unk_id = special_tokens.role_id("unk")
        if unk_id is None:
            raise ValueError("there must be a special token for unknown characters")
        self._model = build_piece_model(model, pieces, unk_id, byte_ids, user_defined=user_defined, unused=unused)
        vocab = {i: text_to_bytes(piece) for i, (piece, _) in pieces.items()}
        vocab |= dict(zip(byte_ids, single_bytes(range(256)), strict=False))
        super().__init__(vocab, special_tokens)
        self._pieces = dict(pieces)
        self._byte_ids = tuple(byte_ids)
        self._text = text or SentencePieceText()
        self._kind_of_model: Kind = model
        self._user_defined, self._unused = tuple(sorted(user_defined)), tuple(sorted(unused))
        kept = self._text.compiled.kept if self._text.compiled else frozenset()
        if kept != {pieces[i][0] for i in self._user_defined}:
            raise ValueError("text: the rules must keep the user-defined pieces as they are, and nothing else")
        # A piece that goes on behind a marker could join what would otherwise be two words, and so does the unknown
        # token if no marker parts two unknown characters.
        usable = [piece for i, (piece, _) in pieces.items() if i not in self._unused]
        fuses = not byte_ids and (model == "word" or MARKER not in usable)
        self._cuts_words = model == "word" or not (fuses or any(map(_INNER_MARKER.search, usable)))
        crosses = (
            fuses or not self._cuts_words or (self._text.compiled is not None and self._text.compiled.crosses_spaces)
        )
        self._pattern = replace(SPACED, last_border=None) if crosses else SPACED
        self._written = [
            token.replace(MARKER.encode(), b" ") if i in pieces else token for i, token in self._vocab.items()
        ]

    @classmethod
    def train(cls, texts: Iterable[str], config: SentencePieceConfig, /, *, threads: int = 2) -> Self:
        """Learn pieces from `texts`, each a text of its own.

        Memory grows with the number of different words, not with the text. Learns fewer pieces than asked if there
        are no more. `threads`: with two and more, one counts words while the other reads; the result is the same.
        Raises EmptyCorpusError, and VocabularyTooSmallError if the characters do not fit.
        """
        special_tokens = SpecialTokens.numbered(config.special_tokens)
        byte_ids = range(len(special_tokens), len(special_tokens) + (256 if config.byte_fallback else 0))
        reserved = len(special_tokens) + len(byte_ids)
        rules = SentencePieceText(
            config.normalization,
            add_dummy_prefix=config.add_dummy_prefix,
            remove_extra_whitespaces=config.remove_extra_whitespaces,
        )
        words: Mapping[str, int] = get_sentencepiece_word_freqs(texts, rules, special_tokens, threads=threads)
        words = cover(words, config.character_coverage, MARKER)
        if words:  # bytes could not say that a space is meant
            words.setdefault(MARKER, 1)
        characters = extract_unique_chars(words)
        room = room_beside(len(characters), vocab_size=config.vocab_size, reserved=reserved)
        kind_of = script_of if config.split_by_unicode_script else one_kind
        if config.model == "bpe":
            merged = learn_pieces(
                words,
                n_merges=room,
                min_frequency=config.min_frequency,
                max_piece_length=config.max_piece_length,
                kind_of=kind_of,
            )
            ranked = [*merged, *sorted(characters, key=lambda c: (-characters[c], c))]
            learned = [(piece, -float(rank)) for rank, piece in enumerate(ranked)]
        else:
            learned = learn_unigram(
                words,
                n_pieces=len(characters) + room,
                max_piece_length=config.max_piece_length,
                n_seeds=config.n_seeds,
                kind_of=kind_of,
            )
        pieces = dict(enumerate(learned, reserved))
        return cls(pieces, special_tokens, model=config.model, byte_ids=byte_ids, text=rules)

    @property
    def model(self) -> Kind:
        """What cuts the text."""
        return self._kind_of_model

    @property
    def user_defined(self) -> tuple[int, ...]:
        """The ids of pieces that are always one piece."""
        return self._user_defined

    @property
    def unused(self) -> tuple[int, ...]:
        """The ids of pieces that no text gives."""
        return self._unused

    @property
    def pieces(self) -> Mapping[int, tuple[str, float]]:
        """Text and score of each id that is neither a special token nor a byte."""
        return dict(self._pieces)

    @property
    def byte_ids(self) -> tuple[int, ...]:
        """The ids of the 256 bytes; empty without byte fallback."""
        return self._byte_ids

    @property
    def text_rules(self) -> SentencePieceText:
        """What is done to text before it is cut."""
        return self._text

    @property
    def cuts_words(self) -> bool:
        """Whether a text is cut before each U+2581, which then changes nothing."""
        return self._cuts_words

    def sample(self, text: str, /, *, rng: random.Random, alpha: float = 0.1, nbest_size: int = -1) -> list[int]:
        """Ids of a random segmentation of a Unigram model, drawn with probability proportional to p ** alpha.

        `nbest_size`: -1 draws from all segmentations, n from the n most probable ones. Raises ValueError for a BPE
        model, which has no probabilities.
        """
        check_sampling(alpha, nbest_size)
        return self._unigram().sample(self._words(self._text.normalize(text)), alpha, nbest_size, rng)

    def n_best(self, text: str, size: int, /) -> list[tuple[list[int], float]]:
        """Ids and log p of the `size` most probable segmentations of a Unigram model, the best first."""
        return self._unigram().n_best(self._words(self._text.normalize(text)), size)

    def _unigram(self) -> UnigramModel:
        if not isinstance(self._model, UnigramModel):
            raise ValueError(f"a {self.model} model knows one segmentation only: it has no probabilities")
        return self._model

    def _words(self, normalized: str) -> list[str]:
        if self._cuts_words:
            return split_at_markers(normalized)
        return [normalized] if normalized else []

    def _encode_plain(self, text: str) -> list[int]:
        return self._model.encode_words(self._words(self._text.normalize(text)))

    def _encode_runs(self, runs: Iterator[Iterator[str] | int]) -> Iterator[int]:
        started = False
        for run in runs:
            if isinstance(run, int):
                yield run
                continue
            for text in whole_words(run, self._pattern):
                normalized = self._text.normalize(text, started=started)
                started = started or bool(normalized) or not self._text.remove_extra_whitespaces
                yield from self._model.encode_words(self._words(normalized))

    def encode_with_offsets(
        self, text: str, /, *, allowed_special: AllowedSpecial = "none", barriers: Collection[int] = ()
    ) -> tuple[list[int], list[Span]]:
        """`encode` and `offsets` in one. A special token across one of `barriers`, places in the text, is text."""
        ids: list[int] = []
        spans: list[Span] = []
        started = False
        for start, end, special in self._special_tokens.find(text, allowed_special, barriers):
            if special is not None:
                ids.append(special)
                spans.append((start, end))
                continue
            found = normalize_aligned(self._text, text[start:end], started=started)
            started = started or bool(found.text) or not self._text.remove_extra_whitespaces
            words = self._words(found.text)
            ids += self._model.encode_words(words)
            at = 0
            for word in words:
                pieces = self._model.pieces_of(word)
                for first, last in spans_of_pieces(pieces, self._model.id_of, in_bytes=bool(self._byte_ids)):
                    from_, to = found.span(at + first, at + last)
                    spans.append((start + from_, start + to))
                at += len(word)
        return ids, spans

    def _new_decoder(self, skip_special: bool) -> Decoder:
        rules, special = self._text, set(self.special_tokens.values())
        drops_spaces = rules.add_dummy_prefix or rules.remove_extra_whitespaces
        at_start = drops_spaces

        def decode(ids: Iterable[int]) -> bytes:
            nonlocal at_start
            parts: list[bytes] = []
            for i in self._checked(ids):
                if i in special:
                    if not skip_special:
                        parts.append(self._bytes[i])
                    continue
                written = self._written[i]
                if at_start:
                    if i in self._pieces and written.startswith(b" "):
                        written = written[1:]
                        at_start = rules.remove_extra_whitespaces and not written
                    else:
                        at_start = not written
                parts.append(written)
            return b"".join(parts)

        return decode

    def _to_file(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "normalization": self._text.normalization,
            "add_dummy_prefix": self._text.add_dummy_prefix,
            "remove_extra_whitespaces": self._text.remove_extra_whitespaces,
            "pieces": [[i, text, score] for i, (text, score) in self._pieces.items()],
            "byte_ids": list(self._byte_ids),
            **({"user_defined": list(self._user_defined)} if self._user_defined else {}),
            **({"unused": list(self._unused)} if self._unused else {}),
            **_rules_to_file(self._text.compiled),
        }

    @classmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        pieces = file.scored("pieces")
        user_defined, unused = (file.numbers(k) if k in file.content else [] for k in ("user_defined", "unused"))
        normalization: Any = file.text("normalization")  # which is checked below, as the model is
        compiled = None
        if normalization == "compiled":
            kept = [pieces[i][0] for i in user_defined if i in pieces]
            compiled = CompiledRules(_charsmap(file), name=file.text("charsmap_name"), kept=kept)
        text = SentencePieceText(
            normalization,
            add_dummy_prefix=file.flag("add_dummy_prefix"),
            remove_extra_whitespaces=file.flag("remove_extra_whitespaces"),
            compiled=compiled,
        )
        model: Any = file.text("model")
        return cls(
            pieces,
            file.special_tokens,
            model=model,
            byte_ids=file.numbers("byte_ids"),
            text=text,
            user_defined=user_defined,
            unused=unused,
        )


def _rules_to_file(rules: CompiledRules | None) -> dict[str, str]:
    if rules is None:
        return {}
    return {"charsmap": base64.b64encode(rules.charsmap).decode("ascii"), "charsmap_name": rules.name}


def _charsmap(file: TokenizerFile) -> bytes:
    try:
        return base64.b64decode(file.text("charsmap"), validate=True)
    except binascii.Error:
        raise file.error("'charsmap' is not base64") from None
