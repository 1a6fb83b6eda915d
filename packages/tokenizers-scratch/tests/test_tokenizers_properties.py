"""What holds for every tokenizer and any text: round trips, chunks, streams, files, offsets; SCRATCH_EXAMPLES each."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig
from tokenizers_scratch.config_subword import SentencePieceConfig, UnigramConfig, WordConfig, WordPieceConfig
from tokenizers_scratch.hf.config import HFConfig
from tokenizers_scratch.hf.tokenizer import HFTokenizer
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.utf8 import text_to_bytes
from tokenizers_scratch.word import WordTokenizer
from tokenizers_scratch.wordpiece import WordPieceTokenizer

THOROUGH = settings.get_profile("tokenizers")

CORPUS = ["Fair is foul, and foul is fair: hover through the fog and filthy air.", "ďábelské 👍 世界\r\n\x00\ud800"] * 3
OWN = ("<S>", "<S>!")  # one begins with the other
RAW = {"lowercase": False, "clean_text": False, "handle_chinese_chars": False}
PARTS = {
    "byte": (ByteTokenizer, ByteConfig(special_tokens=OWN)),
    "char": (CharTokenizer, CharConfig(special_tokens=OWN)),
    "bpe": (BPETokenizer, BPEConfig(vocab_size=330, special_tokens=OWN)),
    "bpe-gpt4": (BPETokenizer, BPEConfig(vocab_size=330, pattern="gpt4", special_tokens=OWN)),
    "bpe-none": (BPETokenizer, BPEConfig(vocab_size=400, pattern="none", special_tokens=OWN)),
    "word": (WordTokenizer, WordConfig(special_tokens=OWN)),
    "word-lower": (WordTokenizer, WordConfig(min_frequency=1, lowercase=True, special_tokens=OWN)),
    "wordpiece": (WordPieceTokenizer, WordPieceConfig(vocab_size=160, special_tokens=OWN)),
    "wordpiece-raw": (WordPieceTokenizer, WordPieceConfig(vocab_size=160, special_tokens=OWN, **RAW)),
    "unigram": (UnigramTokenizer, UnigramConfig(vocab_size=330, special_tokens=OWN)),
    "unigram-unknown": (
        UnigramTokenizer,
        UnigramConfig(vocab_size=100, pattern="gpt4", byte_fallback=False, special_tokens=OWN),
    ),
    "unigram-uncut": (UnigramTokenizer, UnigramConfig(vocab_size=330, pattern="none", special_tokens=OWN)),
    "sentencepiece": (SentencePieceTokenizer, SentencePieceConfig(vocab_size=330, special_tokens=OWN)),
    "sentencepiece-bpe": (SentencePieceTokenizer, SentencePieceConfig(model="bpe", vocab_size=330, special_tokens=OWN)),
    "sentencepiece-nmt": (
        SentencePieceTokenizer,
        SentencePieceConfig(
            vocab_size=330, normalization="nmt_nfkc", remove_extra_whitespaces=True, special_tokens=OWN
        ),
    ),
    "sentencepiece-unknown": (
        SentencePieceTokenizer,
        SentencePieceConfig(
            model="bpe",
            vocab_size=100,
            add_dummy_prefix=False,
            byte_fallback=False,
            normalization="nfkc",
            special_tokens=OWN,
        ),
    ),
    "hf": (HFTokenizer, HFConfig(vocab_size=330)),
}
TOKENIZERS = {name: cls.train(CORPUS, config) for name, (cls, config) in PARTS.items()}
KEEPS_ALL = ("byte", "bpe", "bpe-gpt4", "bpe-none", "unigram", "unigram-uncut", "hf")
KEEPS_ALL_BUT_MARKERS = ("sentencepiece", "sentencepiece-bpe")  # a U+2581 comes back as a space

ANY_TEXT = st.text(st.characters(), max_size=20)  # with lone surrogates
TRICKY = st.text(
    st.sampled_from("fair oul,'sl1 \t\n\r\x00\x01\x0b\u200b\u2581\ufffd\ud83d\ude00世👍\u200d#▁é\u0301ﬁİ"), max_size=20
)
NAMES = st.lists(st.sampled_from(["<S>", "<S>!", "<EOS>", "[SEP]", "<", "fair", " "]), max_size=6).map("".join)
TEXT = st.one_of(ANY_TEXT, TRICKY, NAMES)

each = pytest.mark.parametrize("name", PARTS)


@each
@given(text=TEXT)
@example(text="\x00 \ud83d\ude00\udfff\r\n\ufffd<EOS>")
@THOROUGH
def test_text_comes_back_and_gives_no_special_token(name, text):
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text)
    assert all(type(i) is int and 0 <= i < tokenizer.vocab_size for i in ids)
    assert not set(ids) & (set(tokenizer.special_tokens.values()) - {tokenizer.unk_id})
    once = tokenizer.decode(ids)
    if name in KEEPS_ALL:
        assert once == text
        assert tokenizer.decode(ids, skip_special=False) == text
        assert tokenizer.decode_bytes(ids) == text_to_bytes(text)
    elif name in KEEPS_ALL_BUT_MARKERS:
        assert once == text.replace("\u2581", " ")
    elif tokenizer.unk_id not in ids or tokenizer.kind != "sentencepiece":
        assert tokenizer.decode(tokenizer.encode(once)) == once


@pytest.mark.parametrize("name", [*KEEPS_ALL, *KEEPS_ALL_BUT_MARKERS])
@given(data=st.binary(max_size=40))
@THOROUGH
def test_all_bytes_can_be_spelled(name, data):
    tokenizer = TOKENIZERS[name]
    spelled = getattr(tokenizer, "byte_ids", None) or BYTES[name]
    assert tokenizer.decode_bytes([spelled[byte] for byte in data]) == data


BYTES = {
    name: [{token: i for i, token in tokenizer.vocab.items()}.get(bytes((byte,))) for byte in range(256)]
    for name, tokenizer in TOKENIZERS.items()
}


@each
@given(chunks=st.lists(TEXT, max_size=5))
@THOROUGH
def test_chunked_equals_whole(name, chunks):
    tokenizer, whole = TOKENIZERS[name], "".join(chunks)
    assert list(tokenizer.encode_iterable(chunks)) == tokenizer.encode(whole)
    ids = list(tokenizer.encode_iterable(chunks, allowed_special="all"))
    assert ids == tokenizer.encode(whole, allowed_special="all")


@each
@given(
    numbers=st.lists(st.integers(0, 499), max_size=16),
    cuts=st.tuples(*[st.integers(0, 16)] * 3),
    skip=st.booleans(),
)
@THOROUGH
def test_a_stream_says_what_decode_says(name, numbers, cuts, skip):
    tokenizer = TOKENIZERS[name]
    # Ids cut into pushes, and a second text after it: flush starts afresh.
    ids = [i % tokenizer.vocab_size for i in numbers]
    cuts = sorted(cut % (len(ids) + 1) for cut in cuts)
    decoder = tokenizer.stream_decoder(skip_special=skip)
    for pushes in ((ids[: cuts[0]], ids[cuts[0] : cuts[1]]), (ids[cuts[1] : cuts[2]], ids[cuts[2] :])):
        pieces = [*map(decoder.push, pushes), decoder.flush()]
        assert "".join(pieces) == tokenizer.decode([i for push in pushes for i in push], skip_special=skip)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    made = {}
    for name, tokenizer in TOKENIZERS.items():
        folder = tmp_path_factory.mktemp(name)
        tokenizer.save(folder)
        made[name] = PARTS[name][0].load(folder)
    return made


@each
@given(text=TEXT)
@THOROUGH
def test_saved_and_loaded_does_the_same(loaded, name, text):
    for allowed in ("none", "all"):
        ids = TOKENIZERS[name].encode(text, allowed_special=allowed)
        assert loaded[name].encode(text, allowed_special=allowed) == ids
    assert loaded[name].decode_bytes(ids) == TOKENIZERS[name].decode_bytes(ids)


@given(name=st.sampled_from(list(PARTS)), texts=st.lists(TEXT, min_size=1, max_size=4))
@example(name="wordpiece", texts=["\ud800\udc00"] * 2)  # a pair of surrogates is not the character it stands for
@example(name="char", texts=["\ud800\udc00"])
@THOROUGH
def test_whatever_was_learned_can_be_saved_and_does_not_depend_on_order(tmp_path_factory, name, texts):
    cls, config = PARTS[name]
    if name == "bpe":
        config = dataclasses.replace(config, min_frequency=1)
    texts = [*texts, "fair is fair"]
    tokenizer = cls.train(texts, config)
    assert cls.train(iter(texts[::-1]), config).vocab == tokenizer.vocab
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(directory)
    loaded = cls.load(directory)
    assert loaded.vocab == tokenizer.vocab
    assert loaded.encode_batch(texts) == tokenizer.encode_batch(texts)


@each
@given(text=TEXT, allowed=st.sampled_from(["none", "all"]))
@THOROUGH
def test_offsets_slice_the_text(name, text, allowed):
    tokenizer = TOKENIZERS[name]
    ids, spans = tokenizer.encode_with_offsets(text, allowed_special=allowed)
    assert ids == tokenizer.encode(text, allowed_special=allowed)
    assert len(spans) == len(ids)
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    starts = [start for start, end in spans if start < end]
    assert starts == sorted(starts)
    special = set(tokenizer.special_tokens.values()) - {tokenizer.unk_id}
    for i, (start, end) in zip(ids, spans, strict=True):
        token, part = tokenizer.vocab[i], text[start:end]
        if i in special:
            assert text_to_bytes(part) == token
        elif i != tokenizer.unk_id and name in KEEPS_ALL:
            assert token in text_to_bytes(part)
        elif i != tokenizer.unk_id and name in SAME_TEXT:
            assert text_to_bytes(SAME_TEXT[name](part)) == SAME_TEXT_OF_TOKEN[name](token)
    if name in ("char", *KEEPS_ALL, *KEEPS_ALL_BUT_MARKERS):
        assert {place for start, end in spans for place in range(start, end)} == set(range(len(text)))


# How the text of a span and that of its token are made the same, where the token is no part of the text.
SAME_TEXT = {"char": str, "word": str, "word-lower": str.lower, "wordpiece-raw": str}
SAME_TEXT_OF_TOKEN = {
    "char": bytes,
    "word": bytes,
    "word-lower": bytes,
    "wordpiece-raw": lambda token: token.removeprefix(b"##") if len(token) > 2 else token,
}
