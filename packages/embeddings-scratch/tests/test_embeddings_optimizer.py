"""Row-wise AdaGrad against its formula."""

from __future__ import annotations

import torch
from torch import nn

from embeddings_scratch.optimizer import RowAdagrad


def test_update_equals_the_formula_for_sparse_and_dense_gradients():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(6, 3, generator=generator)
    sparse, dense = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = RowAdagrad({"sparse": sparse, "dense": dense})
    expected, sums = start.clone(), torch.zeros(6)
    for step in range(3):
        rows = torch.tensor([0, 4, 4, 2])
        values = torch.randn(4, 3, generator=generator)
        optimizer.zero_grad()
        sparse.grad = torch.sparse_coo_tensor(rows[None], values, (6, 3), check_invariants=True)
        dense.grad = sparse.grad.to_dense()
        optimizer.step(0.1 / (step + 1))
        gradient = torch.zeros(6, 3).index_add_(0, rows, values)
        sums += gradient.square().mean(dim=1)
        touched = sums > 0
        expected[touched] -= 0.1 / (step + 1) * gradient[touched] / sums[touched].sqrt()[:, None]
    torch.testing.assert_close(sparse.detach(), expected)
    torch.testing.assert_close(dense.detach(), expected)
    assert torch.equal(sparse.detach()[[1, 3, 5]], start[[1, 3, 5]])


def test_vectors_and_untouched_parameters():
    bias, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 2))
    optimizer = RowAdagrad({"bias": bias, "other": other})
    bias.grad = torch.tensor([2.0, 0.0, -3.0])
    optimizer.step(0.5)
    torch.testing.assert_close(bias.detach(), torch.tensor([0.5, 1.0, 1.5]))
    assert torch.equal(other.detach(), torch.ones(2, 2))


def test_state_comes_back():
    parameter = nn.Parameter(torch.ones(3, 2))
    optimizer = RowAdagrad({"p": parameter})
    parameter.grad = torch.full((3, 2), 2.0)
    optimizer.step(0.1)
    state = optimizer.state_dict()
    assert state["p"].tolist() == [4.0, 4.0, 4.0]
    fresh = RowAdagrad({"p": parameter})
    fresh.load_state_dict(state)
    assert torch.equal(fresh.sums["p"], optimizer.sums["p"])
