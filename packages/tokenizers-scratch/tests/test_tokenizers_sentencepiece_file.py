"""Models of sentencepiece run as ours, and ours run in sentencepiece, with the same ids."""

from __future__ import annotations

import dataclasses
import io
import random

import pytest

from tokenizers_scratch.config_subword import SentencePieceConfig
from tokenizers_scratch.errors import TokenizerFileError, UnsupportedComponentError
from tokenizers_scratch.formats.sentencepiece_file import load_sentencepiece, save_sentencepiece
from tokenizers_scratch.formats.sentencepiece_model import Piece, PieceType, SentencePieceModel, write_sentencepiece
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer

CORPUS = ["Fair is foul, and foul is fair: hover through the fog and filthy air. naïve 世界 12\n"] * 20


def strings(seed, n=700):
    rng = random.Random(seed)
    parts = [*"fairoulhvegthd ,.1é世界ｆﬁ\t👍", " ", " ", "foul", "▁", "<s>", "<EOS>", "  "]
    return ["".join(rng.choices(parts, k=rng.randint(0, 18))) for _ in range(n)]


IMPORTS = {
    "unigram": {},
    "bpe": {"model_type": "bpe"},
    "unigram with bytes": {"byte_fallback": True, "vocab_size": 330},
    "bpe with bytes": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 330},
    "as it is": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "without prefix": {"normalization_rule_name": "nfkc", "add_dummy_prefix": False, "pad_id": 3},
    "other ids": {"unk_id": 3, "bos_id": -1, "eos_id": 0, "pad_id": 1, "control_symbols": ["<ctl>"]},
}


@pytest.mark.parametrize("name", IMPORTS)
def test_theirs_runs_here(name, tmp_path):
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    out = io.BytesIO()
    options = {"vocab_size": 70, "hard_vocab_limit": False, "minloglevel": 2, **IMPORTS[name]}
    spm.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=out, **options)
    (tmp_path / "x.model").write_bytes(out.getvalue())
    theirs = spm.SentencePieceProcessor(model_proto=out.getvalue())
    ours = load_sentencepiece(tmp_path / "x.model")
    assert ours.vocab_size == theirs.vocab_size()
    for role in ("unk", "bos", "eos", "pad"):
        expected = getattr(theirs, f"{role}_id")()
        assert getattr(ours, f"{role}_id") == (None if expected < 0 else expected)
    for text in strings(1):
        assert ours.encode(text) == theirs.encode(text)
    ours.save(tmp_path / "saved")
    assert SentencePieceTokenizer.load(tmp_path / "saved").encode(CORPUS[0]) == theirs.encode(CORPUS[0])


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
        ({"model_type": "word"}, "trainer_spec: the model type 'word' is not supported"),
        ({"whitespace_as_suffix": True}, "trainer_spec: white space as a suffix is not supported"),
        ({"escape_whitespaces": False}, "normalizer_spec: white space that is not escaped is not supported"),
        ({"normalizer": "nmt_nfkc_cf", "charsmap": b"x"}, "normalizer_spec: the normalizer 'nmt_nfkc_cf' is not"),
        (
            {"pieces": (*MODEL.pieces, Piece("b", 0.0, PieceType.USER_DEFINED))},
            "piece 2: the user-defined piece 'b' is not supported",
        ),
        ({"pieces": (*MODEL.pieces, Piece("b", 0.0, PieceType.UNUSED))}, "piece 2: the unused piece 'b'"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, changes, reason):
    write_sentencepiece(dataclasses.replace(MODEL, **changes), tmp_path / "x.model")
    with pytest.raises(UnsupportedComponentError, match=reason) as caught:
        load_sentencepiece(tmp_path / "x.model")
    assert caught.value.exit_code == 3


def test_some_bytes(tmp_path):
    pieces = (*MODEL.pieces, Piece("<0x41>", 0.0, PieceType.BYTE))
    write_sentencepiece(dataclasses.replace(MODEL, pieces=pieces), tmp_path / "x.model")
    with pytest.raises(TokenizerFileError, match="some of the 256 byte pieces are missing"):
        load_sentencepiece(tmp_path / "x.model")


def test_rules_that_would_have_to_be_compiled(tmp_path):
    config = SentencePieceConfig(vocab_size=340, normalization="nfkc")
    with pytest.raises(ValueError, match=r"^normalization: got 'nfkc', must be identity"):
        save_sentencepiece(SentencePieceTokenizer.train(CORPUS, config), tmp_path / "x.model")
