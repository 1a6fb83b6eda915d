"""sentencepiece's files: read as sentencepiece reads them, written so that it loads them; damage is named."""

from __future__ import annotations

import dataclasses
import io
import random

import pytest

from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.formats import protobuf
from tokenizers_scratch.formats.sentencepiece_model import (
    Piece,
    PieceType,
    SentencePieceModel,
    parse_sentencepiece,
    read_sentencepiece,
    sentencepiece_bytes,
    write_sentencepiece,
)

TEXT = ["the cat sat on the mat and the dog sat on the log", "a cat, a dog; 12 logs & mats", "naïve café ｆｕｌｌ"] * 20


def train(**options):
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    out = io.BytesIO()
    settings = {"vocab_size": 60, "hard_vocab_limit": False, "minloglevel": 2, **options}
    spm.SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=out, **settings)
    return out.getvalue()


OPTIONS = {
    "unigram": {},
    "bpe": {"model_type": "bpe"},
    "char": {"model_type": "char"},
    "word": {"model_type": "word"},
    "bytes": {"byte_fallback": True, "vocab_size": 320},
    "other": {
        "unk_id": 3,
        "bos_id": -1,
        "eos_id": 0,
        "pad_id": 1,
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "treat_whitespace_as_suffix": True,
        "normalization_rule_name": "identity",
        "unk_surface": "?",
        "user_defined_symbols": ["<mine>"],
        "control_symbols": ["<ctl>"],
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_read_as_sentencepiece_reads(options, tmp_path):
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    data = train(**options)
    (tmp_path / "x.model").write_bytes(data)
    model = read_sentencepiece(tmp_path / "x.model")
    theirs = spm.SentencePieceProcessor(model_proto=data)
    assert [piece.text for piece in model.pieces] == [theirs.id_to_piece(i) for i in range(theirs.vocab_size())]
    assert [piece.score for piece in model.pieces] == [theirs.get_score(i) for i in range(theirs.vocab_size())]
    for i, piece in enumerate(model.pieces):
        assert (piece.type == PieceType.UNKNOWN) == theirs.is_unknown(i)
        assert (piece.type == PieceType.CONTROL) == theirs.is_control(i)
        assert (piece.type == PieceType.BYTE) == theirs.is_byte(i)
    assert (model.unk_id, model.bos_id, model.eos_id, model.pad_id) == (
        *(theirs.unk_id(), theirs.bos_id()),
        *(theirs.eos_id(), theirs.pad_id()),
    )
    assert model.model_type == options.get("model_type", "unigram")
    assert model.byte_fallback == options.get("byte_fallback", False)
    assert model.add_dummy_prefix == options.get("add_dummy_prefix", True)
    assert model.remove_extra_whitespaces == options.get("remove_extra_whitespaces", True)
    assert model.escape_whitespaces
    assert model.whitespace_as_suffix == options.get("treat_whitespace_as_suffix", False)
    assert model.normalizer == options.get("normalization_rule_name", "nmt_nfkc")
    assert len(model.charsmap) == (0 if "normalization_rule_name" in options else 240_007)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_what_is_written_gives_the_same_ids(options, tmp_path):
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    data = train(**options)
    model = parse_sentencepiece(data)
    write_sentencepiece(model, tmp_path / "new" / "y.model")
    assert read_sentencepiece(tmp_path / "new" / "y.model") == model
    before = spm.SentencePieceProcessor(model_proto=data)
    after = spm.SentencePieceProcessor(model_file=str(tmp_path / "new" / "y.model"))
    rng = random.Random(1)
    for _ in range(300):
        text = "".join(rng.choices([*"the cadogsmn ,12é世ｆ", "<mine>", "<s>", "  "], k=rng.randint(0, 20)))
        ids = before.encode(text)
        assert after.encode(text) == ids
        assert after.decode(ids) == before.decode(ids)


PIECES = (
    *(Piece("<unk>", type=PieceType.UNKNOWN), Piece("<s>", type=PieceType.CONTROL)),
    *(Piece("</s>", type=PieceType.CONTROL), Piece("a", -1.5)),
)
MODEL = SentencePieceModel(pieces=PIECES)


def test_without_sentencepiece():
    assert parse_sentencepiece(sentencepiece_bytes(MODEL)) == MODEL
    other = dataclasses.replace(
        MODEL, bos_id=-1, eos_id=-1, unk_surface="", escape_whitespaces=False, add_dummy_prefix=False, charsmap=b"x"
    )
    assert parse_sentencepiece(sentencepiece_bytes(other)) == other
    bare = protobuf.write_bytes(1, protobuf.write_bytes(1, b"<unk>") + protobuf.write_int(3, 2))
    model = parse_sentencepiece(bare + b"\xaa\x06\x00")  # and a field nobody knows
    assert (model.unk_id, model.bos_id, model.eos_id, model.pad_id) == (0, -1, -1, -1)


def test_absent_is_not_false():
    pieces = b"".join(
        protobuf.write_bytes(1, protobuf.write_bytes(1, p.text.encode()) + protobuf.write_int(3, p.type))
        for p in PIECES
    )
    model = parse_sentencepiece(pieces)
    assert model.add_dummy_prefix
    assert model.remove_extra_whitespaces
    assert model.pad_id == -1
    assert model.model_type == "unigram"


@pytest.mark.parametrize(
    ("pieces", "options", "reason"),
    [
        ((*PIECES, Piece("")), {}, "piece 4 is empty"),
        ((*PIECES, Piece("<s>")), {}, "pieces 1 and 4 are both '<s>'"),
        ((*PIECES, Piece("b", float("nan"))), {}, r"the score of piece 4 \('b'\) is nan"),
        ((*PIECES, Piece("b", type=PieceType.BYTE)), {}, "piece 4 is a byte, but is called 'b'"),
        ((*PIECES, Piece("b", type=PieceType.UNKNOWN)), {}, "there are 2 unknown pieces"),
        (PIECES[1:], {}, "there are 0 unknown pieces"),
        (PIECES, {"byte_fallback": True}, "needs 256 byte pieces"),
    ],
)
def test_a_model_that_cannot_be(tmp_path, pieces, options, reason):
    with pytest.raises(ValueError, match=reason):
        SentencePieceModel(pieces=pieces, bos_id=-1, eos_id=-1, **options)
    fake = object.__new__(SentencePieceModel)  # as a file may have it
    values = {field.name: field.default for field in dataclasses.fields(SentencePieceModel)}
    for name, value in {**values, "pieces": pieces, "bos_id": -1, "eos_id": -1, **options}.items():
        object.__setattr__(fake, name, value)
    (tmp_path / "x.model").write_bytes(sentencepiece_bytes(fake))
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        read_sentencepiece(tmp_path / "x.model")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"unk_id": 1}, "unk_id is 1, but the unknown piece has the id 0"),
        ({"pad_id": 9}, "pad_id is 9, which is the id of no control piece"),
        ({"bos_id": 3}, "bos_id is 3, which is the id of no control piece"),
        ({"bos_id": -2}, "bos_id is -2"),
        ({"model_type": "x"}, "the model type 'x' is none of"),
    ],
)
def test_settings_that_cannot_be(options, reason):
    with pytest.raises(ValueError, match=reason):
        SentencePieceModel(pieces=PIECES, **options)


def test_every_cut_is_noticed_or_leaves_a_whole_field(tmp_path):
    data = sentencepiece_bytes(MODEL)
    borders = {0}
    for part in (protobuf.read_fields(data),):
        place = 0
        for number, _, value in part:
            place += len(protobuf.write_bytes(number, value))
            borders.add(place)
    for end in range(len(data)):
        if end not in borders:
            with pytest.raises(ValueError, match="cut off"):
                parse_sentencepiece(data[:end])
    (tmp_path / "x.model").write_bytes(b"")
    with pytest.raises(TokenizerFileError, match="is empty"):
        read_sentencepiece(tmp_path / "x.model")


def test_any_bytes_are_read_or_refused():
    rng = random.Random(2)
    data = sentencepiece_bytes(MODEL)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            parse_sentencepiece(bytes(damaged))
        except ValueError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x0a\xff\xff\xff\xff\x0f", "cut off: field 1 at byte 0 has 4294967295 bytes"),
        (b"\x0a" + b"\xff" * 11, "more than 64 bits at byte 1"),
        (b"\x0a" + b"\xff" * 9 + b"\x7f", "more than 64 bits at byte 1"),
        (b"\x0b", "unknown type 3 at byte 0"),
        (b"\x02", "a field numbered 0"),
        (b"\x08\x01", "field 1 has the wrong type"),
        (b"\x0a\x02\x08\x01", "field 1 of piece 0 has the wrong type"),
        (b"\x0a\x03\x0a\x01\xff", "piece 0 is not UTF-8"),
        (b"\x0a\x05\x0a\x01a\x18\x63", "piece 0 has the unknown type 99"),
        (b"\x12\x02\x18\x09", "the model type 9 is unknown"),
        (b"\x12\x03\xe2\x02\x00", "there are no pieces"),
        (b"\x12\x02\x1a\x00", "field 3 of the trainer's settings has the wrong type"),
        (b"\x1a\x02\x08\x01", "field 1 of the normalizer's settings has the wrong type"),
        (b"\x1a\x03\x0a\x01\xff", "field 1 of the normalizer's settings is not UTF-8"),
    ],
)
def test_damaged_bytes(tmp_path, data, reason):
    path = tmp_path / "x.model"
    path.write_bytes(data)
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        read_sentencepiece(path)
    assert caught.value.path == path


def test_numbers():
    for value in (0, 1, 127, 128, 300, 2**32, 2**63 - 1, -1, -(2**63)):
        ((number, wire, read),) = protobuf.read_fields(protobuf.write_int(5, value))
        assert (number, wire, protobuf.signed(read)) == (5, 0, value)
