"""Our `SentencePieceTokenizer` from a `.model` file of sentencepiece, and such a file from ours, with the same ids.

Control pieces become special tokens. What our class does not do is refused by name: pieces that are user-defined or
unused, models of words or characters, white space as a suffix, normalisation by other rules than identity, nfkc and
nmt_nfkc. Written are tokenizers with identity only: sentencepiece keeps the others as a compiled table in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers_scratch.errors import TokenizerFileError, UnsupportedComponentError
from tokenizers_scratch.formats.sentencepiece_model import (
    Piece,
    PieceType,
    SentencePieceModel,
    read_sentencepiece,
    write_sentencepiece,
)
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.sentencepiece_text import SentencePieceText
from tokenizers_scratch.special_tokens import SpecialTokens

_NORMALIZATIONS = ("identity", "nfkc", "nmt_nfkc")


def load_sentencepiece(path: Path | str) -> SentencePieceTokenizer:
    """The tokenizer in a `.model` file. Raises TokenizerFileError, naming file and reason."""
    path = Path(path)
    model = read_sentencepiece(path)
    if model.model_type not in ("unigram", "bpe"):
        raise UnsupportedComponentError(path, "trainer_spec", f"the model type {model.model_type!r}")
    if model.whitespace_as_suffix:
        raise UnsupportedComponentError(path, "trainer_spec", "white space as a suffix")
    if not model.escape_whitespaces:
        raise UnsupportedComponentError(path, "normalizer_spec", "white space that is not escaped")
    normalization = model.normalizer if model.charsmap else "identity"
    if normalization not in _NORMALIZATIONS:
        raise UnsupportedComponentError(path, "normalizer_spec", f"the normalizer {normalization!r}")
    special: dict[str, int] = {}
    pieces: dict[int, tuple[str, float]] = {}
    byte_ids = [-1] * 256
    for i, piece in enumerate(model.pieces):
        if piece.type in (PieceType.UNKNOWN, PieceType.CONTROL):
            special[piece.text] = i
        elif piece.type == PieceType.BYTE:
            byte_ids[int(piece.text[3:5], 16)] = i
        elif piece.type == PieceType.NORMAL:
            pieces[i] = (piece.text, piece.score)
        else:
            kind = piece.type.name.lower().replace("_", "-")
            raise UnsupportedComponentError(path, f"piece {i}", f"the {kind} piece {piece.text!r}")
    if -1 in byte_ids and max(byte_ids) >= 0:
        raise TokenizerFileError(path, "some of the 256 byte pieces are missing")
    roles = {
        role: model.pieces[i].text
        for role, i in (("unk", model.unk_id), ("bos", model.bos_id), ("eos", model.eos_id), ("pad", model.pad_id))
        if i >= 0
    }
    kind_of_model: Any = model.model_type
    rules: Any = normalization
    try:
        return SentencePieceTokenizer(
            pieces,
            SpecialTokens(special, roles),
            model=kind_of_model,
            byte_ids=byte_ids if model.byte_fallback else (),
            text=SentencePieceText(
                rules,
                add_dummy_prefix=model.add_dummy_prefix,
                remove_extra_whitespaces=model.remove_extra_whitespaces,
            ),
        )
    except ValueError as error:
        raise TokenizerFileError(path, str(error)) from None


def save_sentencepiece(tokenizer: SentencePieceTokenizer, path: Path | str) -> None:
    """Write a `.model` file with which sentencepiece gives the same ids. Raises ValueError if there can be none."""
    rules = tokenizer.text_rules
    if rules.normalization != "identity":
        raise ValueError(f"normalization: got {rules.normalization!r}, must be identity: a file needs compiled rules")
    special = {i: token for token, i in tokenizer.special_tokens.items()}
    bytes_of = {i: byte for byte, i in enumerate(tokenizer.byte_ids)}
    learned = tokenizer.pieces
    pieces: list[Piece] = []
    for i in range(tokenizer.vocab_size):
        if i in special:
            pieces.append(Piece(special[i], 0.0, PieceType.UNKNOWN if i == tokenizer.unk_id else PieceType.CONTROL))
        elif i in bytes_of:
            pieces.append(Piece(f"<0x{bytes_of[i]:02X}>", 0.0, PieceType.BYTE))
        else:
            pieces.append(Piece(*learned[i]))
    unk_id, bos_id, eos_id, pad_id = (
        -1 if i is None else i for i in (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
    )
    write_sentencepiece(
        SentencePieceModel(
            pieces=tuple(pieces),
            model_type=tokenizer.model,
            byte_fallback=bool(tokenizer.byte_ids),
            normalizer="identity",
            add_dummy_prefix=rules.add_dummy_prefix,
            remove_extra_whitespaces=rules.remove_extra_whitespaces,
            unk_id=unk_id,
            bos_id=bos_id,
            eos_id=eos_id,
            pad_id=pad_id,
        ),
        path,
    )
