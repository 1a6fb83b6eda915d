"""The character tokenizer: the alphabet's order, and what is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import CharConfig


def test_most_frequent_first_then_by_code_point():
    tokenizer = CharTokenizer.train(["cab", "bad", "b\ud800"], CharConfig())
    assert tokenizer.alphabet == ("b", "a", "c", "d", "\ud800")
    assert tokenizer.encode("bad") == [4, 5, 7]
    assert tokenizer.vocab_size == 9


def test_rare_characters_become_unknown():
    assert CharTokenizer.train(["aabbc"], CharConfig(min_frequency=2)).alphabet == ("a", "b")
    limited = CharTokenizer.train(["aabbbc"], CharConfig(vocab_size=5))
    assert limited.alphabet == ("b",)
    assert limited.vocab_size == 5
    assert limited.encode("abc") == [1, 4, 1]


def test_unseen_characters_are_lost_and_declared_so():
    tokenizer = CharTokenizer.train(["abc"], CharConfig())
    ids = tokenizer.encode("axc")
    assert not tokenizer.lossless
    assert ids == [4, tokenizer.unk_id, 6]
    assert tokenizer.decode(ids) == "ac"
    assert tokenizer.decode(ids, skip_special=False) == "a<UNK>c"


@given(st.text(st.characters(), min_size=1))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_text_of_seen_characters_comes_back(text):
    tokenizer = CharTokenizer.train([text], CharConfig())
    assert tokenizer.decode(tokenizer.encode(text[::-1])) == text[::-1]
    assert len(tokenizer.encode(text)) == len(text)


@pytest.mark.parametrize("alphabet", [["a", "a"], ["ab"], [""]])
def test_an_alphabet_that_is_none(alphabet):
    with pytest.raises(ValueError, match="single characters, each once"):
        CharTokenizer(alphabet)
