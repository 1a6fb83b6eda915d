"""Kernels against the published tools: ids of tiktoken, merges of HF tokenizers and rustbpe."""

from __future__ import annotations

import json
import random
import unicodedata
from functools import cache
from pathlib import Path

import pytest

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte_alphabet import BYTE_ORDER, from_stand_ins
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.kernels import encoder, trainer
from tokenizers_scratch.patterns import PATTERNS

DATA = Path(__file__).parents[4] / "shared" / "data"
TEXTS = ("moby-dick.txt", "japanese-novel.txt", "gsm8k_test.jsonl", "wikitext2-valid.txt", "names.txt")

pytestmark = pytest.mark.skipif(not (DATA / "gpt2_vocab.json").exists(), reason="the shared texts are not here")


def read(file, n=None):
    return (DATA / file).read_bytes()[:n].decode("utf-8", "ignore")


def expression(pattern):
    return PATTERNS[pattern].split.__self__.pattern


@cache
def vocabulary(pattern):
    if pattern == "gpt2":
        return BPETokenizer.from_files(DATA / "gpt2_vocab.json", DATA / "gpt2_merges.txt")
    return BPETokenizer.train([read(file, 200_000) for file in TEXTS], BPEConfig(vocab_size=3000, pattern=pattern))


def generated_strings(n):
    """All kinds of characters, only long-assigned ones: the oracle's Unicode tables are older."""
    rng = random.Random(2)
    old = unicodedata.ucd_3_2_0
    assigned = [c for c in map(chr, range(0x110000)) if old.category(c) not in ("Cn", "Cs", "Co")]
    pools = [
        "etaoin shrdlu",
        "'sdmtlvre STDMLVRE",
        "0123456789 ,.",
        "{}()[]<>=!-_#",
        " \t\n\r\x0b\u00a0\u3000",
        "👍👩\u200d☃\ufe0f",
    ]
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(0, 8)):
            pool = assigned if rng.randrange(4) == 0 else rng.choice(pools)
            parts.append("".join(rng.choices(pool, k=rng.randint(1, 12))))
        yield "".join(parts)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_ids_equal_tiktoken(pattern, threads):
    tiktoken = pytest.importorskip("tiktoken", reason="the oracle is tiktoken")
    tokenizer = vocabulary(pattern)
    special = dict(tokenizer.special_tokens)
    ranks = {token: i for i, token in tokenizer.vocab.items() if i not in special.values()}
    oracle = tiktoken.Encoding("twin", pat_str=expression(pattern), mergeable_ranks=ranks, special_tokens=special)
    kernels = encoder.Encoder(pattern, tokenizer._id_of_byte, list(tokenizer._ranks), tokenizer._products)
    texts = [*generated_strings(10_000), *(read(file, 400_000) for file in TEXTS)]
    ids, ends = kernels.encode(texts, threads)
    first = 0
    for text, end in zip(texts, ends.tolist(), strict=True):
        assert ids[first:end].tolist() == oracle.encode_ordinary(text), text[:100]
        first = end


def learned(texts, pattern, n_tokens, byte_order=BYTE_ORDER):
    learner = trainer.Trainer(pattern, 2)
    learner.count(texts)
    return learner.learn(n_tokens=n_tokens, min_frequency=1, max_token_length=None, byte_order=byte_order, ties="ids")


@pytest.mark.parametrize(("file", "pattern"), [("moby-dick.txt", "gpt2"), ("japanese-novel.txt", "gpt4")])
def test_merges_equal_hf_tokenizers(file, pattern):
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle is HF tokenizers")
    parts = tokenizers.pre_tokenizers
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE())
    oracle.pre_tokenizer = parts.Sequence(
        [
            parts.Split(tokenizers.Regex(expression(pattern)), "isolated"),
            parts.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = parts.ByteLevel.alphabet()
    text = read(file, 400_000)
    oracle.train_from_iterator(
        [text], tokenizers.trainers.BpeTrainer(vocab_size=6000, initial_alphabet=alphabet, show_progress=False)
    )
    merges = [tuple(map(from_stand_ins, pair)) for pair in json.loads(oracle.to_str())["model"]["merges"]]
    assert learned([text], pattern, 6000)[1] == merges


@pytest.mark.parametrize(("file", "pattern"), [("tinyshakespeare.txt", "gpt2"), ("japanese-novel.txt", "gpt4")])
def test_merges_equal_rustbpe(file, pattern):
    rustbpe = pytest.importorskip("rustbpe", reason="the oracle is rustbpe")
    text = read(file)
    oracle = rustbpe.Tokenizer()
    oracle.train_from_iterator(iter([text]), 5000, pattern=expression(pattern))
    tokens, _ = learned([text], pattern, 5000, byte_order=range(256))
    assert tokens == [bytes(token) for token, _ in oracle.get_mergeable_ranks()]
