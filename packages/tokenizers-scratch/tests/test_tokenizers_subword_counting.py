"""Counting words: the same counts however it is done, and in bounded memory."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch import counting, sentencepiece_counting, vocabulary
from tokenizers_scratch.bert import BertText
from tokenizers_scratch.sentencepiece_counting import get_sentencepiece_word_freqs
from tokenizers_scratch.sentencepiece_text import SentencePieceText
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.vocabulary import cover, extract_unique_chars
from tokenizers_scratch.wordpiece import count_bert_words

THOROUGH = settings.get_profile("tokenizers")
TEXTS = st.lists(st.text(st.sampled_from("ab  é世\ud800\n<S>\x0b")), max_size=8)


@given(texts=TEXTS, room=st.sampled_from([1, 2, 8]))
@THOROUGH
def test_kernels_count_what_a_counter_counts(texts, room):
    pytest.importorskip("numba", reason="the kernels are numba's")
    from tokenizers_scratch.kernels.parts import PartCounter

    counter = PartCounter(room)
    for text in texts:
        counter.add(text)
    assert counter.counts() == Counter(part for text in texts for part in text.split(" "))


@given(texts=TEXTS, window=st.integers(1, 12), few=st.sampled_from([0, 20, 10**6]))
@THOROUGH
def test_windows_and_batches_change_nothing(texts, window, few):
    special = SpecialTokens({"<S>": 0})
    rules = SentencePieceText("nmt_nfkc", remove_extra_whitespaces=True)
    whole = get_sentencepiece_word_freqs(texts, rules, special), count_bert_words(texts, BertText(), special)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_WINDOW", window)
        patch.setattr(sentencepiece_counting, "_WINDOW", window)
        patch.setattr(sentencepiece_counting, "_FEW_CHARACTERS", few)
        patch.setenv("TOKENIZERS_SCRATCH_KERNELS", "always")
        cut = get_sentencepiece_word_freqs(texts, rules, special), count_bert_words(texts, BertText(), special)
        assert get_sentencepiece_word_freqs(texts, rules, special, threads=2) == cut[0]
    assert cut == whole


def test_a_special_token_with_a_line_break_is_not_found_across_two_texts():
    special = SpecialTokens({"b\nc": 0})
    assert count_bert_words(["a b", "c d"], BertText(), special) == dict.fromkeys("abcd", 1)
    assert count_bert_words(["a b\nc d"], BertText(), special) == dict.fromkeys("ad", 1)


def test_numpy_drops_the_same_characters():
    rng = random.Random(0)
    words = {"".join(rng.choices("abcdefgh世👍\ud800", k=6)): rng.randint(1, 9) for _ in range(25_000)}
    for share in (0.3, 0.95, 1):
        assert len(words) > vocabulary._MANY_WORDS
        fast = cover(words, share, "世")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vocabulary, "_MANY_WORDS", 10**9)
            assert cover(words, share, "世") == fast
    assert all(set(word) <= set("abcdefgh世") for word in cover({"a": 9, "b世c": 1, "abc": 1}, 0.9, "世"))


def test_numpy_counts_the_same_characters():
    rng = random.Random(0)
    words = {"".join(rng.choices("abcdefgh世👍\ud800", k=6)): rng.randint(1, 9) for _ in range(25_000)}
    expected = Counter()
    for word, count in words.items():
        for character in word:
            expected[character] += count
    assert extract_unique_chars(words) == expected
