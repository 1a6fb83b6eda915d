"""Options of the word and subword tokenizers that make no sense are refused by name and with the reason."""

from __future__ import annotations

import dataclasses

import pytest

from tokenizers_scratch.config_subword import SentencePieceConfig, UnigramConfig, WordConfig, WordPieceConfig

ALL = (WordConfig, WordPieceConfig, UnigramConfig, SentencePieceConfig)


@pytest.mark.parametrize("config", ALL)
def test_defaults_are_valid_frozen_and_explained(config):
    value = config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.special_tokens = ("x",)
    with pytest.raises(TypeError):
        config(())  # keyword only
    assert all(field.metadata["help"] for field in dataclasses.fields(config))


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (WordConfig, {"vocab_size": 4}, r"^vocab_size: got 4, must be at least 5: 4 special tokens come first"),
        (WordConfig, {"min_frequency": 0}, r"^min_frequency: got 0, must be at least 1"),
        (WordConfig, {"lowercase": 1}, r"^lowercase: got 1, must be true or false"),
        (WordPieceConfig, {"vocab_size": 5}, r"^vocab_size: got 5, must be at least 6: 5 special tokens come first"),
        (WordPieceConfig, {"min_frequency": 1}, r"^min_frequency: got 1, must be at least 2: a pair seen once"),
        (WordPieceConfig, {"limit_alphabet": 0}, r"^limit_alphabet: got 0"),
        (WordPieceConfig, {"max_word_length": 0}, r"^max_word_length: got 0"),
        (WordPieceConfig, {"strip_accents": "yes"}, r"^strip_accents: got 'yes', must be true or false"),
        (UnigramConfig, {"vocab_size": 260}, r"^vocab_size: got 260, must be at least 261: 4 special tokens and 256"),
        (UnigramConfig, {"vocab_size": 4, "byte_fallback": False}, r"^vocab_size: got 4, must be at least 5"),
        (UnigramConfig, {"character_coverage": 0.0}, r"^character_coverage: got 0.0, must be above 0 and at most 1"),
        (UnigramConfig, {"character_coverage": 1.5}, r"^character_coverage: got 1.5"),
        (UnigramConfig, {"character_coverage": float("nan")}, r"^character_coverage: got nan"),
        (UnigramConfig, {"max_piece_length": 0}, r"^max_piece_length: got 0"),
        (UnigramConfig, {"n_seeds": 0}, r"^n_seeds: got 0"),
        (UnigramConfig, {"pattern": "gpt3"}, r"^pattern: got 'gpt3'"),
        (SentencePieceConfig, {"model": "word"}, r"^model: got 'word', must be unigram or bpe"),
        (
            SentencePieceConfig,
            {"normalization": "nfc"},
            r"^normalization: got 'nfc', must be identity, nfkc or nmt_nfkc",
        ),
        (SentencePieceConfig, {"add_dummy_prefix": None}, r"^add_dummy_prefix: got None, must be true or false"),
        (SentencePieceConfig, {"min_frequency": 0}, r"^min_frequency: got 0"),
    ],
)
def test_values_that_make_no_sense(config, options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


@pytest.mark.parametrize("config", ALL)
@pytest.mark.parametrize(
    ("tokens", "reason"), [(("<A>", "<A>"), "'<A>' appears twice"), (("",), "empty"), ("<A>", "tuple")]
)
def test_special_tokens_that_cannot_be(config, tokens, reason):
    with pytest.raises(ValueError, match=rf"^special_tokens: got .*{reason}"):
        config(special_tokens=tokens)


def test_standard_tokens_cannot_be_the_users():
    with pytest.raises(ValueError, match=r"'\[CLS\]' appears twice"):
        WordPieceConfig(special_tokens=("[CLS]",))
    assert WordPieceConfig(special_tokens=("<PAD>",)).special_tokens == ("<PAD>",)
