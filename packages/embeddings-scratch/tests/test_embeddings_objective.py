"""The loss: its gradients against closed forms and differences, its optimum against counts."""

from __future__ import annotations

import math

import pytest
import torch

from embeddings_scratch.config import SkipGramConfig
from embeddings_scratch.model import SkipGram
from embeddings_scratch.objective import negative_sampling_loss


def random_pair(k: int = 4, d: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(1, d, dtype=torch.float64, generator=generator, requires_grad=True)
    u = torch.randn(1, 1 + k, d, dtype=torch.float64, generator=generator, requires_grad=True)
    return v, u


def loss_of(v: torch.Tensor, u: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return negative_sampling_loss((u @ v.unsqueeze(2)).squeeze(2), weights).sum()


def test_value_is_the_sum_of_log_sigmoids():
    v, u = random_pair()
    scores = (u[0] @ v[0]).tolist()
    expected = math.log1p(math.exp(-scores[0])) + sum(math.log1p(math.exp(x)) for x in scores[1:])
    assert float(loss_of(v, u, torch.ones(1, 4)).detach()) == pytest.approx(expected, abs=1e-12)


def test_gradients_equal_the_closed_form():
    v, u = random_pair()
    weights = torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)  # one negative is the true context
    loss_of(v, u, weights).backward()
    s = torch.sigmoid(u.detach()[0] @ v.detach()[0])  # (1 + K,)
    factor = torch.cat((s[:1] - 1, s[1:] * weights[0]))  # dL/dscore
    torch.testing.assert_close(v.grad[0], factor @ u.detach()[0], atol=1e-10, rtol=0)
    torch.testing.assert_close(u.grad[0], factor[:, None] * v.detach(), atol=1e-10, rtol=0)
    assert not u.grad[0, 2].any()


def test_gradients_equal_central_differences():
    v, u = random_pair()
    weights = torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    loss_of(v, u, weights).backward()
    with torch.no_grad():
        for tensor in (v, u):
            for i in range(tensor.numel()):
                step = torch.zeros_like(tensor)
                step.view(-1)[i] = 1e-5
                up, down = ((v + sign * step, u) if tensor is v else (v, u + sign * step) for sign in (1, -1))
                slope = (loss_of(*up, weights) - loss_of(*down, weights)) / 2e-5
                assert float(slope) == pytest.approx(float(tensor.grad.view(-1)[i]), abs=1e-6)


def test_sparse_gradients_of_the_model_equal_dense_ones():
    """A word that is centre, context and negative in one batch adds up, as in a full product of the tables."""
    torch.manual_seed(0)
    model = SkipGram(SkipGramConfig(embed_dim=4), vocab_size=6).double()
    torch.nn.init.normal_(model.output.weight)
    centres, contexts = torch.tensor([2, 2, 5]), torch.tensor([[1, 2, 0], [5, 1, 1], [2, 2, 4]])
    weights = torch.tensor([[1, 1], [1, 1], [0, 1]], dtype=torch.float64)
    negative_sampling_loss(model.pair_scores(centres, contexts), weights).sum().backward()
    sparse = [p.grad.to_dense() for p in model.parameters()]
    v, u = (table.weight.detach().clone().requires_grad_() for table in (model.input, model.output))
    negative_sampling_loss((v @ u.T)[centres].gather(1, contexts), weights).sum().backward()
    torch.testing.assert_close(sparse, [v.grad, u.grad], atol=1e-12, rtol=0)


def test_extreme_scores_stay_finite():
    scores = torch.tensor([[-1e4, 1e4], [1e4, -1e4]], requires_grad=True)
    losses = negative_sampling_loss(scores, torch.ones(2, 1))
    losses.sum().backward()
    assert losses.tolist() == [2e4, 0.0]
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("masked", [False, True], ids=["every negative counts", "true contexts left out"])
def test_full_batch_optimum_equals_the_closed_form(masked):
    """With as many dimensions as words, v.u reaches log(#(w,c) / (k #(w) Pn(c))).

    The batch has one row for each cell of a count matrix, with the expected instead of drawn negatives. Where those
    that equal the true context are left out, as in training, #(w) becomes #(w) - #(w,c).
    """
    generator = torch.Generator().manual_seed(3)
    n_words, k = 5, 3
    counts = torch.randint(1, 30, (n_words, n_words), generator=generator).double()  # (V, V) #(w,c)
    of_word = counts.sum(dim=1, keepdim=True)  # (V, 1) #(w)
    noise = counts.sum(dim=0).pow(0.75)
    noise /= noise.sum()  # (V,) Pn
    denominator = of_word - counts if masked else of_word
    expected = (counts / (k * denominator * noise)).log()

    model = SkipGram(SkipGramConfig(embed_dim=n_words), vocab_size=n_words).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    w, c = (grid.reshape(-1) for grid in torch.meshgrid(torch.arange(n_words), torch.arange(n_words), indexing="ij"))
    everything = torch.arange(n_words).expand(len(w), n_words)
    weights = (k * noise).expand(len(w), n_words)
    if masked:
        weights = weights * (everything != c[:, None])
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=3000,
        tolerance_grad=1e-12,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        scores = model(w[:, None])[:, 0].gather(1, torch.cat((c[:, None], everything), dim=1))
        loss = (negative_sampling_loss(scores, weights) * counts.reshape(-1)).sum() / counts.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    reached = model(torch.arange(n_words)[:, None])[:, 0].detach()
    assert float((reached - expected).abs().max()) < 1e-6
