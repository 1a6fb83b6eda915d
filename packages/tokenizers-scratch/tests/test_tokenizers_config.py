"""Options that make no sense are refused before any text is read, by name and with the reason."""

from __future__ import annotations

import dataclasses

import pytest

from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig


@pytest.mark.parametrize("config", [ByteConfig, CharConfig, BPEConfig])
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
        (BPEConfig, {"vocab_size": 259}, r"^vocab_size: got 259, must be at least 260: 256 bytes and 4 special tokens"),
        (BPEConfig, {"vocab_size": 260, "special_tokens": ("<S>",)}, r"^vocab_size: got 260, must be at least 261"),
        (BPEConfig, {"vocab_size": 300.0}, r"^vocab_size: got 300.0, must be an integer"),
        (BPEConfig, {"vocab_size": True}, r"^vocab_size: got True, must be an integer"),
        (BPEConfig, {"pattern": "gpt3"}, r"^pattern: got 'gpt3', must be one of gpt2, gpt4, none or"),
        (BPEConfig, {"pattern": "(a"}, r"^pattern: got '\(a', .* no regular expression: missing \)"),
        (BPEConfig, {"max_token_length": 0}, r"^max_token_length: got 0, must be at least 1"),
        (BPEConfig, {"min_frequency": 0}, r"^min_frequency: got 0, must be at least 1"),
        (CharConfig, {"vocab_size": 4}, r"^vocab_size: got 4, must be at least 5: 4 special tokens come first"),
        (CharConfig, {"min_frequency": 0}, r"^min_frequency: got 0, must be at least 1"),
    ],
)
def test_values_that_make_no_sense(config, options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


@pytest.mark.parametrize("config", [ByteConfig, CharConfig, BPEConfig])
@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (("<A>", "<A>"), "'<A>' appears twice"),
        (("<PAD>",), "'<PAD>' appears twice"),
        (("",), "empty string"),
        (("\ud800",), "lone surrogate"),
        ("<A>", "tuple of strings"),
        ((1,), "tuple of strings"),
    ],
)
def test_special_tokens_that_cannot_be(config, tokens, reason):
    with pytest.raises(ValueError, match=rf"^special_tokens: got .*{reason}"):
        config(special_tokens=tokens)
