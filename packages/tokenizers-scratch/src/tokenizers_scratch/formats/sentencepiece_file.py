"""Our `SentencePieceTokenizer` from a `.model` file of sentencepiece, and such a file from ours, with the same ids.

Control pieces become special tokens; user-defined and unused pieces stay what they are, and the file's own table of
rules for characters is followed to the letter and written again. What our class does not do is refused by name: white
space as a suffix or not escaped, and rules for what comes out (`denormalizer_spec`). Not written are tokenizers whose
rules were never compiled (`normalization` nfkc or nmt_nfkc, by Python's Unicode): a file needs a table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers_scratch.errors import TokenizerFileError, UnsupportedComponentError, UnsupportedExportError
from tokenizers_scratch.formats.sentencepiece_model import (
    Piece,
    PieceType,
    SentencePieceModel,
    read_sentencepiece,
    write_sentencepiece,
)
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.sentencepiece_rules import CompiledRules
from tokenizers_scratch.sentencepiece_text import SentencePieceText
from tokenizers_scratch.special_tokens import SpecialTokens


def load_sentencepiece(path: Path | str) -> SentencePieceTokenizer:
    """The tokenizer in a `.model` file. Raises TokenizerFileError, naming file and reason."""
    path = Path(path)
    model = read_sentencepiece(path)
    if model.whitespace_as_suffix:
        raise UnsupportedComponentError(path, "trainer_spec", "white space as a suffix")
    if not model.escape_whitespaces:
        raise UnsupportedComponentError(path, "normalizer_spec", "white space that is not escaped")
    if model.denormalizes:
        raise UnsupportedComponentError(path, "denormalizer_spec", "a table of rules for what comes out")
    special: dict[str, int] = {}
    pieces: dict[int, tuple[str, float]] = {}
    byte_ids = [-1] * 256
    for i, piece in enumerate(model.pieces):
        if piece.type in (PieceType.UNKNOWN, PieceType.CONTROL):
            special[piece.text] = i
        elif piece.type == PieceType.BYTE:
            byte_ids[int(piece.text[3:5], 16)] = i
        else:
            pieces[i] = (piece.text, piece.score)
    if -1 in byte_ids and max(byte_ids) >= 0:
        raise TokenizerFileError(path, "some of the 256 byte pieces are missing")
    roles = {
        role: model.pieces[i].text
        for role, i in (("unk", model.unk_id), ("bos", model.bos_id), ("eos", model.eos_id), ("pad", model.pad_id))
        if i >= 0
    }
    kind_of_model: Any = model.model_type
    of_type = {kind: [i for i in pieces if model.pieces[i].type == kind] for kind in PieceType}
    user_defined = of_type[PieceType.USER_DEFINED]
    try:
        rules = None
        if model.charsmap or user_defined:
            kept = [pieces[i][0] for i in user_defined]
            rules = CompiledRules(model.charsmap, name=model.normalizer, kept=kept)
        return SentencePieceTokenizer(
            pieces,
            SpecialTokens(special, roles),
            model=kind_of_model,
            byte_ids=byte_ids if model.byte_fallback else (),
            text=SentencePieceText(
                "compiled" if rules else "identity",
                add_dummy_prefix=model.add_dummy_prefix,
                remove_extra_whitespaces=model.remove_extra_whitespaces,
                compiled=rules,
            ),
            user_defined=user_defined,
            unused=of_type[PieceType.UNUSED],
        )
    except ValueError as error:
        raise TokenizerFileError(path, str(error)) from None


def save_sentencepiece(tokenizer: SentencePieceTokenizer, path: Path | str) -> None:
    """Write a `.model` file with which sentencepiece gives the same ids.

    Raises UnsupportedExportError if there can be none.
    """
    rules = tokenizer.text_rules
    if rules.normalization not in ("identity", "compiled"):
        reason = f"normalization is {rules.normalization!r}, and a file needs a compiled table of rules for that"
        raise UnsupportedExportError("a sentencepiece model", reason)
    special = {i: token for token, i in tokenizer.special_tokens.items()}
    bytes_of = {i: byte for byte, i in enumerate(tokenizer.byte_ids)}
    learned = tokenizer.pieces
    types = dict.fromkeys(tokenizer.user_defined, PieceType.USER_DEFINED)
    types |= dict.fromkeys(tokenizer.unused, PieceType.UNUSED)
    pieces: list[Piece] = []
    for i in range(tokenizer.vocab_size):
        if i in special:
            pieces.append(Piece(special[i], 0.0, PieceType.UNKNOWN if i == tokenizer.unk_id else PieceType.CONTROL))
        elif i in bytes_of:
            pieces.append(Piece(f"<0x{bytes_of[i]:02X}>", 0.0, PieceType.BYTE))
        else:
            pieces.append(Piece(*learned[i], types.get(i, PieceType.NORMAL)))
    unk_id, bos_id, eos_id, pad_id = (
        -1 if i is None else i for i in (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
    )
    write_sentencepiece(
        SentencePieceModel(
            pieces=tuple(pieces),
            model_type=tokenizer.model,
            byte_fallback=bool(tokenizer.byte_ids),
            normalizer=rules.compiled.name if rules.compiled else "identity",
            charsmap=rules.compiled.charsmap if rules.compiled else b"",
            add_dummy_prefix=rules.add_dummy_prefix,
            remove_extra_whitespaces=rules.remove_extra_whitespaces,
            unk_id=unk_id,
            bos_id=bos_id,
            eos_id=eos_id,
            pad_id=pad_id,
        ),
        path,
    )
