"""Every string has bytes and comes back; bytes that are no text are replaced as the Unicode standard recommends."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenizers_scratch.utf8 import bytes_to_text, incomplete_tail, text_to_bytes

ANY_TEXT = st.text(st.characters())  # with lone surrogates, which plain st.text() leaves out
SEAMS = st.lists(st.sampled_from([b"\xed", b"\xa0", b"\x80", b"\xf0", b"\x9f", b"\xe4\xb8", b"\x96", b"a", b"\xc3"]))


@given(ANY_TEXT)
@example("\ud83d\ude00")  # two lone surrogates are not the character they would make as a pair
@example("\x00\ufffd\udfff")
@settings(deadline=None, derandomize=True, max_examples=500)
def test_every_string_comes_back(text):
    assert bytes_to_text(text_to_bytes(text)) == text


@given(st.one_of(st.binary(), SEAMS.map(b"".join)))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_bytes_without_surrogates_decode_as_python_replaces(data):
    if b"\xed" not in data:
        assert bytes_to_text(data) == data.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xed\xa0\x80", "\ud800"),
        (b"\xed\xa0", "\ufffd\ufffd"),
        (b"\xc3\xed\xa0\x80\xff", "\ufffd\ud800\ufffd"),
        (b"\xe4\xb8", "\ufffd"),
        (b"\xf0\x9f\x92a", "\ufffda"),
    ],
)
def test_surrogates_among_ill_formed_bytes(data, text):
    assert bytes_to_text(data) == text


def test_ill_formed_bytes_can_be_shown():
    assert bytes_to_text(b"a\xc3", "backslashreplace") == "a\\xc3"


@given(st.one_of(st.binary(), SEAMS.map(b"".join)), st.one_of(st.binary(), SEAMS.map(b"".join)))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_what_is_before_the_incomplete_tail_is_final(data, more):
    cut = len(data) - incomplete_tail(data)
    assert bytes_to_text(data[:cut]) + bytes_to_text(data[cut:] + more) == bytes_to_text(data + more)


@given(ANY_TEXT, st.integers(1, 3))
@settings(deadline=None, derandomize=True)
def test_only_an_unfinished_character_waits(text, missing):
    data = text_to_bytes(text)
    assert incomplete_tail(data) == 0
    if text and missing < (length := len(text_to_bytes(text[-1]))):
        assert incomplete_tail(data[:-missing]) == length - missing
