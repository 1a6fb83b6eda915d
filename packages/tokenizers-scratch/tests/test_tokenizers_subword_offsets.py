"""Offsets where text is changed before it is cut: one span an id, in the original text, and those of HF where it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch.config_subword import SentencePieceConfig, UnigramConfig, WordConfig, WordPieceConfig
from tokenizers_scratch.hf.bert_words import split_aligned_for_bert
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.sentencepiece_aligned import normalize_aligned
from tokenizers_scratch.sentencepiece_text import SentencePieceText
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.word import WordTokenizer
from tokenizers_scratch.wordpiece import WordPieceTokenizer

CORPUS = ["Fair is foul, and foul is fair: hover through the fog and filthy air. naïve 世界"] * 3
PARTS = {
    "word": WordTokenizer.train(CORPUS, WordConfig()),
    "word-lower": WordTokenizer.train(CORPUS, WordConfig(lowercase=True)),
    "wordpiece": WordPieceTokenizer.train(CORPUS, WordPieceConfig(vocab_size=120)),
    "wordpiece-cased": WordPieceTokenizer.train(CORPUS, WordPieceConfig(vocab_size=120, lowercase=False)),
    "unigram": UnigramTokenizer.train(CORPUS, UnigramConfig(vocab_size=330)),
    "unigram-unknown": UnigramTokenizer.train(CORPUS, UnigramConfig(vocab_size=70, byte_fallback=False)),
    **{
        f"sentencepiece-{model}-{normalization}-{extra}-{fallback}": SentencePieceTokenizer.train(
            CORPUS,
            SentencePieceConfig(
                model=model,
                vocab_size=330 if fallback else 70,
                normalization=normalization,
                remove_extra_whitespaces=extra,
                byte_fallback=fallback,
            ),
        )
        for model in ("bpe", "unigram")
        for normalization, extra, fallback in (
            ("identity", False, True),
            ("identity", True, False),
            ("nfkc", False, False),
            ("nmt_nfkc", True, True),
        )
    },
}
TEXT = st.one_of(
    st.text(st.characters()),
    st.lists(st.sampled_from([*"Fairoul ,世ïﬁｆ▁é\t\u200b", "e\u0301", "  ", "<EOS>", "[SEP]", "İ", "foul"])).map(
        "".join
    ),
)
each = pytest.mark.parametrize("tokenizer", PARTS.values(), ids=PARTS)


@each
@given(text=TEXT, allowed=st.sampled_from(["all", "none"]))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_every_id_has_its_place(tokenizer, text, allowed):
    ids, spans = tokenizer.encode_with_offsets(text, allowed_special=allowed)
    assert ids == tokenizer.encode(text, allowed_special=allowed)
    assert spans == tokenizer.offsets(text, allowed_special=allowed)
    assert len(ids) == len(spans)
    before = 0
    for start, end in spans:
        assert 0 <= start < end <= len(text)
        assert start >= before
        before = start
    special = {i: token for token, i in tokenizer.special_tokens.items()}
    for i, (start, end) in zip(ids, spans, strict=True):
        if allowed == "all" and i in special and i != tokenizer.unk_id:
            assert text[start:end] == special[i]


def test_places():
    assert PARTS["word"].offsets(" foul, zzz") == [(1, 5), (5, 6), (7, 10)]
    assert PARTS["word-lower"].offsets("İ FOUL") == [(0, 1), (2, 6)]
    pieces = PARTS["wordpiece"].offsets("fo\u0301ul  世界!")
    assert pieces[0][0] == 0
    assert pieces[-1] == (9, 10)
    assert (7, 8) in pieces
    assert PARTS["sentencepiece-unigram-nmt_nfkc-True-True"].offsets("  ｆ")[-1] == (2, 3)


@given(text=TEXT)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_aligned_text_is_the_text(text):
    for normalization in ("identity", "nfkc", "nmt_nfkc"):
        for extra in (False, True):
            for started in (False, True):
                rules = SentencePieceText(normalization, remove_extra_whitespaces=extra)
                assert normalize_aligned(rules, text, started=started).text == rules.normalize(text, started=started)
    for tokenizer in (PARTS["wordpiece"], PARTS["wordpiece-cased"]):
        rules = tokenizer._text
        assert [word.text for word in split_aligned_for_bert(rules, text)] == rules.split(text)


def test_wordpieces_are_hfs():
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    tokenizer = PARTS["wordpiece"]
    model = tokenizers.models.WordPiece({p: i for i, p in enumerate(tokenizer._vocab_list)}, unk_token="[UNK]")
    theirs = tokenizers.Tokenizer(model)
    theirs.normalizer = tokenizers.normalizers.BertNormalizer()
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()

    @given(text=st.lists(st.sampled_from([*"Fairoul ,世ïé\t", "foul", "naïve", "filthy"])).map("".join))
    @settings(deadline=None, derandomize=True, max_examples=300)
    def check(text):
        found = theirs.encode(text)
        assert tokenizer.encode_with_offsets(text) == (found.ids, found.offsets)

    check()
