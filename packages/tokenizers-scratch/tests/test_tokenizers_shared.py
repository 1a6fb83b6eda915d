"""What holds for every tokenizer: round trips, streams, files, bad ids."""

from __future__ import annotations

import copy
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig
from tokenizers_scratch.errors import EmptyCorpusError, UnknownIdError

CORPUS = ["Fair is foul, and foul is fair: hover through the fog and filthy air.", "ďábelské 👍 世界\r\n\x00\ud800"] * 3
CONFIGS = {"byte": ByteConfig(), "char": CharConfig(), "bpe": BPEConfig(vocab_size=330)}
CLASSES = {"byte": ByteTokenizer, "char": CharTokenizer, "bpe": BPETokenizer}
TOKENIZERS = {name: CLASSES[name].train(CORPUS, CONFIGS[name]) for name in CLASSES}
TOKENIZERS["bpe-gpt4"] = BPETokenizer.train(CORPUS, BPEConfig(vocab_size=330, pattern="gpt4"))
TOKENIZERS["bpe-none"] = BPETokenizer.train(CORPUS, BPEConfig(vocab_size=400, pattern="none"))
LOSSLESS = [name for name in TOKENIZERS if name != "char"]

ANY_TEXT = st.text(st.characters())  # with lone surrogates
TRICKY = st.text(st.sampled_from("fair oul'sl1 \t\n\r\x00\ufffd\ud83d\ude00世👍\u200d"))
TEXT = st.one_of(ANY_TEXT, TRICKY)

each_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
each_lossless = pytest.mark.parametrize("tokenizer", [TOKENIZERS[name] for name in LOSSLESS], ids=LOSSLESS)


def any_ids(tokenizer):
    return st.lists(st.integers(0, tokenizer.vocab_size - 1))


@each_tokenizer
@given(texts=st.lists(TEXT))
@settings(deadline=None, derandomize=True)
def test_a_batch_is_its_rows(tokenizer, texts):
    rows = tokenizer.encode_batch(texts)
    assert rows == [tokenizer.encode(text) for text in texts]
    assert tokenizer.decode_batch(rows) == [tokenizer.decode(row) for row in rows]
    assert tokenizer.decode_batch(iter(rows), skip_special=False) == [
        tokenizer.decode(row, skip_special=False) for row in rows
    ]


@each_lossless
def test_a_stream_shows_no_half_characters(tokenizer):
    text = "ďábelské 👍 世界"
    decoder = tokenizer.stream_decoder()
    pieces = [decoder.push([i]) for i in tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert decoder.flush() == ""


def test_a_stream_ends_an_unfinished_character_and_starts_afresh():
    tokenizer = TOKENIZERS["byte"]
    decoder = tokenizer.stream_decoder()
    assert decoder.push(tokenizer.encode("世")[:2]) == ""
    with pytest.raises(UnknownIdError):
        decoder.push([9999])
    assert decoder.flush() == "\ufffd"
    assert decoder.push(tokenizer.encode("a")) == "a"


@each_tokenizer
def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = type(tokenizer).load(tmp_path / "new" / "folder")
    assert loaded.vocab == tokenizer.vocab
    assert loaded.special_tokens == tokenizer.special_tokens
    assert (loaded.pad_id, loaded.unk_id, loaded.bos_id, loaded.eos_id) == (0, 1, 2, 3)
    for text in (*CORPUS, "something else: ž \udc00"):
        assert loaded.encode(text) == tokenizer.encode(text)
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
    with pytest.raises(UnknownIdError):
        tokenizer.decode_batch([[5], [wrong]], skip_special=skip)


@each_tokenizer
def test_ids_may_come_in_any_iterable(tokenizer):
    class Array:  # what decoding needs of an array or tensor
        def __init__(self, values):
            self.values = values

        def tolist(self):
            return self.values

    ids = tokenizer.encode(CORPUS[0])
    assert tokenizer.decode(iter(ids)) == tokenizer.decode(tuple(ids)) == tokenizer.decode(Array(ids)) == CORPUS[0]
    assert tokenizer.decode_batch(Array([ids, ids])) == [CORPUS[0]] * 2


@each_tokenizer
def test_the_empty_text(tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.decode_batch([[]]) == [""]
    assert list(tokenizer.encode_iterable(["", ""])) == []


@each_tokenizer
def test_pieces_to_read(tokenizer):
    assert "".join(tokenizer.tokenize("Fair is foul")) == "Fair is foul"
    assert repr(tokenizer) == f"{type(tokenizer).__name__}(vocab_size={tokenizer.vocab_size})"


def test_pieces_of_a_character_show_their_bytes():
    assert TOKENIZERS["byte"].tokenize("é") == ["\\xc3", "\\xa9"]


@each_tokenizer
def test_a_copy_works(tokenizer):
    duplicate = copy.deepcopy(tokenizer)
    assert duplicate.encode(CORPUS[0]) == tokenizer.encode(CORPUS[0])


@pytest.mark.parametrize("name", ["char", "bpe"])
@pytest.mark.parametrize("texts", [[], [""], iter(())])
def test_an_empty_corpus(name, texts):
    with pytest.raises(EmptyCorpusError, match=r"^the training text is empty") as caught:
        CLASSES[name].train(texts, CONFIGS[name])
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["char", "bpe"])
def test_one_text_instead_of_several(name):
    with pytest.raises(TypeError, match="got one text where several"):
        CLASSES[name].train("abc", CONFIGS[name])
    with pytest.raises(TypeError, match="got bytes where a text"):
        CLASSES[name].train([b"abc"], CONFIGS[name])
    with pytest.raises(TypeError, match="got one text where several"):
        TOKENIZERS[name].encode_batch("abc")


@pytest.mark.parametrize("name", ["char", "bpe"])
@given(texts=st.lists(TEXT, min_size=1).filter(any), data=st.data())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_training_depends_neither_on_order_nor_on_the_kind_of_iterable(name, texts, data):
    first = CLASSES[name].train(texts, CONFIGS[name])
    second = CLASSES[name].train(iter(data.draw(st.permutations(texts))), CONFIGS[name])
    assert first.vocab == second.vocab


@pytest.mark.parametrize("name", ["byte", "char", "bpe", "bpe-gpt4"])  # "none" makes one word of the whole text
def test_encode_iterable_is_lazy(name):
    tokenizer = TOKENIZERS[name]
    words = ["the cat ", "sat on ", "a mat. "]
    chunks = (words[i % 3] for i in range(100_000))
    tokenizer.encode("".join(words))
    tracemalloc.start()
    ids = tokenizer.encode_iterable(chunks)
    for _ in range(20_000):
        next(ids)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**18
