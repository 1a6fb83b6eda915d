"""Run any `tokenizer.json`: the `hf` tokenizer.

The ids are those of HF tokenizers, with two differences. What looks like a special token is text unless it is
allowed, as everywhere here; `allowed_special="all"` is HF's way, and "none" its `encode_special_tokens`. And `encode`
adds no special tokens; `add_special_tokens` puts them around ids, and `encode_pair` does both for two texts. A file's
dropout is only for `sample`: `encode` has the same ids each time.

Truncation and padding in the file are left to the caller (`encode_padded`). The Unicode version is that of Python and
`regex`. A component that is not known is an UnsupportedComponentError that names it and its place.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from tokenizers_scratch.base import BaseTokenizer, listed
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte_alphabet import to_stand_ins
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.errors import TokenizerFileError, UnknownIdError
from tokenizers_scratch.formats.tokenizer_json import (
    CONFIG_NAME,
    FILE_NAME,
    check_version,
    read_roles,
    tokenizer_json,
    write_json,
    write_roles,
)
from tokenizers_scratch.hf.added import AddedToken, AddedTokens, read_added_token
from tokenizers_scratch.hf.aligned import Aligned
from tokenizers_scratch.hf.component import Component
from tokenizers_scratch.hf.config import HFConfig
from tokenizers_scratch.hf.decoders import build_decoder, bytes_of, last_token_differs
from tokenizers_scratch.hf.models import Token, build_model
from tokenizers_scratch.hf.normalizers import build_normalizer
from tokenizers_scratch.hf.post_processors import Row, build_post_processor, joined, trimming
from tokenizers_scratch.hf.pre_tokenizers import build_pre_tokenizer
from tokenizers_scratch.hf.streaming import TextStream
from tokenizers_scratch.offsets import Span
from tokenizers_scratch.special_tokens import ROLES, AllowedSpecial, SpecialTokens
from tokenizers_scratch.storage import TokenizerFile, read_json_object
from tokenizers_scratch.stream import StreamDecoder
from tokenizers_scratch.utf8 import text_to_bytes

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "pad": ("<PAD>", "<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>"),
    "unk": ("<UNK>", "<unk>", "[UNK]"),
    "bos": ("<BOS>", "<s>", "<bos>", "[CLS]", "<|begin_of_text|>", "<|startoftext|>"),
    "eos": ("<EOS>", "</s>", "<eos>", "[SEP]", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>"),
}
"""Which special token has which role where neither the caller nor `tokenizer_config.json` says."""

MAX_UNUSED = 2**16
"""How many ids may be without token."""


class PairEncoding(NamedTuple):
    """A row of ids, and for each the text it belongs to, as the file has it: 0 or 1, as a rule."""

    ids: list[int]
    type_ids: list[int]


class HFTokenizer(BaseTokenizer):
    """What a `tokenizer.json` describes. Immutable."""

    kind = "hf"
    lossless = False  # that depends on the file

    def __init__(
        self,
        content: Mapping[str, object],
        roles: Mapping[str, str] | None = None,
        *,
        path: Path | str = FILE_NAME,
    ) -> None:
        """`content`: of a `tokenizer.json`. `roles`: the special tokens that are "pad", "unk", "bos" and "eos".

        `path` is only for errors. Raises TokenizerFileError for content that cannot be run, and ValueError for roles
        of tokens that are not special ones.
        """
        path = Path(path)
        check_version(path, content)
        file = Component(path, "", content)
        self._content = content
        model, normalizer, pre_tokenizer, decoder, post = (
            file.child(key) for key in ("model", "normalizer", "pre_tokenizer", "decoder", "post_processor")
        )
        if model is None:
            raise TokenizerFileError(path, "'model' is missing")
        self._model = build_model(model)
        self._normalize = build_normalizer(normalizer) if normalizer else None
        self._pre_tokenize = build_pre_tokenizer(pre_tokenizer) if pre_tokenizer else None
        self._decode_tokens = build_decoder(decoder) if decoder else None
        self._post_process = build_post_processor(post) if post else None
        self._trimming = trimming(post)
        added = self._read_added(file)
        self._raw_added = AddedTokens([token for token in added if not token.normalized], str)
        self._normalized_added = AddedTokens([token for token in added if token.normalized], self._normalized)

        tokens = {i: token for token, i in self._model.vocab.items()}
        if len(tokens) != len(self._model.vocab):
            raise TokenizerFileError(path, "model: two tokens have one id")
        tokens |= {token.id: token.content for token in added}
        size = max(tokens, default=-1) + 1
        if size - len(tokens) > MAX_UNUSED:
            raise TokenizerFileError(path, f"model: {size - len(tokens)} of {size} ids have no token")
        self._tokens: list[str | None] = [tokens.get(i) for i in range(size)]
        self._last_differs = decoder is not None and last_token_differs(decoder)
        self._byte_level = decoder is not None and _is_byte_level(decoder)
        special = {token.content: token.id for token in added if token.special}
        verbatim = {token.id for token in added if token.content not in self._model.vocab}
        super().__init__(
            {
                i: b"" if token is None else self._token_bytes(token, i in verbatim)
                for i, token in enumerate(self._tokens)
                if i not in special.values()
            },
            SpecialTokens(special, _checked_roles(special, roles or {}, self._model.unk_token)),
        )

    @classmethod
    def from_file(cls, path: Path | str, /, roles: Mapping[str, str] | None = None) -> Self:
        """Run a file. What `roles` does not say, `tokenizer_config.json` beside it may."""
        path = Path(path)
        content = read_json_object(path)
        return cls(content, {**_roles_beside(path, content, roles or {}), **(roles or {})}, path=path)

    @classmethod
    def train(cls, texts: Iterable[str], config: HFConfig, /) -> Self:
        """Run the file at `config.path`, and then no text is read; without one, learn byte-level BPE and run that.

        A file that has no token for the end of a text gets `<EOS>`, as a new id.
        """
        chosen = {role: token for role in ROLES if (token := getattr(config, f"{role}_token")) is not None}
        if config.path is None:
            learned = tokenizer_json(BPETokenizer.train(texts, BPEConfig(vocab_size=config.vocab_size)))
            return cls(json.loads(json.dumps(learned)), chosen)
        made = cls.from_file(config.path, chosen)
        if made.eos_id is not None:
            return made
        path = Path(config.path)
        token = {"id": made.vocab_size, "content": ROLES["eos"], "special": True, "normalized": False}
        plain = {"single_word": False, "lstrip": False, "rstrip": False}
        old = made._content.get("added_tokens") or []
        content = {**made._content, "added_tokens": [*old, {**token, **plain}]}  # type: ignore[misc]
        return cls(content, {**made._special_tokens.roles, "eos": ROLES["eos"]}, path=path)

    # --- text to ids

    def encode(self, text: str, /, *, allowed_special: AllowedSpecial = "none") -> list[int]:
        """Ids of `text`, without the special tokens that the file would put around it."""
        return [i for i, _, _ in self._encode(text, self._allowed(text, allowed_special), frozenset())]

    def encode_iterable(self, chunks: Iterable[str], /, *, allowed_special: AllowedSpecial = "none") -> Iterator[int]:
        """Ids of one text that comes in chunks. Reads all of them first: a file may look anywhere."""
        return iter(self.encode("".join(chunks), allowed_special=allowed_special))

    def encode_with_offsets(
        self, text: str, /, *, allowed_special: AllowedSpecial = "none", barriers: Collection[int] = ()
    ) -> tuple[list[int], list[Span]]:
        """`encode` and `offsets` in one."""
        tokens = self._encode(text, self._allowed(text, allowed_special), frozenset(barriers))
        return [i for i, _, _ in tokens], self._trimmed([(start, end) for _, start, end in tokens], tokens)

    def offsets(self, text: str, /, *, allowed_special: AllowedSpecial = "none") -> list[Span]:
        """For each id of `encode` the characters of the original text it stands for: half-open spans."""
        return self.encode_with_offsets(text, allowed_special=allowed_special)[1]

    def add_special_tokens(self, ids: Iterable[int], pair: Iterable[int] | None = None, /) -> list[int]:
        """The ids of a text, or of two, with the special tokens that the file's post-processor puts around them."""
        return self._processed(ids, pair).ids

    def encode_pair(self, text: str, pair: str, /, *, allowed_special: AllowedSpecial = "none") -> PairEncoding:
        """Two texts as one row, as a model that compares them reads them, special tokens included."""
        return self._processed(*(self.encode(t, allowed_special=allowed_special) for t in (text, pair)))

    def _processed(self, ids: Iterable[int], pair: Iterable[int] | None) -> PairEncoding:
        texts = [list(ids)] if pair is None else [list(ids), list(pair)]
        rows: list[Row] = [(row, [n] * len(row)) for n, row in enumerate(texts)]
        return PairEncoding(*joined(self._post_process(rows) if self._post_process else rows))

    def sample(
        self,
        text: str,
        /,
        *,
        rng: random.Random,
        dropout: float | None = None,
        allowed_special: AllowedSpecial = "none",
    ) -> list[int]:
        """Ids of a random segmentation of BPE: each merge is passed over with the probability `dropout`.

        Provilkov et al., 2020 (arXiv:1910.13267). None: as the file says, which `encode` does not follow, so that the
        same text always has the same ids. Raises ValueError for other models, and where nobody says how probable.
        """
        cut = self._model.sampler(dropout, rng)
        return [i for i, _, _ in self._encode(text, self._allowed(text, allowed_special), frozenset(), cut)]

    def _encode_plain(self, text: str) -> list[int]:
        return self.encode(text)

    def _allowed(self, text: str, allowed_special: AllowedSpecial) -> frozenset[str]:
        if allowed_special in ("none", "none_raise"):
            if allowed_special == "none_raise":
                for _ in self._special_tokens.split((text,), "none_raise"):
                    pass
            return frozenset()
        return self._special_tokens.recognised(allowed_special)

    def _encode(
        self,
        text: str,
        allowed: frozenset[str],
        barriers: frozenset[int],
        cut: Callable[[str], list[Token]] | None = None,
    ) -> list[Token]:
        cut = cut or self._model.tokens
        tokens: list[Token] = []
        for run in self._raw_added.split(Aligned.of(text), allowed, barriers):
            if isinstance(run, tuple):
                tokens.append(_found(run))
                continue
            normal = self._normalize(run) if self._normalize else run
            for part in self._normalized_added.split(normal, allowed, barriers):
                if isinstance(part, tuple):
                    tokens.append(_found(part))
                    continue
                for word in self._pre_tokenize([part]) if self._pre_tokenize else [part]:
                    tokens.extend((i, *word.span(start, end)) for i, start, end in cut(word.text))
        return tokens

    def _normalized(self, text: str) -> str:
        return self._normalize(Aligned.of(text)).text if self._normalize else text

    def _trimmed(self, spans: list[Span], tokens: list[Token]) -> list[Span]:
        """Spans without the white space at the ends of their tokens, if the file wants that."""
        if self._trimming is None:
            return spans
        trimmed: list[Span] = []
        for place, ((start, end), (i, _, _)) in enumerate(zip(spans, tokens, strict=True)):
            token = self._tokens[i] or ""
            before = len(token) - len(token.lstrip(_SPACES))
            behind = len(token) - len(token.rstrip(_SPACES))
            if before and self._trimming and (place == 0 or start == 0):
                before -= 1  # the space that was put in front has no place in the text
            start = min(start + before, end)
            trimmed.append((start, max(end - behind, start) if behind and end >= behind else end))
        return trimmed

    # --- ids to text

    def decode_bytes(self, ids: Iterable[int], /, *, skip_special: bool = True) -> bytes:
        """The bytes of the text of `ids`."""
        if self._byte_level:
            return super().decode_bytes(ids, skip_special=skip_special)
        return text_to_bytes(self._join(self._shown(ids, skip_special)))

    def stream_decoder(self, *, skip_special: bool = True) -> StreamDecoder:
        """A decoder for ids that come one after the other."""
        if self._byte_level:
            return super().stream_decoder(skip_special=skip_special)
        shown = partial(self._shown, skip_special=skip_special)
        return TextStream(shown, self._join, last_differs=self._last_differs)

    def _shown(self, ids: Iterable[int], skip_special: bool) -> list[str]:
        row = listed(ids)
        for i in row:
            if not self._is_id(i):
                raise UnknownIdError(i, self.vocab_size)
        hidden = self._special_ids if skip_special else frozenset()
        return [token for i in row if i not in hidden and (token := self._tokens[i]) is not None]

    def _join(self, tokens: list[str]) -> str:
        return "".join(self._decode_tokens(tokens)) if self._decode_tokens else " ".join(tokens)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self.special_tokens.values())

    def _token_bytes(self, token: str, verbatim: bool) -> bytes:
        return bytes_of(token) if self._byte_level and not verbatim else text_to_bytes(token)

    # --- files

    def save(self, directory: Path | str, /) -> None:
        """Write `tokenizer.json`, which HF tokenizers reads, `tokenizer_config.json` and `scratch-tokenizer.json`."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / FILE_NAME, self._content)
        write_roles(self, directory)
        super().save(directory)

    def _to_file(self) -> dict[str, Any]:
        return {}

    @classmethod
    def _from_file(cls, file: TokenizerFile) -> Self:
        path = file.path.with_name(FILE_NAME)
        made = cls(read_json_object(path), path=path)
        if made.special_tokens != file.special_tokens.ids:
            raise file.error(f"has other special tokens than {path.name} beside it")
        made._special_tokens = file.special_tokens
        return made

    def _read_added(self, file: Component) -> list[AddedToken]:
        """The added tokens with their ids: that of the model's vocabulary, or the next one."""
        vocab = self._model.vocab
        found: dict[str, AddedToken] = {}
        next_id = len(vocab)
        for spec in file.long_list("added_tokens"):
            text = spec.text("content")
            if not text or text in found:
                continue
            i = vocab.get(text, next_id)
            if spec.count("id", i) != i:
                raise spec.error(
                    f"{text!r} has the id {spec.count('id')}, but has to have {i}, as the model ends there"
                )
            if text not in vocab:
                next_id += 1
            found[text] = read_added_token(spec, i)
        return list(found.values())


_SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace() and chr(code) not in "\x1c\x1d\x1e\x1f")
_SPACES += to_stand_ins(b" ")


def _found(run: tuple[AddedToken, Aligned]) -> Token:
    token, text = run
    return token.id, *text.span(0, len(text.text))


def _is_byte_level(decoder: Component) -> bool:
    if decoder.type == "Sequence":
        inner = decoder.children("decoders")
        return len(inner) == 1 and _is_byte_level(inner[0])
    return decoder.type == "ByteLevel"


def _roles_beside(path: Path, content: Mapping[str, object], chosen: Mapping[str, str]) -> dict[str, str]:
    """Roles from `tokenizer_config.json` that nobody chose otherwise."""
    roles = {role: token for role, token in read_roles(path).items() if role not in chosen}
    added = content.get("added_tokens")
    special = {
        t.get("content") for t in (added if isinstance(added, list) else ()) if isinstance(t, dict) and t.get("special")
    }
    for role, token in roles.items():
        if token not in special:
            reason = f"'{role}_token' is {token!r}, which is no special token of {path.name}"
            raise TokenizerFileError(path.with_name(CONFIG_NAME), reason)
    return roles


def _checked_roles(special: Mapping[str, int], roles: Mapping[str, str], unk_token: str | None) -> dict[str, str]:
    """Every role that a special token has."""
    found: dict[str, str] = {}
    for role, names in USUAL_NAMES.items():
        if role in roles:
            if roles[role] not in special:
                raise ValueError(f"{role}_token: got {roles[role]!r}, must be one of {', '.join(map(repr, special))}")
            found[role] = roles[role]
            continue
        if role == "unk" and unk_token is not None:
            names = (unk_token, *names)
        usual = next((name for name in names if name in special), None)
        if usual is not None and usual not in found.values():
            found[role] = usual
    return found
