"""Cutting and encoding texts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import embeddings_scratch.corpus as corpus_module
from embeddings_scratch.corpus import encode_corpus, split_lines, split_sentences


@given(st.text(alphabet=st.sampled_from('ab .!?…"”)\n\t。！」 '), max_size=60))
@settings(deadline=None, derandomize=True)
def test_pieces_joined_are_the_text(text):
    assert "".join(split_sentences(text)) == text
    assert "".join(split_lines(text)) == text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("He left. She stayed.", ["He left.", " She stayed."]),
        ('"Go!" he said. "Why?" she asked.', ['"Go!"', " he said.", ' "Why?"', " she asked."]),
        ("A heading\n\nwrapped\nprose", ["A heading", "\n\nwrapped\nprose"]),
        ("3.14 is no end", ["3.14 is no end"]),
        ("犬がいた。猫もいた。「行く。」と言った。", ["犬がいた。", "猫もいた。", "「行く。」", "と言った。"]),
        ("Wait... what?", ["Wait...", " what?"]),
        ("", []),
    ],
)
def test_sentences(text, pieces):
    assert split_sentences(text) == pieces


class Letters:
    def encode_batch(self, texts):
        return [[ord(c) for c in text] for text in texts]


@pytest.mark.parametrize(("unit", "lengths"), [("sentence", [3, 3, 1]), ("line", [3, 3, 1]), ("text", [6, 1])])
def test_units(unit, lengths):
    text = {"sentence": "ab. cd", "line": "abc\nde", "text": "abcdef"}[unit]
    corpus = encode_corpus([text, "", "x"], Letters(), unit=unit)
    assert corpus.lengths.tolist() == lengths
    assert bytes(corpus.ids.tolist()).decode() == text + "x"


def test_long_sentences_are_cut_and_not_dropped(monkeypatch):
    monkeypatch.setattr(corpus_module, "LONGEST_SENTENCE", 4)
    corpus = encode_corpus(["abcdefghij"], Letters(), unit="sentence")
    assert corpus.lengths.tolist() == [4, 4, 2]
    assert bytes(corpus.ids.tolist()) == b"abcdefghij"


def test_unknown_ids_leave_and_later_ones_move_up():
    corpus = encode_corpus(["axxb", "x", "ab"], Letters(), unit="text")
    known = torch.zeros(200, dtype=torch.bool)
    known[[ord("a"), ord("b")]] = True
    left = corpus.only(known)
    assert left.lengths.tolist() == [2, 2]
    assert bytes(left.ids.tolist()) == b"abab"


def test_no_text_is_an_empty_corpus():
    corpus = encode_corpus(["", ""], Letters(), unit="sentence")
    assert corpus.counts(5).tolist() == [0] * 5
    assert len(corpus.only(torch.ones(5, dtype=torch.bool)).ids) == 0
