"""The bigram model: a table lookup, and after training the bigram statistics of the text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from gpt_scratch.bigram import Bigram
from gpt_scratch.config import BigramConfig


def test_logits_are_rows_of_the_table() -> None:
    torch.manual_seed(0)
    model = Bigram(BigramConfig(init_std=1.0), vocab_size=7)
    ids = torch.tensor([[3, 1, 6], [0, 0, 2]])
    assert torch.equal(model(ids), model.table.weight[ids])
    assert torch.equal(model.head(model.features(ids)), model(ids))
    assert model.max_length is None
    assert model(torch.zeros(1, 5000, dtype=torch.int64)).shape == (1, 5000, 7)


def test_start_is_uniform_without_spread() -> None:
    model = Bigram(BigramConfig(init_std=0.0), vocab_size=7)
    logits = model(torch.tensor([[3]]))
    assert torch.allclose(torch.log_softmax(logits, -1), torch.tensor(-math.log(7)))


def test_gradient_descent_finds_the_conditional_frequencies() -> None:
    ids = torch.tensor([0, 1, 0, 2, 0, 1, 2, 2, 1, 0, 1, 0])
    counts = torch.zeros(3, 3)
    for now, after in zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True):
        counts[now, after] += 1
    model = Bigram(BigramConfig(), vocab_size=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(ids[None, :-1])[0], ids[1:]).backward()
        optimizer.step()
    found = torch.softmax(model.table.weight.detach(), -1)
    torch.testing.assert_close(found, counts / counts.sum(-1, keepdim=True), atol=0.02, rtol=0)


def test_saves_and_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Bigram(BigramConfig(init_std=1.0), vocab_size=7)
    model.save(tmp_path / "model")
    again = Bigram.load(tmp_path / "model")
    assert torch.equal(again.table.weight, model.table.weight)
    assert again.config == model.config


@pytest.mark.parametrize("vocab_size", [0, 40_000])
def test_a_vocabulary_that_makes_no_table_is_refused(vocab_size: int) -> None:
    with pytest.raises(ValueError, match="vocab_size"):
        Bigram(BigramConfig(), vocab_size=vocab_size)
