"""The contract kit on every part of every installed package."""

from __future__ import annotations

from collections.abc import Callable

from scratch_cli.registry import discover
from scratch_cli.testing import parametrize_with_checks

DISTRIBUTIONS = (
    "align-scratch",
    "embeddings-scratch",
    "gpt-scratch",
    "inference-scratch",
    "papers-scratch",
    "tokenizers-scratch",
)


def test_no_package_is_forgotten() -> None:
    registry = discover()
    kinds = ("tokenizer", "model", "sampler", "trainer", "adapter", "task")
    assert {part.distribution for kind in kinds for part in registry.parts(kind)} == set(DISTRIBUTIONS)


@parametrize_with_checks("align-scratch")
def test_align(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("embeddings-scratch")
def test_embeddings(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("gpt-scratch")
def test_gpt(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("inference-scratch")
def test_inference(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("papers-scratch")
def test_papers(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("tokenizers-scratch")
def test_tokenizers(check: Callable[[], None]) -> None:
    check()
