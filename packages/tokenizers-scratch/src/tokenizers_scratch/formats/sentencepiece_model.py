"""sentencepiece's `.model` files, read and written without sentencepiece or protobuf.

The file is a `ModelProto` (google/sentencepiece, `sentencepiece_model.proto`, proto2): pieces with score and type, and
the settings of trainer and normalizer. A field that equals its default is absent, so absent is not false. Settings
that do not change what a model does (the corpus, say) are not kept.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.formats import protobuf
from tokenizers_scratch.formats.protobuf import FOUR_BYTES, LENGTH, VARINT, read_fields, signed
from tokenizers_scratch.storage import read_bytes, write_in_one_step

MAX_PIECES = 2**22

MODEL_TYPES: Mapping[int, str] = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class PieceType(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its place is its id."""

    text: str
    score: float = 0.0
    type: PieceType = PieceType.NORMAL


@dataclass(frozen=True, kw_only=True)
class SentencePieceModel:
    """What a `.model` file says. An id of -1 means that there is no such token."""

    pieces: tuple[Piece, ...]
    model_type: str = "unigram"
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    unk_surface: str = " \u2047 "
    normalizer: str = "nmt_nfkc"
    charsmap: bytes = b""
    """The normaliser's rules, compiled (`charsmap.py`); empty: characters stay as they are."""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    denormalizes: bool = False
    """Whether there are rules for text that comes out, too; they are not kept."""

    def __post_init__(self) -> None:
        """Raises ValueError for a model that sentencepiece would not load, or not as it stands here."""
        if self.model_type not in MODEL_TYPES.values():
            raise ValueError(f"the model type {self.model_type!r} is none of {', '.join(MODEL_TYPES.values())}")
        if not self.pieces:
            raise ValueError("there are no pieces")
        seen: dict[str, int] = {}
        for i, piece in enumerate(self.pieces):
            if not piece.text:
                raise ValueError(f"piece {i} is empty")
            if seen.setdefault(piece.text, i) != i:
                raise ValueError(f"pieces {seen[piece.text]} and {i} are both {piece.text!r}")
            if not math.isfinite(piece.score):
                raise ValueError(f"the score of piece {i} ({piece.text!r}) is {piece.score}")
            if piece.type == PieceType.BYTE and not _BYTE_PIECE.fullmatch(piece.text):
                raise ValueError(f"piece {i} is a byte, but is called {piece.text!r}")
        unknown = [i for i, piece in enumerate(self.pieces) if piece.type == PieceType.UNKNOWN]
        if len(unknown) != 1:
            raise ValueError(f"there are {len(unknown)} unknown pieces, and there must be one")
        if self.unk_id != unknown[0]:
            raise ValueError(f"unk_id is {self.unk_id}, but the unknown piece has the id {unknown[0]}")
        for name in ("bos_id", "eos_id", "pad_id"):
            i = getattr(self, name)
            if not -1 <= i < len(self.pieces) or (i >= 0 and self.pieces[i].type != PieceType.CONTROL):
                raise ValueError(f"{name} is {i}, which is the id of no control piece")
        if self.byte_fallback and sum(piece.type == PieceType.BYTE for piece in self.pieces) != 256:
            raise ValueError("byte fallback needs 256 byte pieces")


def read_sentencepiece(path: Path | str) -> SentencePieceModel:
    """Read a `.model` file. Raises TokenizerFileError, naming the file and the reason, for anything else."""
    path = Path(path)
    data = read_bytes(path)
    if not data:
        raise TokenizerFileError(path, "is empty")
    try:
        return parse_sentencepiece(data)
    except ValueError as error:
        raise TokenizerFileError(path, f"no sentencepiece model: {error}") from None


def parse_sentencepiece(data: bytes) -> SentencePieceModel:
    """The model in the bytes of a file. Raises ValueError."""
    pieces: list[Piece] = []
    trainer = normalizer = denormalizer = b""
    for number, wire_type, value in read_fields(data, "the file"):
        if number in (1, 2, 3, 5) and wire_type != LENGTH:
            raise ValueError(f"field {number} has the wrong type")
        if not isinstance(value, bytes):
            continue
        if number == 1:
            if len(pieces) == MAX_PIECES:
                raise ValueError(f"there are more than {MAX_PIECES} pieces")
            pieces.append(_parse_piece(value, len(pieces)))
        elif number == 2:
            trainer += value  # a message given twice is one message, says protobuf
        elif number == 3:
            normalizer += value
        elif number == 5:
            denormalizer += value
    settings = _Settings(trainer, "the trainer's settings")
    rules = _Settings(normalizer, "the normalizer's settings")
    model_type = settings.integer(3, 1)
    control = {piece.text: i for i, piece in enumerate(pieces) if piece.type == PieceType.CONTROL}
    if model_type not in MODEL_TYPES:
        raise ValueError(f"the model type {model_type} is unknown")
    return SentencePieceModel(
        pieces=tuple(pieces),
        model_type=MODEL_TYPES[model_type],
        whitespace_as_suffix=bool(settings.integer(24, 0)),
        byte_fallback=bool(settings.integer(35, 0)),
        unk_id=next((i for i, piece in enumerate(pieces) if piece.type == PieceType.UNKNOWN), -1),
        # By their names, as sentencepiece does, which reads the ids in fields 41 to 43 only to train.
        bos_id=control.get(settings.text(46, "<s>"), -1),
        eos_id=control.get(settings.text(47, "</s>"), -1),
        pad_id=control.get(settings.text(48, "<pad>"), -1),
        unk_surface=settings.text(44, " \u2047 "),
        normalizer=rules.text(1, ""),
        charsmap=rules.content(2, b""),
        add_dummy_prefix=bool(rules.integer(3, 1)),
        remove_extra_whitespaces=bool(rules.integer(4, 1)),
        escape_whitespaces=bool(rules.integer(5, 1)),
        denormalizes=bool(_Settings(denormalizer, "the denormalizer's settings").content(2, b"")),
    )


def write_sentencepiece(model: SentencePieceModel, path: Path | str) -> None:
    """Write a `.model` file that sentencepiece loads."""
    write_in_one_step(path, sentencepiece_bytes(model))


def sentencepiece_bytes(model: SentencePieceModel) -> bytes:
    """The bytes of a `.model` file."""
    return b"".join(_model_fields(model))


def _model_fields(model: SentencePieceModel) -> Iterator[bytes]:
    for piece in model.pieces:
        text = protobuf.write_bytes(1, piece.text.encode()) + protobuf.write_float(2, piece.score)
        kind = b"" if piece.type == PieceType.NORMAL else protobuf.write_int(3, piece.type)
        yield protobuf.write_bytes(1, text + kind)
    model_type = next(number for number, name in MODEL_TYPES.items() if name == model.model_type)
    numbers = {
        3: model_type,
        4: len(model.pieces),
        24: model.whitespace_as_suffix,
        35: model.byte_fallback,
        40: model.unk_id,
        41: model.bos_id,
        42: model.eos_id,
        43: model.pad_id,
    }
    texts = {44: model.unk_surface}
    names = {45: model.unk_id, 46: model.bos_id, 47: model.eos_id, 48: model.pad_id}
    texts |= {number: model.pieces[i].text if i >= 0 else "" for number, i in names.items()}
    trainer = [protobuf.write_int(number, value) for number, value in numbers.items()]
    trainer += [protobuf.write_bytes(number, text.encode()) for number, text in texts.items()]
    yield protobuf.write_bytes(2, b"".join(trainer))
    flags = {3: model.add_dummy_prefix, 4: model.remove_extra_whitespaces, 5: model.escape_whitespaces}
    rules = protobuf.write_bytes(1, model.normalizer.encode()) + protobuf.write_bytes(2, model.charsmap)
    rules += b"".join(protobuf.write_int(number, value) for number, value in flags.items())
    yield protobuf.write_bytes(3, rules)


def _parse_piece(data: bytes, i: int) -> Piece:
    text, score, kind = b"", 0.0, 1
    for number, wire_type, value in read_fields(data, f"piece {i}"):
        if number == 1 and wire_type == LENGTH and isinstance(value, bytes):
            text = value
        elif number == 2 and wire_type == FOUR_BYTES and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif number == 3 and wire_type == VARINT and isinstance(value, int):
            kind = value
        elif number in (1, 2, 3):
            raise ValueError(f"field {number} of piece {i} has the wrong type")
    if kind not in set(PieceType):
        raise ValueError(f"piece {i} has the unknown type {kind}")
    try:
        return Piece(text.decode(), score, PieceType(kind))
    except UnicodeDecodeError:
        raise ValueError(f"piece {i} is not UTF-8: {text[:40]!r}") from None


class _Settings:
    """The fields of a message by their number; of those given twice the last, as protobuf has it."""

    def __init__(self, data: bytes, what: str) -> None:
        self._what = what
        self._values = {number: value for number, _, value in read_fields(data, what)}

    def integer(self, number: int, default: int) -> int:
        value = self._values.get(number)
        if value is None:
            return default
        if not isinstance(value, int):
            raise ValueError(f"field {number} of {self._what} has the wrong type")
        return signed(value)

    def content(self, number: int, default: bytes) -> bytes:
        value = self._values.get(number)
        if value is None:
            return default
        if not isinstance(value, bytes):
            raise ValueError(f"field {number} of {self._what} has the wrong type")
        return value

    def text(self, number: int, default: str) -> str:
        try:
            return self.content(number, default.encode()).decode()
        except UnicodeDecodeError:
            raise ValueError(f"field {number} of {self._what} is not UTF-8") from None
