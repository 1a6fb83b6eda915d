"""Encoding: the ids of GPT-2 and of a GPT-4-pattern vocabulary, equal to tiktoken and HF tokenizers; and its growth."""

from __future__ import annotations

import random
import time
import unicodedata
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch import bpe_reference
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte_alphabet import to_stand_ins
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.patterns import PATTERNS

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "gpt2_vocab.json").exists(), reason="GPT-2's files are not here")

PROSE = "Call me Ishmael. Some years ago--never mind how long precisely--it's 1851, and WE'LL don’t   stop.\n\n"
CODE = "def f(x):\n    return {'a': x ** 2}  # ok\r\n\tif x != 10_000:\n        pass\n"
CORPUS = [PROSE * 3, CODE * 3, "吾輩は猫である。名前はまだ無い。" * 3, "👩‍👩‍👧‍👦 👍🏽 naïve ďábelské" * 3]


@cache
def gpt2():
    return BPETokenizer.from_files(DATA / "gpt2_vocab.json", DATA / "gpt2_merges.txt", eos_token="<|endoftext|>")


@cache
def trained(pattern):
    return BPETokenizer.train(CORPUS, BPEConfig(vocab_size=600, pattern=pattern))


def expression(tokenizer):
    return PATTERNS[tokenizer.pattern].split.__self__.pattern


def tiktoken_twin(tiktoken, tokenizer):
    special = dict(tokenizer.special_tokens)
    ranks = {token: i for i, token in tokenizer.vocab.items() if i not in special.values()}
    return tiktoken.Encoding("twin", pat_str=expression(tokenizer), mergeable_ranks=ranks, special_tokens=special)


def hf_twin(tokenizers, tokenizer):
    special = set(tokenizer.special_tokens.values())
    vocab = {to_stand_ins(token): i for i, token in tokenizer.vocab.items() if i not in special}
    merges = [(to_stand_ins(left), to_stand_ins(right)) for left, right in tokenizer.merges]
    twin = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    twin.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(expression(tokenizer)), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return twin


def generated_strings(n):
    """Strings of all kinds of characters. The oracles' Unicode tables are older, so only long-assigned ones."""
    rng = random.Random(1)
    old = unicodedata.ucd_3_2_0
    assigned = [c for c in map(chr, range(0x110000)) if old.category(c) not in ("Cn", "Cs", "Co")]
    pools = [
        *("etaoin shrdlu", "'sdmtlvre ST", "0123456789 ,.", "{}()[]<>=!-_#"),
        *(" \t\n\r\x0b\u00a0\u3000", "👍\U0001f3fd👩\u200d👧☃\ufe0f"),
    ]
    words = [*PROSE.split(" "), *CODE.split(" "), "吾輩は", "<|endoftext|>", "\x00", "\x1c"]
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(0, 6)):
            kind = rng.randrange(4)
            if kind == 0:
                parts.append("".join(rng.choices(assigned, k=rng.randint(1, 4))))
            elif kind == 1:
                parts.append(rng.choice(words))
            else:
                parts.append("".join(rng.choices(rng.choice(pools), k=rng.randint(1, 8))))
        yield rng.choice(["", " "]).join(parts)


def make(name):
    if name == "gpt2" and not (DATA / "gpt2_vocab.json").exists():
        pytest.skip("GPT-2's files are not here")
    return gpt2() if name == "gpt2" else trained(name.removeprefix("trained-"))


each_vocabulary = pytest.mark.parametrize("name", ["gpt2", "trained-gpt2", "trained-gpt4"])


@each_vocabulary
def test_ids_equal_tiktoken(name):
    tiktoken = pytest.importorskip("tiktoken", reason="the oracle is tiktoken")
    tokenizer = make(name)
    texts = [*CORPUS, *generated_strings(10_000)]
    ours = tokenizer.encode_batch(texts)
    oracle = tiktoken_twin(tiktoken, tokenizer)
    assert ours == [oracle.encode_ordinary(text) for text in texts]


@each_vocabulary
def test_ids_equal_hf_tokenizers(name):
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle is HF tokenizers")
    tokenizer = make(name)
    texts = [*CORPUS, *generated_strings(10_000)]
    twin = hf_twin(tokenizers, tokenizer)
    assert tokenizer.encode_batch(texts) == [encoding.ids for encoding in twin.encode_batch(texts)]


@needs_data
@pytest.mark.parametrize("file", ["moby-dick.txt", "japanese-novel.txt", "gsm8k_test.jsonl"])
def test_gpt2_ids_of_real_text_equal_tiktoken(file):
    tiktoken = pytest.importorskip("tiktoken", reason="the oracle is tiktoken")
    text = (DATA / file).read_text(encoding="utf-8")[:400_000]
    ids = gpt2().encode(text)
    assert ids == tiktoken_twin(tiktoken, gpt2()).encode_ordinary(text)
    assert gpt2().decode(ids) == text


@needs_data
def test_gpt2_special_tokens_equal_tiktoken():
    tiktoken = pytest.importorskip("tiktoken", reason="the oracle is tiktoken")
    oracle = tiktoken_twin(tiktoken, gpt2())
    text = "one<|endoftext|> two<|endoftext|><|endoftext|>"
    assert gpt2().encode(text) == oracle.encode(text, disallowed_special=())
    assert gpt2().encode(text, allowed_special="all") == oracle.encode(text, allowed_special="all")


@needs_data
def test_gpt2_known_ids():
    assert gpt2().encode("Hello, world!") == [15496, 11, 995, 0]
    assert gpt2().eos_id == 50256
    assert gpt2().pad_id is None
    assert gpt2().vocab_size == 50257


WORD = st.one_of(
    st.binary(max_size=30),
    st.text(st.sampled_from("ab"), max_size=60).map(str.encode),
    st.text(st.sampled_from("ienot rd"), max_size=40).map(str.encode),
)


@given(words=st.lists(WORD, max_size=4), word=WORD)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_encoding_a_word_equals_the_reference(words, word):
    tokens, merges = bpe_reference.learn_merges(dict.fromkeys([*words, b"abab"], 1), n_tokens=290)
    tokenizer = BPETokenizer(dict(enumerate(tokens)), merges, pattern="none")
    text = word.decode("latin-1").encode("utf-8").decode("utf-8")
    pieces = [tokenizer.vocab[i] for i in tokenizer.encode(text)]
    assert pieces == bpe_reference.encode_word(text.encode(), merges)


@needs_data
def test_gpt2_words_equal_the_reference():
    merges = gpt2().merges
    rng = random.Random(0)
    for word in rng.sample(sorted({word for text in CORPUS for word in PATTERNS["gpt2"].split(text)}), 20):
        pieces = [gpt2().vocab[i] for i in gpt2().encode(word)]
        assert pieces == bpe_reference.encode_word(word.encode(), merges)


def test_the_word_cache_is_bounded(monkeypatch):
    monkeypatch.setattr("tokenizers_scratch.bpe._CACHED_WORDS", 10)
    tokenizer = BPETokenizer.train(CORPUS, BPEConfig())
    for i in range(1000):
        assert tokenizer.decode(tokenizer.encode(f"word{i}")) == f"word{i}"
    tokenizer.encode("x" * 1000)
    assert len(tokenizer._word_ids) <= 10
    assert max(map(len, tokenizer._word_ids)) <= 64


@pytest.mark.parametrize("kernels", [False, True], ids=["plain", "kernels"])
@pytest.mark.parametrize("kind", ["a", "^", " ", "\n", "'s", "👩‍👧", "letters"])
def test_time_grows_like_n_log_n(kind, kernels, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_SCRATCH_KERNELS", "always")
    monkeypatch.setattr("tokenizers_scratch.bpe.LONG", 1000 if kernels else 10**9)
    tokenizer = make("gpt2") if (DATA / "gpt2_vocab.json").exists() else trained("gpt2")

    def seconds(n):
        letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=n)
        text = "".join(letters) if kind == "letters" else (kind * n)[:n]
        start = time.process_time()
        tokenizer.encode(text)
        return time.process_time() - start

    seconds(2000)  # so that kernels are loaded
    assert seconds(200_000) / max(seconds(25_000), 1e-3) <= 24  # linear is 8, quadratic 64


@needs_data
def test_a_word_of_a_megabyte():
    ids = gpt2().encode("a" * 1_000_000)
    assert gpt2().decode(ids) == "a" * 1_000_000
    assert len(ids) == 250_000  # aaaa is the longest token of its kind


def test_speed_that_a_training_run_relies_on():
    # Many times what it takes on one quiet core; this catches a lost cache, not a slow machine.
    tokenizer = BPETokenizer.train(["3 1 4 1 5 9 2 6 ="] * 9, BPEConfig())
    rng = random.Random(0)
    texts = [" ".join(rng.choices("0123456789", k=8)) + " =" for _ in range(50_000)]
    start = time.process_time()
    rows = tokenizer.encode_batch(texts)
    assert time.process_time() - start < 5
    start = time.process_time()
    for _ in range(10):
        tokenizer.decode_batch(rows[:512])
    assert time.process_time() - start < 0.5
