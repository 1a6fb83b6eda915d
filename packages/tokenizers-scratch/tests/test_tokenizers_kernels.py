"""Kernels are held to plain Python: the same words, ids and merges, for any text, vocabulary, pattern and threads."""

from __future__ import annotations

import copy
import random
from collections import Counter
from functools import cache

import numpy as np
import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenizers_scratch import bpe_reference, bpe_train
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.bpe_encode import LONG
from tokenizers_scratch.byte_alphabet import BYTE_ORDER
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.kernels import classes, documents, encoder, trainer
from tokenizers_scratch.kernels.long_words import LONGEST_SCANNED
from tokenizers_scratch.kernels.splitting import PATTERN_NUMBERS
from tokenizers_scratch.kernels.words import LONGEST
from tokenizers_scratch.patterns import PATTERNS
from tokenizers_scratch.utf8 import text_to_bytes

thorough = settings.get_profile("tokenizers")

TRICKY = st.text(
    st.sampled_from("aZsdmtlvreSLſ'’1²Ⅷ!.世é \t\n\r\x0b\x1c\x85\u00a0\u3000\x00\ud800\udfff👍\u200d"), max_size=60
)
RUNS = st.lists(st.tuples(st.sampled_from(["a", " ", "\n", "the ", "0", "世", "é!", "'s"]), st.integers(1, 40))).map(
    lambda runs: "".join(text * n for text, n in runs)
)
TEXT = st.one_of(TRICKY, RUNS, st.text(st.characters()))
CORPUS = [
    "Call me Ishmael. Some years ago--never mind how long precisely--it's 1851, and WE'LL don’t   stop.\n\n" * 3,
    "def f(x):\n    return {'a': x ** 2}  # ok\r\n\tif x != 10_000:\n        pass\n" * 3,
    "吾輩は猫である。名前はまだ無い。\n" * 3,
    "👩‍👩‍👧‍👦 👍🏽 naïve ďábelské   aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 3,
]

each_pattern = pytest.mark.parametrize("pattern", PATTERNS)


@cache
def trained(pattern, seed=0):
    rng = random.Random(seed)
    config = BPEConfig(vocab_size=rng.randint(260, 700), pattern=pattern, min_frequency=rng.randint(1, 2))
    return BPETokenizer.train(CORPUS, config)


def kernels_of(tokenizer):
    """A new encoder, whose table of words is empty."""
    return encoder.Encoder(tokenizer.pattern, tokenizer._id_of_byte, list(tokenizer._ranks), tokenizer._products)


def plain_ids(tokenizer, text):
    return [i for word in tokenizer._pattern.split(text) for i in tokenizer._encode_word(word)]


def rows(ids, ends):
    return [part.tolist() for part in np.split(ids, ends[:-1])]


def test_the_class_of_every_code_point_is_that_of_regex():
    table = classes.class_table()
    assert len(table) == 0x110000
    assert not table.flags.writeable
    everything = "".join(map(chr, range(0x110000)))
    for kind, expression in ((classes.LETTER, r"\p{L}"), (classes.NUMBER, r"\p{N}"), (classes.WHITE, r"\s")):
        assert list(map(ord, regex.findall(expression, everything))) == np.flatnonzero(table == kind).tolist()


@each_pattern
@given(texts=st.lists(TEXT, min_size=1), seed=st.integers(0, 5))
@example(texts=["don'", "t", "'l", "l we'll", "'ſa'S"], seed=0)
@example(texts=["x  \n ", " \n", " y"], seed=1)
@thorough
def test_ids_equal_plain_python(pattern, texts, seed):
    tokenizer = trained(pattern, seed)
    kernels = kernels_of(tokenizer)
    expected = [plain_ids(tokenizer, text) for text in texts]
    assert rows(*kernels.encode(texts)) == expected
    assert rows(*kernels.encode(texts)) == expected  # now from the table


@given(texts=st.lists(TEXT.filter(bool), min_size=1), word=TEXT.filter(bool), extra=st.integers(0, 60))
@thorough
def test_ids_equal_the_textbook_for_any_vocabulary(texts, word, extra):
    tokens, merges = bpe_reference.learn_merges(Counter(map(text_to_bytes, texts)), n_tokens=256 + extra)
    tokenizer = BPETokenizer(dict(enumerate(tokens)), merges, pattern="none")
    ids, _ = kernels_of(tokenizer).encode([word])
    assert [tokens[i] for i in ids] == bpe_reference.encode_word(text_to_bytes(word), merges)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 15, 16, 17, LONGEST, LONGEST_SCANNED, LONGEST_SCANNED + 1, 5000])
def test_words_of_every_length(length):
    tokenizer = trained("none")
    kernels = kernels_of(tokenizer)
    rng = random.Random(length)
    words = ["a" * length, *("".join(rng.choices("the aerin.", k=length)) for _ in range(20))]
    for _ in range(2):
        assert rows(*kernels.encode(words)) == [plain_ids(tokenizer, word) for word in words]


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
@given(texts=st.lists(TEXT, min_size=1), size=st.integers(1, 30))
@thorough
def test_cutting_texts_into_pieces_changes_no_word(pattern, texts, size):
    data, bounds = documents.join(texts)
    pieces, last = documents.pieces(data, bounds, PATTERN_NUMBERS[pattern], size)
    cut = [data[start:stop].tobytes().decode("utf-8", "surrogatepass") for start, stop in pieces.tolist()]
    first = 0
    for text, end in zip(texts, last, strict=True):
        parts = cut[first : end + 1]
        assert "".join(parts) == text
        assert [word for part in parts for word in PATTERNS[pattern].split(part)] == PATTERNS[pattern].split(text)
        first = end + 1
    covered = [i for group in documents.groups(pieces, size) for i in range(group.start, group.stop)]
    assert covered == list(range(len(pieces)))


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(pattern, threads, monkeypatch):
    monkeypatch.setattr(encoder, "_PIECE", 100)
    tokenizer = trained(pattern)
    texts = [*CORPUS, "", "a", "".join(CORPUS), ""]
    one, many = kernels_of(tokenizer).encode(texts), kernels_of(tokenizer).encode(texts, threads)
    assert rows(*one) == rows(*many) == [plain_ids(tokenizer, text) for text in texts]


def test_the_table_grows_and_forgets(monkeypatch):
    tokenizer = trained("gpt2")
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = " ".join("".join(rng.choices(letters, k=rng.choice([3, 8, 14, 15, 16, 40]))) for _ in range(30_000))
    expected = plain_ids(tokenizer, text)
    kernels = kernels_of(tokenizer)
    assert kernels.encode([text])[0].tolist() == expected
    assert len(kernels._idle[0].table.rows) > 2**15
    monkeypatch.setattr(encoder, "_MOST_ROWS", 2**14)
    kernels = kernels_of(tokenizer)
    assert kernels.encode([text])[0].tolist() == expected
    assert len(kernels._idle[0].table.rows) == 2**14


def test_the_room_for_a_huge_word_is_given_back():
    kernels = kernels_of(trained("none"))
    assert len(kernels.encode(["a" * 300_000])[0]) > 0
    assert len(kernels._idle[0].space.heap) == 0


def test_a_copy_of_a_tokenizer_with_kernels_works(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_SCRATCH_KERNELS", "always")
    tokenizer = BPETokenizer.train(CORPUS, BPEConfig())
    text = "".join(CORPUS) * 2
    assert len(text) > LONG
    ids = tokenizer.encode(text)
    assert tokenizer._kernels._encoder is not None
    assert copy.deepcopy(tokenizer).encode(text) == ids == plain_ids(tokenizer, text)


def train(texts, pattern, threads, **options):
    learner = trainer.Trainer(pattern, threads)
    learner.count(texts)
    return learner.learn(**{"max_token_length": None, "byte_order": BYTE_ORDER, "ties": "ids"} | options)


OPTIONS = st.fixed_dictionaries(
    {
        "n_tokens": st.integers(256, 300),
        "min_frequency": st.integers(1, 3),
        "max_token_length": st.none() | st.integers(1, 6),
        "ties": st.sampled_from(["ids", "lexicographic"]),
        "byte_order": st.sampled_from([BYTE_ORDER, tuple(range(256))]),
    }
)
FEW_LETTERS = st.text(st.sampled_from("ab 1世"), max_size=60)


@each_pattern
@given(texts=st.lists(st.one_of(FEW_LETTERS, RUNS, TEXT), max_size=8), options=OPTIONS, threads=st.integers(1, 3))
@thorough
def test_merges_equal_the_naive_recount(pattern, texts, options, threads):
    counts = Counter(text_to_bytes(word) for text in texts for word in PATTERNS[pattern].split(text))
    expected = bpe_reference.learn_merges(counts, **options)
    assert bpe_train.learn_merges(counts, **options) == expected
    assert train(texts, pattern, threads, **options) == expected


def test_ties_by_text_go_to_the_greatest_pair():
    text = "ab cd zy xw  ab cd zy xw éé\n" * 3
    tokenizer = BPETokenizer.train([text], BPEConfig(ties="lexicographic"))
    assert [(left + right).decode() for left, right in tokenizer.merges[:5]] == ["é", "zy", "xw", "cd", "ab"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_training_is_the_same_for_all_threads_and_orders(threads, monkeypatch):
    monkeypatch.setattr(trainer, "_PIECE", 200)
    texts = [*CORPUS, *(f"word{i % 300} in line {i}\r\n" for i in range(3000))]
    random.Random(threads).shuffle(texts)
    counts = Counter(text_to_bytes(word) for text in texts for word in PATTERNS["gpt2"].split(text))
    expected = bpe_train.learn_merges(counts, n_tokens=700)
    assert train(texts, "gpt2", threads, n_tokens=700, min_frequency=1) == expected


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_training_takes_line_ends_as_they_are(line_end, monkeypatch):
    texts = ["".join(CORPUS).replace("\r\n", "\n").replace("\n", line_end)]
    config = BPEConfig(vocab_size=500, pattern="gpt4")
    plain = BPETokenizer.train(texts, config)
    monkeypatch.setenv("TOKENIZERS_SCRATCH_KERNELS", "always")
    for threads in (1, 2):
        assert BPETokenizer.train(texts, config, threads=threads).merges == plain.merges


def test_a_word_too_long_for_the_table():
    texts = ["ab" * 40_000, "ab" * 40_000, "ab" * 40_001, "ab ab"]
    counts = Counter(map(text_to_bytes, texts))
    expected = bpe_train.learn_merges(counts, n_tokens=290, min_frequency=2)
    for threads in (1, 2):
        assert train(texts, "none", threads, n_tokens=290, min_frequency=2) == expected
