"""Training: equal to a naive recount and to HF tokenizers, merge for merge, and never more than it should read."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch import bpe_reference, bpe_train
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte_alphabet import BYTE_ORDER, from_stand_ins, to_stand_ins
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.patterns import PATTERNS, whole_words

DATA = Path(__file__).parents[4] / "shared" / "data"
STANDARD = ["<PAD>", "<UNK>", "<BOS>", "<EOS>"]

FEW_LETTERS = st.binary().map(lambda data: bytes(97 + byte % 3 for byte in data))
RUNS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"ab"]), st.integers(1, 9))).map(
    lambda runs: b"".join(letters * n for letters, n in runs)
)
WORD_COUNTS = st.dictionaries(st.one_of(FEW_LETTERS, RUNS, st.binary(max_size=8)), st.integers(1, 5), max_size=8)


@given(
    word_counts=WORD_COUNTS,
    extra=st.integers(0, 40),
    min_frequency=st.integers(1, 4),
    longest=st.none() | st.integers(1, 6),
)
@settings(deadline=None, derandomize=True, max_examples=500)
def test_equals_the_naive_recount(word_counts, extra, min_frequency, longest):
    options = {"n_tokens": 256 + extra, "min_frequency": min_frequency, "max_token_length": longest}
    tokens, merges = bpe_train.learn_merges(word_counts, **options)
    assert (tokens, merges) == bpe_reference.learn_merges(word_counts, **options)
    assert len(set(tokens)) == len(tokens) == 256 + len(merges)  # no two merges give the same bytes


def test_no_token_is_longer_than_asked():
    text = ["=" * 70 + " ab ab"] * 3
    tokenizer = BPETokenizer.train(text, BPEConfig(vocab_size=300, max_token_length=5))
    assert max(map(len, (left + right for left, right in tokenizer.merges))) == 4
    assert (b"a", b"b") in tokenizer.merges  # what is passed over does not end the training


def test_a_longest_token_is_hfs():
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    rng = random.Random(5)
    texts = [" ".join("".join(rng.choices("ab=", k=rng.randint(1, 12))) for _ in range(40)) for _ in range(20)]
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE())
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, max_token_length=5, show_progress=False
    )  # a token of HF's has to be shorter than that
    oracle.train_from_iterator(texts, trainer)
    theirs = [tuple(merge) for merge in json.loads(oracle.to_str())["model"]["merges"]]
    ours = BPETokenizer.train(texts, BPEConfig(vocab_size=334, min_frequency=1, max_token_length=4)).merges
    assert [(to_stand_ins(left), to_stand_ins(right)) for left, right in ours] == theirs


def test_ties_go_to_the_smallest_ids():
    text = "ab cd zy xw  ab cd zy xw éé\n" * 3
    tokenizer = BPETokenizer.train([text], BPEConfig())
    assert [left + right for left, right in tokenizer.merges[:4]] == [b"ab", b"cd", b"xw", b"zy"]


def test_overlapping_pairs_are_counted_by_sliding_window():
    # "aaaa" holds (a, a) three times, (b, c) occurs twice: with non-overlapping counts it would be a tie.
    assert bpe_train.learn_merges({b"aaaa": 1, b"bc": 2}, n_tokens=257)[1] == [(b"a", b"a")]
    # Merged from the left: aa aa a.
    assert bpe_train.learn_merges({b"aaaaa": 1}, n_tokens=258)[1] == [(b"a", b"a"), (b"aa", b"a")]


def test_known_answer():
    tokenizer = BPETokenizer.train(["aaabdaaabac"], BPEConfig(vocab_size=263, min_frequency=1))
    assert tokenizer.tokenize("aaabdaaabac") == ["aaab", "d", "aaab", "a", "c"]


def test_ids_are_special_tokens_then_bytes_in_gpt2_order_then_merges():
    tokenizer = BPETokenizer.train(["abab"], BPEConfig(special_tokens=("<S>",)))
    assert tokenizer.encode("!") == [5]
    assert tokenizer.encode("\x00") == [5 + 188]
    assert tokenizer.encode(" ") == [5 + 220]
    assert tokenizer.encode("ab") == [5 + 256]
    assert [tokenizer.vocab[5 + i][0] for i in range(256)] == list(BYTE_ORDER)


def test_stops_when_merges_run_out():
    tokenizer = BPETokenizer.train(["xyz"], BPEConfig(vocab_size=5000, min_frequency=1))
    assert tokenizer.merges == ((b"x", b"y"), (b"xy", b"z"))
    assert tokenizer.vocab_size == 262
    assert BPETokenizer.train(["xyz"], BPEConfig(vocab_size=5000)).vocab_size == 260  # every pair occurs once
    assert BPETokenizer.train(["xyxy"], BPEConfig(vocab_size=260)).merges == ()


def test_no_merge_crosses_from_one_text_into_the_next():
    assert BPETokenizer.train(["a", "b"] * 9, BPEConfig()).merges == ()


@pytest.mark.parametrize("pattern", PATTERNS)
@given(chunks=st.lists(st.text(st.sampled_from("ab'l 1\n.世")), min_size=1).filter(any))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_one_text_in_chunks_trains_as_the_whole(pattern, chunks):
    config = BPEConfig(pattern=pattern, min_frequency=1, vocab_size=290)
    whole = BPETokenizer.train(["".join(chunks)], config)
    assert BPETokenizer.train(whole_words(chunks, PATTERNS[pattern]), config).merges == whole.merges


def test_a_text_longer_than_the_window_trains_as_a_whole():
    text = "".join(random.Random(0).choices(["the ", "cat ", "s", "at", "\n\n", "!"], k=60_000))
    assert len(text) > 2 * 2**16
    counted = BPETokenizer.train([text], BPEConfig(vocab_size=300))
    words = PATTERNS["gpt2"].split(text)
    assert counted.merges == BPETokenizer.train(words, BPEConfig(vocab_size=300)).merges


def hf_train(tokenizers, texts, vocab_size, min_frequency, pattern):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    parts = [tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    if pattern != "none":
        expression = tokenizers.Regex(PATTERNS[pattern].split.__self__.pattern)
        parts.insert(0, tokenizers.pre_tokenizers.Split(expression, "isolated"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(parts)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=STANDARD,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return tokenizer, model["vocab"], [tuple(map(from_stand_ins, pair)) for pair in model["merges"]]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_equals_hf_tokenizers_on_random_texts(pattern):
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle is HF tokenizers")
    rng = random.Random(0)
    for _ in range(150):
        letters = rng.choice(["ab", "abc ", "aab 1", "a世 é"])
        texts = ["".join(rng.choices(letters, k=rng.randint(1, 40))) for _ in range(rng.randint(1, 5))]
        config = BPEConfig(vocab_size=260 + rng.randint(0, 40), pattern=pattern, min_frequency=rng.randint(1, 3))
        tokenizer, vocab, merges = hf_train(tokenizers, texts, config.vocab_size, config.min_frequency, pattern)
        ours = BPETokenizer.train(texts, config)
        assert list(ours.merges) == merges, texts
        special = set(ours.special_tokens.values())
        assert vocab == {t.decode() if i in special else to_stand_ins(t): i for i, t in ours.vocab.items()}
        assert [ours.encode(text) for text in texts] == [tokenizer.encode(text).ids for text in texts]


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("tinyshakespeare.txt", "gpt2"), ("wikitext2-valid.txt", "gpt4"), ("japanese-novel.txt", "gpt2")],
)
def test_equals_hf_tokenizers_on_real_text(file, pattern):
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle is HF tokenizers")
    if not (DATA / file).exists():
        pytest.skip("the shared texts are not here")
    text = (DATA / file).read_bytes()[:150_000].decode("utf-8", "ignore")
    tokenizer, _, merges = hf_train(tokenizers, [text], 3000, 2, pattern)
    ours = BPETokenizer.train([text], BPEConfig(vocab_size=3000, pattern=pattern))
    assert list(ours.merges) == merges
    assert ours.vocab_size == 3000
    assert ours.encode(text) == tokenizer.encode(text).ids


def test_one_long_word_trains_in_bounded_time():
    # The work follows the symbols merged. Recounting 25 times a million symbols would take a minute.
    tokenizer = BPETokenizer.train(["a" * 300_000], BPEConfig(pattern="none", min_frequency=1))
    assert max(map(len, tokenizer.vocab.values())) == 300_000


@pytest.mark.parametrize("kernels", ["never", "always"])
def test_memory_grows_with_the_different_words_not_with_the_text(kernels, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_SCRATCH_KERNELS", kernels)

    def peak(n):
        tracemalloc.start()
        BPETokenizer.train(("the cat sat on the mat and on the hat " * 100 for _ in range(n)), BPEConfig())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(50) < 1.5 * peak(5)
