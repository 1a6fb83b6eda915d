"""Options: what is refused, and that describing them needs no torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from embeddings_scratch.config import SkipGramConfig, Word2VecConfig

BAD = [
    (SkipGramConfig, {"embed_dim": 0}, "embed_dim: got 0, must be at least 1"),
    (SkipGramConfig, {"embed_dim": -3}, "embed_dim: got -3"),
    (Word2VecConfig, {"steps": 0}, "steps: got 0"),
    (Word2VecConfig, {"batch_size": 0}, "batch_size: got 0"),
    (Word2VecConfig, {"grad_accum_steps": 0}, "grad_accum_steps: got 0"),
    (Word2VecConfig, {"grad_accum_steps": 9, "batch_size": 8}, "grad_accum_steps: got 9, must be at most batch_size=8"),
    (Word2VecConfig, {"lr": float("nan")}, "lr: got nan, must be a finite number"),
    (Word2VecConfig, {"lr": float("inf")}, "lr: got inf"),
    (Word2VecConfig, {"lr": 0.0}, "lr: got 0.0, must be above 0"),
    (Word2VecConfig, {"lr": -0.1}, "lr: got -0.1"),
    (Word2VecConfig, {"min_lr": 1.0}, "min_lr: got 1.0, must be from 0 to lr=0.05"),
    (Word2VecConfig, {"min_lr": -1e-9}, "min_lr: got -1e-09"),
    (Word2VecConfig, {"min_lr": float("nan")}, "min_lr: got nan"),
    (Word2VecConfig, {"window": 0}, "window: got 0"),
    (Word2VecConfig, {"negative": 0}, "negative: got 0"),
    (Word2VecConfig, {"negative": -5}, "negative: got -5"),
    (Word2VecConfig, {"ns_exponent": float("nan")}, "ns_exponent: got nan"),
    (Word2VecConfig, {"ns_exponent": 11.0}, "ns_exponent: got 11.0"),
    (Word2VecConfig, {"subsample": 1.0}, "subsample: got 1.0, must be at least 0 and below 1"),
    (Word2VecConfig, {"subsample": -0.1}, "subsample: got -0.1"),
    (Word2VecConfig, {"subsample": float("nan")}, "subsample: got nan"),
    (Word2VecConfig, {"min_count": 0}, "min_count: got 0"),
    (Word2VecConfig, {"unit": "page"}, "unit: got 'page', must be one of sentence, line, text"),
    (Word2VecConfig, {"eval_pairs": 0}, "eval_pairs: got 0"),
]


@pytest.mark.parametrize(("cls", "values", "message"), BAD)
def test_values_that_make_no_sense_are_refused_with_the_reason(cls, values, message):
    with pytest.raises(ValueError, match=message) as caught:
        cls(**values)
    assert str(caught.value).count(": ") >= 2  # name: what: why


@pytest.mark.parametrize("cls", [SkipGramConfig, Word2VecConfig])
def test_options_are_frozen_keyword_only_and_described(cls):
    config = cls()
    for field in dataclasses.fields(cls):
        assert field.kw_only
        assert field.metadata["help"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 3


def test_edges_are_allowed():
    Word2VecConfig(ns_exponent=-0.5, subsample=0.0, min_lr=0.05, grad_accum_steps=1024, window=1, negative=1)


def test_listing_and_describing_parts_imports_nothing_heavy():
    code = (
        "import sys; import embeddings_scratch.plugin, embeddings_scratch.config; "
        "print([m for m in ('torch', 'numpy', 'safetensors') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
