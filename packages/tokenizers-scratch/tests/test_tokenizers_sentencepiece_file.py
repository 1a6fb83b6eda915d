"""Models of sentencepiece run as ours, and ours run in sentencepiece, with the same ids."""

from __future__ import annotations

import dataclasses
import io
import random
import struct
import unicodedata
from pathlib import Path

import pytest

from tokenizers_scratch.charsmap import Charsmap
from tokenizers_scratch.config_subword import SentencePieceConfig
from tokenizers_scratch.errors import TokenizerFileError, UnsupportedComponentError, UnsupportedExportError
from tokenizers_scratch.formats import protobuf
from tokenizers_scratch.formats.sentencepiece_file import load_sentencepiece, save_sentencepiece
from tokenizers_scratch.formats.sentencepiece_model import (
    Piece,
    PieceType,
    SentencePieceModel,
    read_sentencepiece,
    sentencepiece_bytes,
    write_sentencepiece,
)
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.sentencepiece_aligned import normalize_aligned
from tokenizers_scratch.sentencepiece_text import SentencePieceText
from tokenizers_scratch.special_tokens import SpecialTokens

CORPUS = ["Fair is foul, and foul is fair: hover through the fog and filthy air. naïve 世界 12\n"] * 20


OWN = ["<sep>", "foo bar", "日本", "Ｘy", "foul is", "is▁", "▁x", "ai"]
"""User-defined pieces: with spaces, beside spaces, of characters that are normalised, within words."""


def strings(seed, n=700):
    rng = random.Random(seed)
    parts = [
        *"fairoulhvegthd ,.1é世界ｆﬁ\t👍ÅßΣς①㌔\u200b\u00a8",
        "e\u0301",
        " ",
        " ",
        "foul",
        "▁",
        "<s>",
        "<EOS>",
        "  ",
    ]
    parts += [*OWN, "<sep", " x", "ir", "A a", "z"]
    return ["".join(rng.choices(parts, k=rng.randint(0, 18))) for _ in range(n)]


IMPORTS = {
    "unigram": {},
    "bpe": {"model_type": "bpe"},
    "unigram with bytes": {"byte_fallback": True, "vocab_size": 330},
    "bpe with bytes": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 330},
    "as it is": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "without prefix": {"normalization_rule_name": "nfkc", "add_dummy_prefix": False, "pad_id": 3},
    "words": {"model_type": "word", "user_defined_symbols": OWN},
    "characters": {"model_type": "char", "user_defined_symbols": OWN, "remove_extra_whitespaces": False},
    "own pieces": {"user_defined_symbols": OWN, "normalization_rule_name": "nmt_nfkc_cf"},
    "own pieces, bpe": {"model_type": "bpe", "user_defined_symbols": OWN, "normalization_rule_name": "nfkc_cf"},
    "own pieces as they are": {"user_defined_symbols": OWN, "normalization_rule_name": "identity"},
    "own rules": {"normalization_rule_tsv": "rules", "model_type": "bpe"},
    "own rules, spaces kept": {"normalization_rule_tsv": "rules", "remove_extra_whitespaces": False},
    "other ids": {"unk_id": 3, "bos_id": -1, "eos_id": 0, "pad_id": 1, "control_symbols": ["<ctl>"]},
}


RULES = {"A a": "b  c", "é": "", "f": "F F", "ou": " ", "z": "  ", "1": "▁", "世界": "world"}


def trained(tmp_path, options):
    """A model file of sentencepiece, and the library's tokenizer."""
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    if "normalization_rule_tsv" in options:
        lines = [
            " ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) for a, b in RULES.items()
        ]
        (tmp_path / "rules").write_text("\n".join(lines) + "\n")
        options = {**options, "normalization_rule_tsv": str(tmp_path / "rules")}
    out = io.BytesIO()
    options = {"vocab_size": 80, "hard_vocab_limit": False, "minloglevel": 2, **options}
    spm.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=out, **options)
    (tmp_path / "x.model").write_bytes(out.getvalue())
    return spm.SentencePieceProcessor(model_proto=out.getvalue())


def check_equal(ours, theirs, texts):
    for text in texts:
        ids = ours.encode(text)
        assert ids == theirs.encode(text), text
        if ours.unk_id not in ids:
            assert ours.decode(ids) == theirs.decode(ids), text
        assert ours.encode_with_offsets(text)[0] == ids, text
        assert list(ours.encode_iterable(iter(text))) == ids, text


@pytest.mark.parametrize("name", IMPORTS)
def test_theirs_runs_here(name, tmp_path):
    theirs = trained(tmp_path, IMPORTS[name])
    ours = load_sentencepiece(tmp_path / "x.model")
    assert ours.vocab_size == theirs.vocab_size()
    for role in ("unk", "bos", "eos", "pad"):
        expected = getattr(theirs, f"{role}_id")()
        assert getattr(ours, f"{role}_id") == (None if expected < 0 else expected)
    check_equal(ours, theirs, strings(1, 200))


@pytest.mark.parametrize("name", IMPORTS)
def test_saved_and_written_again(name, tmp_path):
    theirs = trained(tmp_path, IMPORTS[name])
    ours = load_sentencepiece(tmp_path / "x.model")
    ours.save(tmp_path / "saved")
    check_equal(SentencePieceTokenizer.load(tmp_path / "saved"), theirs, strings(4, 60))
    save_sentencepiece(ours, tmp_path / "again.model")
    check_equal(ours, type(theirs)(model_file=str(tmp_path / "again.model")), strings(5, 60))
    old, new = (read_sentencepiece(tmp_path / name) for name in ("x.model", "again.model"))
    assert (old.charsmap, [p.type for p in old.pieces]) == (new.charsmap, [p.type for p in new.pieces])


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_unused_pieces(kind, tmp_path):
    trained(tmp_path, {"model_type": kind, "user_defined_symbols": OWN[:3]})
    model = read_sentencepiece(tmp_path / "x.model")
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    for seed in range(3):
        rng = random.Random(seed)
        pieces = [
            dataclasses.replace(p, type=PieceType.UNUSED) if p.type == PieceType.NORMAL and rng.random() < 0.3 else p
            for p in model.pieces
        ]
        write_sentencepiece(dataclasses.replace(model, pieces=tuple(pieces)), tmp_path / "y.model")
        theirs = spm.SentencePieceProcessor(model_file=str(tmp_path / "y.model"))
        ours = load_sentencepiece(tmp_path / "y.model")
        assert ours.unused
        check_equal(ours, theirs, strings(seed, 100))


@pytest.mark.parametrize("normalization", ["nfkc", "nmt_nfkc_cf"])
def test_every_character_and_many_runs_follow_the_table(normalization, tmp_path):
    theirs = trained(tmp_path, {"normalization_rule_name": normalization, "remove_extra_whitespaces": False})
    rules = load_sentencepiece(tmp_path / "x.model").text_rules
    characters = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    touched = {source[0] for source in Charsmap(rules.compiled.charsmap).rules()}
    looked_at = [c for i, c in enumerate(characters) if c in touched or i % 40 == 0]
    for start in range(0, len(looked_at), 4096):
        text = "a".join(looked_at[start : start + 4096])
        assert rules.normalize(text) == theirs.normalize(text)
    rng = random.Random(3)
    marks = [c for c in characters if unicodedata.combining(c)]
    often = [c for c in characters if unicodedata.decomposition(c)]
    for _ in range(200):
        text = "".join(rng.choice((rng.choice(marks), rng.choice(often), "가", "e", " ")) for _ in range(20))
        assert rules.normalize(text) == theirs.normalize(text)
        assert normalize_aligned(rules, text).text == rules.normalize(text)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("file", ["tinyshakespeare.txt", "japanese-novel.txt"])
def test_shared_texts(kind, file, tmp_path):
    path = Path(__file__).parents[3].parent / "shared" / "data" / file
    if not path.exists():
        pytest.skip("needs the shared texts")
    text = path.read_text(encoding="utf-8")[:40_000]
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(text.split("\n")), model_writer=out, vocab_size=2000, model_type=kind, minloglevel=2,
        normalization_rule_name="nmt_nfkc_cf", user_defined_symbols=["the", "、"], hard_vocab_limit=False,
    )  # fmt: skip
    (tmp_path / "x.model").write_bytes(out.getvalue())
    theirs = spm.SentencePieceProcessor(model_proto=out.getvalue())
    assert load_sentencepiece(tmp_path / "x.model").encode(text) == theirs.encode(text)


@pytest.mark.parametrize("model", ["unigram", "bpe"])
@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("extra", [True, False])
def test_ours_runs_there(model, fallback, extra, tmp_path):
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    config = SentencePieceConfig(
        model=model,
        vocab_size=340 if fallback else 90,
        byte_fallback=fallback,
        remove_extra_whitespaces=extra,
        add_dummy_prefix=not extra,
    )
    ours = SentencePieceTokenizer.train(CORPUS, config)
    save_sentencepiece(ours, tmp_path / "new" / "x.model")
    theirs = spm.SentencePieceProcessor(model_file=str(tmp_path / "new" / "x.model"))
    assert (theirs.pad_id(), theirs.unk_id(), theirs.bos_id(), theirs.eos_id()) == (0, 1, 2, 3)
    for text in strings(2):
        ids = ours.encode(text)
        assert theirs.encode(text) == ids
        if ours.unk_id not in ids:
            assert theirs.decode(ids) == ours.decode(ids)
    again = load_sentencepiece(tmp_path / "new" / "x.model")
    assert [again.encode(text) for text in strings(3, 100)] == [ours.encode(text) for text in strings(3, 100)]


MODEL = SentencePieceModel(
    pieces=(Piece("<unk>", type=PieceType.UNKNOWN), Piece("a", -1.0)), bos_id=-1, eos_id=-1, normalizer="identity"
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"whitespace_as_suffix": True}, "trainer_spec: white space as a suffix is not supported"),
        ({"escape_whitespaces": False}, "normalizer_spec: white space that is not escaped is not supported"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, changes, reason):
    write_sentencepiece(dataclasses.replace(MODEL, **changes), tmp_path / "x.model")
    with pytest.raises(UnsupportedComponentError, match=reason) as caught:
        load_sentencepiece(tmp_path / "x.model")
    assert caught.value.exit_code == 3


def test_rules_for_what_comes_out_are_not_supported(tmp_path):
    rules = protobuf.write_bytes(5, protobuf.write_bytes(2, b"rules"))
    (tmp_path / "x.model").write_bytes(sentencepiece_bytes(MODEL) + rules)
    with pytest.raises(UnsupportedComponentError, match="denormalizer_spec"):
        load_sentencepiece(tmp_path / "x.model")


def charsmap(*units, replacements=b"b\0"):
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + replacements


ENDS = 1 << 8
LOOP = charsmap(*[(c ^ c + 1) << 10 | c for c in range(256)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x", "not even their size"),
        (charsmap(1 << 10)[:6], "say that their trie has"),
        (charsmap(1 << 10, ord("a") << 10), None),
        (charsmap((1 ^ 0x61) << 10, 0x61 | ENDS | (5 << 10)), "leads out of the trie"),
        (charsmap((1 ^ 0xFF) << 10, 0xFF | ENDS | (3 << 10), 1 << 31), "not UTF-8"),
        (charsmap((1 ^ 0x61) << 10, 0x61 | ENDS | (3 << 10), 1 << 31 | 9), "leads out of the data"),
        (charsmap((1 ^ 0x61) << 10, 0x61 | ENDS | (3 << 10), 1 << 31, replacements=b"\xff\0"), "is not UTF-8"),
        (charsmap((1 ^ 0x61) << 10, 0x61 | ENDS | (3 << 10), 1 << 31, replacements=b"b" * 1025 + b"\0"), "1024 bytes"),
        (charsmap(*([(0 ^ 0x61) << 10] + [0x61 | (i ^ i ^ 0x61) << 10 for i in range(1, 255)])), None),
    ],
)
def test_damaged_rules(tmp_path, data, reason):
    write_sentencepiece(dataclasses.replace(MODEL, normalizer="x", charsmap=data), tmp_path / "x.model")
    if reason is None:
        assert load_sentencepiece(tmp_path / "x.model").encode("a")
        return
    with pytest.raises(TokenizerFileError, match=reason):
        load_sentencepiece(tmp_path / "x.model")


def test_rules_that_never_end(tmp_path):
    # A node that is its own child: the trie of a hostile file has rules of any length.
    units = [(0x61 ^ 0) << 10] + [0] * 0x60 + [(0x61 ^ 0x61) << 10 | 0x61]
    units[0x61] = (0x61 ^ 0x00) << 10 | 0x61
    rules = charsmap(*units)
    assert Charsmap(rules)
    node = 0x61
    units[0] = (node ^ 0x61) << 10
    units[node] = (node ^ node ^ 0x61) << 10 | 0x61
    with pytest.raises(ValueError, match="than can be meant"):
        Charsmap(charsmap(*units)).rules()


def test_what_cannot_be_told_apart(tmp_path):
    pieces = {0: ("a", -1.0), 1: ("b", -2.0)}
    special = SpecialTokens({"<unk>": 2}, {"unk": "<unk>"})
    with pytest.raises(ValueError, match="the rules must keep the user-defined pieces"):
        SentencePieceTokenizer(pieces, special, user_defined=[0])
    with pytest.raises(ValueError, match="the id 7 is that of no piece"):
        SentencePieceTokenizer(pieces, special, unused=[7])
    with pytest.raises(ValueError, match="both user-defined and unused"):
        SentencePieceTokenizer(pieces, special, unused=[0], user_defined=[0])
    with pytest.raises(ValueError, match="compiled: must be there"):
        SentencePieceText("compiled")


def test_some_bytes(tmp_path):
    pieces = (*MODEL.pieces, Piece("<0x41>", 0.0, PieceType.BYTE))
    write_sentencepiece(dataclasses.replace(MODEL, pieces=pieces), tmp_path / "x.model")
    with pytest.raises(TokenizerFileError, match="some of the 256 byte pieces are missing"):
        load_sentencepiece(tmp_path / "x.model")


def test_rules_that_would_have_to_be_compiled(tmp_path):
    config = SentencePieceConfig(vocab_size=340, normalization="nfkc")
    with pytest.raises(UnsupportedExportError, match=r"normalization is 'nfkc', and a file needs a compiled table"):
        save_sentencepiece(SentencePieceTokenizer.train(CORPUS, config), tmp_path / "x.model")
