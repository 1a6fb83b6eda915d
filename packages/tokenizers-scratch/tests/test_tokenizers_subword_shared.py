"""What holds for the word and subword tokenizers: streams, files, special tokens, bad ids, hostile input."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch import storage
from tokenizers_scratch.config_subword import SentencePieceConfig, UnigramConfig, WordConfig, WordPieceConfig
from tokenizers_scratch.errors import (
    EmptyCorpusError,
    SpecialTokenError,
    TokenizerFileError,
    UnknownIdError,
    VocabularyTooSmallError,
)
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.word import WordTokenizer
from tokenizers_scratch.wordpiece import WordPieceTokenizer

CORPUS = ["Fair is foul, and foul is fair: hover through the fog and filthy air.", "ďábelské 👍 世界\r\n\x00\ud800"] * 3
OWN = ("<S>", "<S>!")  # one begins with the other
PARTS = {
    "word": (WordTokenizer, WordConfig(special_tokens=OWN)),
    "word-lower": (WordTokenizer, WordConfig(min_frequency=1, lowercase=True, special_tokens=OWN)),
    "wordpiece": (WordPieceTokenizer, WordPieceConfig(vocab_size=160, special_tokens=OWN)),
    "wordpiece-raw": (
        WordPieceTokenizer,
        WordPieceConfig(
            vocab_size=160, lowercase=False, clean_text=False, handle_chinese_chars=False, special_tokens=OWN
        ),
    ),
    "unigram": (UnigramTokenizer, UnigramConfig(vocab_size=330, special_tokens=OWN)),
    "unigram-unknown": (
        UnigramTokenizer,
        UnigramConfig(vocab_size=100, pattern="gpt4", byte_fallback=False, special_tokens=OWN),
    ),
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
    "unigram-uncut": (UnigramTokenizer, UnigramConfig(vocab_size=330, pattern="none", special_tokens=OWN)),
}
TOKENIZERS = {name: cls.train(CORPUS, config) for name, (cls, config) in PARTS.items()}

ANY_TEXT = st.text(st.characters())  # with lone surrogates
TRICKY = st.text(st.sampled_from("fair oul,'sl1 \t\n\r\x00\x01\x0b\u200b\u2581\ufffd\ud83d\ude00世👍\u200d#▁é\u0301"))
TEXT = st.one_of(ANY_TEXT, TRICKY)

each_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
each_part = pytest.mark.parametrize("name", PARTS)


def train(name, texts, **changes):
    cls, config = PARTS[name]
    return cls.train(texts, dataclasses.replace(config, **changes))


@each_tokenizer
def test_special_tokens_are_text_unless_allowed(tokenizer):
    special = set(tokenizer.special_tokens.values()) - {tokenizer.unk_id}
    names = list(tokenizer.special_tokens)
    for name in names:
        assert not special & set(tokenizer.encode(f"fair {name} foul{name}"))
    own = tokenizer.special_tokens
    ids = tokenizer.encode("fair<S>! is<S><S>", allowed_special="all")
    assert [i for i in ids if i in special] == [own["<S>!"], own["<S>"], own["<S>"]]
    assert tokenizer.decode([own["<S>"]]) == ""
    assert "<S>" in tokenizer.decode(ids, skip_special=False)
    assert own["<S>!"] not in tokenizer.encode("a<S>!", allowed_special={"<S>"})
    with pytest.raises(SpecialTokenError):
        tokenizer.encode("a<S>", allowed_special="none_raise")


@each_tokenizer
@given(texts=st.lists(TEXT))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_a_batch_is_its_rows(tokenizer, texts):
    rows = tokenizer.encode_batch(texts)
    assert rows == [tokenizer.encode(text) for text in texts]
    assert tokenizer.decode_batch(rows) == [tokenizer.decode(row) for row in rows]


@each_tokenizer
def test_a_stream_keeps_its_state_when_an_id_is_refused(tokenizer):
    ids = tokenizer.encode(CORPUS[0])
    decoder = tokenizer.stream_decoder()
    text = decoder.push(ids[:4])
    with pytest.raises(UnknownIdError):
        decoder.push([ids[4], 10**6])
    text += decoder.push(ids[4:]) + decoder.flush()
    assert text == tokenizer.decode(ids)


@each_tokenizer
def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = type(tokenizer).load(tmp_path / "new" / "folder")
    assert loaded.vocab == tokenizer.vocab
    assert loaded.special_tokens == tokenizer.special_tokens
    assert (loaded.pad_id, loaded.unk_id, loaded.bos_id, loaded.eos_id) == (0, 1, 2, 3)
    for text in (*CORPUS, "something else: ž \udc00"):
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text)) == tokenizer.decode(tokenizer.encode(text))
    loaded.save(tmp_path / "again")
    (file,) = (tmp_path / "again").iterdir()
    assert file.read_bytes() == (tmp_path / "new" / "folder" / file.name).read_bytes()


@each_tokenizer
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("wrong", [-1, 10**6, 10**30, 1.0, "a", None], ids=repr)
def test_an_id_without_token_is_named(tokenizer, skip, wrong):
    with pytest.raises(UnknownIdError) as caught:
        tokenizer.decode([5, wrong, 6], skip_special=skip)
    assert str(caught.value) == f"id {wrong!r} is no token: ids are the integers 0 to {tokenizer.vocab_size - 1}"
    assert caught.value.exit_code == 3


@each_tokenizer
def test_the_empty_text_and_copies(tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""
    assert list(tokenizer.encode_iterable(["", ""])) == []
    assert copy.deepcopy(tokenizer).encode(CORPUS[0]) == tokenizer.encode(CORPUS[0])
    assert "".join(tokenizer.tokenize("foul")).strip("\u2581") == "foul"


@each_part
@pytest.mark.parametrize("texts", [[], [""], iter(())])
def test_an_empty_corpus(name, texts):
    with pytest.raises(EmptyCorpusError, match=r"^the training text is empty") as caught:
        train(name, texts)
    assert caught.value.exit_code == 3


@each_part
def test_one_text_instead_of_several(name):
    with pytest.raises(TypeError, match="got one text where several"):
        train(name, "abc")
    with pytest.raises(TypeError, match="got bytes where a text"):
        train(name, [b"abc"])


@pytest.mark.parametrize("name", ["word", "wordpiece", "unigram", "sentencepiece-bpe"])
def test_a_word_of_a_megabyte_takes_seconds(name):
    rng = random.Random(0)
    word = "".join(rng.choices("abcdefgh", k=500_000)) + "a" * 500_000
    start = time.perf_counter()
    tokenizer = train(name, [word, "fair is fair"])
    ids = tokenizer.encode(word)
    assert tokenizer.decode(ids) in (word, "")
    assert time.perf_counter() - start < 60


@each_part
def test_a_binary_file_is_learned_from_or_refused(name):
    data = random.Random(0).randbytes(20_000).decode("latin-1")
    try:
        tokenizer = train(name, [data, "fair is fair is"])
    except VocabularyTooSmallError as error:
        tokenizer = train(name, [data, "fair is fair is"], vocab_size=error.needed)
    assert tokenizer.decode(tokenizer.encode("fair is")) == "fair is"


@pytest.mark.parametrize("name", [name for name in PARTS if name != "unigram-uncut"])
def test_encode_iterable_is_lazy(name):
    tokenizer = TOKENIZERS[name]
    words = ["the cat ", "sat on ", "a mat. "]
    chunks = (words[i % 3] for i in range(100_000))
    tokenizer.encode("".join(words))
    tracemalloc.start()
    ids = tokenizer.encode_iterable(chunks)
    for _ in range(10_000):
        next(ids)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**18


def refused(cls, path, reason):
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        cls.load(path.parent)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)


@each_tokenizer
def test_every_key_is_needed_once_and_of_its_type(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    path = tmp_path / storage.FILE_NAME
    text = path.read_text(encoding="utf-8")
    for key in json.loads(text):
        content = json.loads(text)
        del content[key]
        path.write_text(json.dumps(content), encoding="utf-8")
        refused(type(tokenizer), path, f"'{key}' is missing|no tokenizer file|is unknown|holds a None")
        for wrong in ([[1]], {"a": "b"}, 1.5, None, [{}], "wrong"):
            path.write_text(json.dumps(json.loads(text) | {key: wrong}), encoding="utf-8")
            refused(type(tokenizer), path, ".")


@each_tokenizer
def test_any_damage_is_refused_or_harmless(tokenizer, tmp_path):
    """Flip, cut, repeat bytes: either a typed error, or a tokenizer that still works."""
    tokenizer.save(tmp_path)
    path = tmp_path / storage.FILE_NAME
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(150):
        data = bytearray(whole)
        place = rng.randrange(len(data))
        kind = rng.randrange(3)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place:]
        else:
            data[place:place] = data[place : place + rng.randrange(1, 40)]
        path.write_bytes(data)
        try:
            loaded = type(tokenizer).load(path.parent)
        except TokenizerFileError:
            continue
        loaded.decode(loaded.encode("fair is foul <PAD>"))


@each_tokenizer
def test_offsets_slice_the_text(tokenizer):
    text = " Fair  is<S> foul"
    ids, spans = tokenizer.encode_with_offsets(text, allowed_special="all")
    for i, (start, end) in zip(ids, spans, strict=True):
        token = tokenizer.vocab[i].decode("utf-8", "replace").removeprefix("##").replace("\u2581", " ")
        if i != tokenizer.unk_id and token.strip(" "):
            assert text[start:end].strip(" ").lower() == token.strip(" ").lower()
