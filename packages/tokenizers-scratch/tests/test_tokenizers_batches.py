"""Offsets are HF's and slice the text; padded rows hold the ids, and the mask knows which."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch.batch import batch_encode_with_padding, pad_rows
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.byte_alphabet import to_stand_ins
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig
from tokenizers_scratch.special_tokens import SpecialTokens

CORPUS = ["Fair is foul, and foul is fair: 世界 é 👍\n"] * 3
TOKENIZERS = {
    "byte": ByteTokenizer.train(CORPUS, ByteConfig()),
    "char": CharTokenizer.train(CORPUS, CharConfig()),
    "bpe": BPETokenizer.train(CORPUS, BPEConfig(vocab_size=300)),
}
TEXT = st.one_of(st.text(st.characters()), st.text(st.sampled_from("fair oul,世é👍\n<EOS>")))
each = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


@each
@given(text=TEXT, allowed=st.sampled_from(["all", "none"]))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_offsets_slice_the_text(tokenizer, text, allowed):
    ids = tokenizer.encode(text, allowed_special=allowed)
    spans = tokenizer.offsets(text, allowed_special=allowed)
    assert len(spans) == len(ids)
    covered = 0
    for i, (start, end) in zip(ids, spans, strict=True):
        assert start <= covered <= end <= len(text)  # no gap; a character may belong to several tokens
        assert start < end
        covered = end
        if tokenizer.lossless:
            assert tokenizer.decode_bytes([i], skip_special=False) in text[start:end].encode("utf-8", "surrogatepass")
    assert covered == len(text)


def test_a_character_belongs_to_each_of_its_tokens():
    assert TOKENIZERS["byte"].offsets("a世b") == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]


def test_a_special_token_has_its_text():
    assert TOKENIZERS["byte"].offsets("é<EOS>a", allowed_special="all") == [(0, 1), (0, 1), (1, 6), (6, 7)]


def test_a_token_without_bytes_lies_between():
    vocab = {i: bytes((i,)) for i in range(256)}
    tokenizer = BPETokenizer(vocab, [], SpecialTokens({}))
    assert tokenizer.offsets("") == []
    from tokenizers_scratch.offsets import spans_of_bytes

    assert spans_of_bytes("é", [0, 2, 0]) == [(0, 0), (0, 1), (1, 1)]


def test_offsets_are_those_of_hf():
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    tokenizer = TOKENIZERS["bpe"]
    vocab = {to_stand_ins(token): i for i, token in tokenizer.vocab.items()}
    merges = [(to_stand_ins(left), to_stand_ins(right)) for left, right in tokenizer.merges]
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)

    @given(text=st.text(st.sampled_from("fair oul,世é👍🏳\u200d\n \u0301")))
    @settings(deadline=None, derandomize=True, max_examples=1000)
    def check(text):
        found = oracle.encode(text)
        assert (tokenizer.encode(text), tokenizer.offsets(text)) == (found.ids, found.offsets)

    check()


ROWS = st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=5)


@given(rows=ROWS, cut=st.none() | st.integers(0, 7), full=st.booleans(), left=st.booleans(), drop_left=st.booleans())
@settings(deadline=None, derandomize=True, max_examples=300)
def test_padded_rows(rows, cut, full, left, drop_left):
    to_max = full and cut is not None
    padding_side, truncation_side = ("left" if side else "right" for side in (left, drop_left))
    ids, mask = pad_rows(
        rows, pad_id=0, max_length=cut, to_max_length=to_max, padding_side=padding_side, truncation_side=truncation_side
    )
    assert len(ids) == len(mask) == len(rows)
    for row, padded, real in zip(rows, ids, mask, strict=True):
        kept = row if cut is None else (row[len(row) - min(cut, len(row)) :] if drop_left else row[:cut])
        assert [i for i, r in zip(padded, real, strict=True) if r] == kept  # also where a real id is the padding id
        assert sorted(real, reverse=not left) == real
        assert all(i == 0 for i, r in zip(padded, real, strict=True) if not r)
    widths = {len(row) for row in ids}
    longest = max((min(len(row), cut) if cut is not None else len(row) for row in rows), default=0)
    assert widths <= {cut if to_max else longest}


@each
def test_encode_padded(tokenizer):
    texts = ["fair", "f", ""]
    ids, mask = tokenizer.encode_padded(texts, padding_side="left")
    assert [[i for i, r in zip(*row, strict=True) if r] for row in zip(ids, mask, strict=True)] == (
        tokenizer.encode_batch(texts)
    )
    assert ids[2] == [tokenizer.pad_id] * len(ids[0])
    short = tokenizer.encode_padded(["fair is"], max_length=2, truncation_side="left")
    assert short.ids == [tokenizer.encode("fair is")[-2:]]
    special = tokenizer.encode_padded(["<EOS>", "fair<EOS>"], allowed_special="all")
    assert special.ids[0][0] == tokenizer.eos_id
    assert special.mask[0] == [1] + [0] * (len(special.ids[1]) - 1)
    assert batch_encode_with_padding(tokenizer, ["f"], 9) == tokenizer.encode_padded(
        ["f"], max_length=9, to_max_length=True
    )
    assert tokenizer.encode_padded([]) == ([], [])


def test_lengths_and_sides_that_make_no_sense():
    tokenizer = TOKENIZERS["byte"]
    with pytest.raises(ValueError, match=r"^max_length: got -1, must be an integer from 0"):
        tokenizer.encode_padded(["a"], max_length=-1)
    with pytest.raises(ValueError, match=r"^to_max_length: got True"):
        tokenizer.encode_padded(["a"], to_max_length=True)
    with pytest.raises(ValueError, match=r"^padding_side: got 'top', must be left or right"):
        tokenizer.encode_padded(["a"], padding_side="top")
    with pytest.raises(ValueError, match="no padding token"):
        BPETokenizer({i: bytes((i,)) for i in range(256)}, []).encode_padded(["a"])
    with pytest.raises(TypeError, match="one text where several"):
        tokenizer.encode_padded("abc")
