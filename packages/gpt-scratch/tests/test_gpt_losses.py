"""Chunked cross-entropy against the plain one: value, gradients, memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_scratch import losses
from gpt_scratch.losses import chunked_cross_entropy_sum, cross_entropy_sum, language_model_loss, token_nats


def pieces(b: int, t: int, d: int, v: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.nn.Linear]:
    torch.manual_seed(seed)
    return torch.randn(b, t, d, requires_grad=True), torch.randint(v, (b, t)), torch.nn.Linear(d, v)


@given(b=st.integers(1, 5), t=st.integers(1, 9), v=st.integers(2, 40), rows=st.integers(1, 60), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_chunks_change_nothing(b: int, t: int, v: int, rows: int, seed: int) -> None:
    features, targets, head = pieces(b, t, 6, v, seed)
    inputs = (features, *head.parameters())
    full = cross_entropy_sum(features, targets, head) / targets.numel()
    expected = torch.autograd.grad(full, inputs)
    chunked = chunked_cross_entropy_sum(features, targets, head, rows=rows) / targets.numel()
    torch.testing.assert_close(chunked, full, atol=1e-6, rtol=1e-6)
    for got, wanted in zip(torch.autograd.grad(chunked, inputs), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    features, targets, head = pieces(2, 3, 4, 5)
    head = head.double()
    assert torch.autograd.gradcheck(
        lambda f: chunked_cross_entropy_sum(f, targets, lambda x: head(x.double()), rows=2).double(),
        (features.detach().double().requires_grad_(),),
        eps=1e-3,
        atol=1e-3,
    )


def test_never_more_logits_at_once_than_a_chunk() -> None:
    features, targets, linear = pieces(4, 16, 8, 1000)
    largest = 0

    def head(x: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        logits: torch.Tensor = linear(x)
        largest = max(largest, logits.numel())
        return logits

    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x.numel()), x)[1], lambda x: x):
        loss = chunked_cross_entropy_sum(features, targets, head, rows=8)
    loss.backward()
    assert largest == 8 * 1000
    assert max(kept, default=0) < 8 * 1000  # nothing of that size waits for the backward pass


def test_chunks_are_used_where_the_vocabulary_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets, linear = pieces(4, 16, 8, 100)
    sizes = []

    def head(x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.numel() // 8)
        logits: torch.Tensor = linear(x)
        return logits

    whole = language_model_loss(features, targets, head, vocab_size=100)
    assert sizes == [64]
    monkeypatch.setattr(losses, "MOST_LOGITS", 3000)
    sizes.clear()
    torch.testing.assert_close(language_model_loss(features, targets, head, vocab_size=100), whole)
    assert sizes == [30, 30, 4]


def test_extreme_logits_and_ignored_targets() -> None:
    features = torch.tensor([[[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]]])
    nats = token_nats(features, torch.tensor([[1, 2]]), lambda x: x)
    torch.testing.assert_close(nats, torch.tensor([[1000.0, 1.0986123]]))
    assert float(cross_entropy_sum(features, torch.tensor([[-100, 2]]), lambda x: x)) == pytest.approx(1.0986123)
    assert float(cross_entropy_sum(features, torch.tensor([[-100, -100]]), lambda x: x)) == 0.0
