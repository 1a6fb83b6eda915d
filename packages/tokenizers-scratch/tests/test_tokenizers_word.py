"""Words: what they are, which are learned, what is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from tokenizers_scratch.config_subword import WordConfig
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.vocabulary import build_initial_vocab, extract_unique_chars, invert_vocab
from tokenizers_scratch.word import WordTokenizer, get_word_frequencies, split_into_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't panic!", ["Don", "'", "t", "panic", "!"]),
        (" a\t\nb  c ", ["a", "b", "c"]),
        ("snake_case 3.14 naïve e\u0301", ["snake_case", "3", ".", "14", "naïve", "e\u0301"]),
        ("世界 👍👍", ["世界", "👍", "👍"]),
        ("", []),
    ],
)
def test_what_a_word_is(text, words):
    assert split_into_words(text) == words


def test_counts():
    special = SpecialTokens.numbered(("<S>",))
    counts = get_word_frequencies(["the cat<S>the Cat", "THE"], special)
    assert counts == Counter({"the": 2, "cat": 1, "Cat": 1, "THE": 1})
    assert get_word_frequencies(["the cat<S>the Cat", "THE"], special, lowercase=True) == {"the": 3, "cat": 2}
    assert get_word_frequencies(["x" * 200_000 + " y"])["x" * 200_000] == 1  # longer than a window
    assert extract_unique_chars({"ab": 2, "b": 1}) == {"a": 2, "b": 3}


def test_most_frequent_first_then_by_code_point():
    tokenizer = WordTokenizer.train(["b a c c", "d"], WordConfig(min_frequency=1))
    assert [tokenizer.vocab[i] for i in range(4, 8)] == [b"c", b"a", b"b", b"d"]
    assert WordTokenizer.train(["b a c c"], WordConfig(vocab_size=5)).vocab_size == 5
    assert WordTokenizer.train(["b a c c"], WordConfig()).vocab_size == 5  # seen twice


def test_what_is_lost():
    tokenizer = WordTokenizer.train(["one, two", "one, two"], WordConfig())
    ids = tokenizer.encode("two,  three\none")
    assert ids.count(tokenizer.unk_id) == 1
    assert tokenizer.decode(ids) == "two , one"
    assert tokenizer.decode(ids, skip_special=False) == "two , <UNK> one"
    assert not tokenizer.lossless


def test_a_special_token_that_is_a_word_is_not_learned():
    tokenizer = WordTokenizer.train(["end of the end"], WordConfig(min_frequency=1, special_tokens=("end",)))
    assert tokenizer.encode("the end") == [tokenizer.encode("the")[0], tokenizer.unk_id]
    assert tokenizer.encode("the end", allowed_special="all")[-1] == 4


@pytest.mark.parametrize(
    ("words", "reason"), [(["a b"], "no word"), ([""], "no word"), (["a", "a"], "twice"), (["A"], "no word")]
)
def test_impossible_vocabularies(words, reason):
    with pytest.raises(ValueError, match=reason):
        WordTokenizer(words, lowercase=True)


def test_numbering_and_back():
    vocab = build_initial_vocab(["<PAD>"], ["b", "a", "<PAD>", "b"])
    assert vocab == {"<PAD>": 0, "b": 1, "a": 2}
    assert invert_vocab(vocab) == {0: "<PAD>", 1: "b", 2: "a"}
    with pytest.raises(ValueError, match="one id"):
        invert_vocab({"a": 0, "b": 0})
