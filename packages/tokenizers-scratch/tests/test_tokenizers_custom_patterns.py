"""Patterns of the user: no text is lost, ids are HF's, and no pattern takes unbounded time or memory."""

from __future__ import annotations

import copy
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.custom_patterns import MAX_LENGTH, compile_pattern, split_text
from tokenizers_scratch.errors import PatternTimeoutError, TokenizerFileError
from tokenizers_scratch.patterns import split_pattern

CORPUS = ["one-two 12 three-four 345\n", "one-two one-two 12 12 four\n"] * 3
WORDS = r"[a-z]+|[0-9]{1,2}"
TEXT = st.text(st.sampled_from("onetw -1234\nÉ世👍"))


@given(text=st.one_of(TEXT, st.text(st.characters())))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_what_is_not_matched_is_a_word_too(text):
    words = split_pattern(WORDS).split(text)
    assert "".join(words) == text
    assert all(words)


def test_words():
    assert split_pattern(WORDS).split("one--345") == ["one", "--", "34", "5"]
    assert split_pattern("(a)|(b)").split("xab") == ["x", "a", "b"]
    assert split_pattern("x*").split("axxb") == ["a", "xx", "b"]
    assert split_pattern("(?<=a)b").split("ab") == ["a", "b"]


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(CORPUS, BPEConfig(vocab_size=290, pattern=WORDS))


def test_ids_are_those_of_hf(tokenizer):
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    from tokenizers_scratch.byte_alphabet import to_stand_ins

    vocab = {to_stand_ins(token): i for i, token in tokenizer.vocab.items()}
    merges = [(to_stand_ins(left), to_stand_ins(right)) for left, right in tokenizer.merges]
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(WORDS), "isolated")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, byte_level])

    @given(text=TEXT)
    @settings(deadline=None, derandomize=True, max_examples=500)
    def check(text):
        found = oracle.encode(text)
        assert tokenizer.encode(text) == found.ids
        assert tokenizer.offsets(text) == found.offsets

    check()


@given(chunks=st.lists(TEXT))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_chunked_equals_whole(tokenizer, chunks):
    assert list(tokenizer.encode_iterable(chunks)) == tokenizer.encode("".join(chunks))


def test_the_file_holds_the_pattern(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = BPETokenizer.load(tmp_path)
    assert loaded.pattern == WORDS
    assert loaded.encode(CORPUS[0]) == tokenizer.encode(CORPUS[0])
    assert copy.deepcopy(loaded).encode(CORPUS[0]) == tokenizer.encode(CORPUS[0])


@pytest.mark.parametrize("pattern", [r"(a|aa)+$", r"(?:a|b|ab)+?c|\w"])
def test_a_catastrophic_pattern_runs_out_of_time(tokenizer, tmp_path, pattern):
    tokenizer.save(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pattern": pattern}))
    loaded = BPETokenizer.load(tmp_path)
    started = time.process_time()
    with pytest.raises(PatternTimeoutError, match=r"the pattern .* took more than 1\.0 s on \d+ characters") as caught:
        loaded.encode("ab" * 1000 + "a" * 50 + "b")
    assert caught.value.exit_code == 3
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a", "no regular expression: missing"),
        (r"\p{Foo}", "unknown property"),
        ("a{99999999}", "multiply to more than 10000"),
        ("(?:(?:(?:a?){100}){100}){100}", "multiply to more than 10000"),
        ("a{1," + "9" * 100 + "}", "multiply to more than 10000"),
        ("a|" * MAX_LENGTH, f"{2 * MAX_LENGTH} characters, more than {MAX_LENGTH}"),
        ("(" * 1500 + "a" + ")" * 1500, "too large to compile"),
        ("(?R)", "recursion"),
        ("(a(?1)?b)", "recursion"),
        ("(?<x>a(?&x)?b)", "recursion"),
        ("(?:foo){e<=3}", "fuzzy"),
        ("(?r)a", "backwards"),
        ("", "must be one of gpt2"),
        ("gpt-5", "must be one of gpt2"),
    ],
)
def test_a_pattern_that_cannot_be_used(tokenizer, tmp_path, pattern, reason):
    with pytest.raises(ValueError, match=reason):
        BPEConfig(pattern=pattern)
    with pytest.raises(ValueError, match=reason):
        BPETokenizer(tokenizer.vocab, tokenizer.merges, pattern=pattern)
    tokenizer.save(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pattern": pattern}))
    with pytest.raises(TokenizerFileError, match=reason):
        BPETokenizer.load(tmp_path)


def test_a_long_text_has_time():
    assert "".join(split_text(compile_pattern(r"\w+|\s+"), "some words " * 50_000)) == "some words " * 50_000
