"""Splitting into words: known cuts, nothing lost, and borders that more text does not move."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenizers_scratch.patterns import PATTERNS, faster, whole_words

GPT2, GPT4 = PATTERNS["gpt2"], PATTERNS["gpt4"]
TRICKY = st.text(st.sampled_from("aZé'’slLvert1  \t\n\r.!\u00a0\u0085\u3000世\x1c\ud800ſ"), max_size=30)
ANY_TEXT = st.one_of(TRICKY, st.text(st.characters()))


@pytest.mark.parametrize(
    ("text", "gpt2", "gpt4"),
    [
        ("WORLD'S 12345", ["WORLD", "'", "S", " 12345"], ["WORLD", "'S", " ", "123", "45"]),
        ("don’t naïve", ["don", "’", "t", " naïve"], ["don", "’t", " naïve"]),
        ("x\n  \n  y", ["x", "\n  \n ", " y"], ["x", "\n  \n", " ", " y"]),
        ("a  !!\r\n\r\nq", ["a", " ", " !!", "\r\n\r", "\n", "q"], ["a", " ", " !!\r\n\r\n", "q"]),
        ("it's we'll", ["it", "'s", " we", "'ll"], ["it", "'s", " we", "'ll"]),
        ("it'ſa", ["it", "'", "ſa"], ["it", "'ſ", "a"]),
        ("", [], []),
    ],
)
def test_known_cuts(text, gpt2, gpt4):
    assert GPT2.split(text) == gpt2
    assert GPT4.split(text) == gpt4


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@given(text=ANY_TEXT)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_the_words_joined_are_the_text(pattern, text):
    assert "".join(pattern.split(text)) == text


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@given(chunks=st.lists(ANY_TEXT))
@example(chunks=["a'l", "l"])
@example(chunks=["x  \n ", " \n", " y"])
@example(chunks=["a", " ", "b"])
@settings(deadline=None, derandomize=True, max_examples=300)
def test_words_do_not_depend_on_how_the_text_is_chunked(pattern, chunks):
    words = [word for part in whole_words(chunks, pattern) for word in pattern.split(part)]
    assert words == pattern.split("".join(chunks))


ASCII = st.text(st.sampled_from("aZsdmtlvreSLVE1 90'!._\x00\x1c\x1f\x7f \t\n\r\x0b\x0c"), max_size=40)


@pytest.mark.parametrize("pattern", [GPT2, GPT4], ids=["gpt2", "gpt4"])
@given(text=st.one_of(ASCII, st.text(st.characters(max_codepoint=127)), ANY_TEXT))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_the_faster_way_for_ascii_is_the_same(pattern, text):
    assert faster(pattern)(text) == pattern.split(text)
    if text.isascii():
        assert pattern.split_ascii(text) == pattern.split(text)


def test_whole_words_holds_back_no_more_than_the_last_word():
    chunks = iter(["one two ", "three", " four"])
    parts = whole_words(chunks, GPT2)
    assert next(parts) == "one two"
    assert list(chunks) == ["three", " four"]  # not read yet
    assert list(parts) == [" "]


def test_white_space_is_that_of_the_published_tools():
    # re and str.isspace take U+001C for white space; tiktoken, HF tokenizers and regex do not.
    assert GPT2.split("a\x1c b") == ["a", "\x1c", " b"]
