"""Samplers: what they draw is what they say, whatever the logits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from inference_scratch.config import GreedyConfig, MultinomialConfig, TopKConfig, TopPConfig
from inference_scratch.drawing import NoDistribution, draw, invert, uniforms
from inference_scratch.samplers import Greedy, Multinomial, Sampler, TopK, TopP

SAMPLERS = {
    "greedy": Greedy(GreedyConfig()),
    "multinomial": Multinomial(MultinomialConfig()),
    "warm": Multinomial(MultinomialConfig(temperature=1.7)),
    "top-k": TopK(TopKConfig(top_k=5, temperature=0.8)),
    "top-p": TopP(TopPConfig(top_p=0.7)),
    "top-k-p": TopP(TopPConfig(top_p=0.8, top_k=6, temperature=1.3)),
}
CHI_SQUARE_15_AT_0_001 = 37.697  # quantile of 15 degrees of freedom; fewer have smaller ones


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", SAMPLERS)
def test_log_probs_are_a_distribution(name: str) -> None:
    log_probs = SAMPLERS[name].log_probs(logits(4, 3, 16))
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(4, 3))


@pytest.mark.parametrize("name", SAMPLERS)
def test_50000_draws_follow_the_stated_distribution(name: str) -> None:
    row = logits(16)
    probs = SAMPLERS[name].log_probs(row).exp().double()
    n = 50_000
    ids = SAMPLERS[name].sample(row.expand(n, 16), torch.Generator().manual_seed(1))
    assert ids.shape == (n,)
    assert ids.dtype == torch.int64
    counts = torch.bincount(ids, minlength=16).double()
    kept = probs > 0
    assert counts[~kept].sum() == 0
    assert float(((counts - n * probs)[kept] ** 2 / (n * probs[kept])).sum()) < CHI_SQUARE_15_AT_0_001


@pytest.mark.parametrize("name", ["top-k", "top-p", "greedy"])
def test_a_million_draws_hold_no_masked_id(name: str) -> None:
    rows = logits(1000, 16)
    rows[:, ::3] = -torch.inf
    log_probs = SAMPLERS[name].log_probs(rows)
    generator = torch.Generator().manual_seed(2)
    for _ in range(1000):
        assert bool((log_probs.gather(-1, draw(log_probs, generator)[:, None]) > -torch.inf).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_borders_of_the_uniform_number_give_ids_of_positive_probability(dtype: torch.dtype) -> None:
    log_probs = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]]).log()
    below_one = 1 - torch.finfo(dtype).eps / 2
    uniform = torch.tensor([[0.0, 0.29, 0.31, below_one]] * 2, dtype=dtype)
    assert invert(log_probs, uniform).tolist() == [[1, 1, 3, 3], [1, 1, 1, 1]]


def test_rare_ids_are_drawn_as_often_as_they_should() -> None:
    # 1e-8 is below the steps of an fp32 cumulative sum near 1; its interval is still there.
    log_probs = torch.tensor([[1 - 2e-8, 1e-8, 1e-8]], dtype=torch.float64).log()
    uniform = torch.tensor([[1 - 2.5e-8, 1 - 1.5e-8, 1 - 0.5e-8]], dtype=torch.float64)
    assert invert(log_probs, uniform).tolist() == [[0, 1, 2]]


def test_greedy_is_one_hot_and_ties_go_to_the_smallest_id() -> None:
    rows = torch.tensor([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [-torch.inf, -1e4, 1e4, 1e4]])
    log_probs = SAMPLERS["greedy"].log_probs(rows)
    assert log_probs.tolist() == [
        [-math.inf, 0.0, -math.inf, -math.inf],
        [0.0, -math.inf, -math.inf, -math.inf],
        [-math.inf, -math.inf, 0.0, -math.inf],
    ]
    assert SAMPLERS["greedy"].sample(rows, torch.Generator()).tolist() == [1, 0, 2]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_logits_without_a_distribution_are_refused_with_the_row(name: str, value: float | None) -> None:
    rows = logits(3, 16)
    if value is None:
        rows[1] = -torch.inf
    else:
        rows[1, 4] = value
    with pytest.raises(NoDistribution, match="row 1: nothing to draw from"):
        SAMPLERS[name].sample(rows, torch.Generator())


@pytest.mark.parametrize("name", SAMPLERS)
def test_minus_infinity_is_no_error_while_one_id_is_left(name: str) -> None:
    rows = torch.full((2, 16), -torch.inf)
    rows[:, 7] = 1e4
    assert SAMPLERS[name].sample(rows, torch.Generator()).tolist() == [7, 7]


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_seed_gives_one_draw_and_logits_are_not_touched(name: str) -> None:
    rows = logits(9, 16)
    before = rows.clone()
    first, second = (SAMPLERS[name].sample(rows, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(rows, before)


def test_a_row_is_drawn_by_its_own_number_whatever_its_neighbours_are() -> None:
    rows = logits(8, 16)
    alone = rows.clone()
    alone[1:] = 0
    first, second = (SAMPLERS["multinomial"].sample(x, torch.Generator().manual_seed(3))[0] for x in (rows, alone))
    assert first == second


@pytest.mark.parametrize("name", ["multinomial", "top-k", "top-p"])
def test_log_probs_have_the_gradient_of_the_restricted_softmax(name: str) -> None:
    row = logits(16).double().requires_grad_()
    log_probs = SAMPLERS[name].log_probs(row)
    assert log_probs.dtype == torch.float64
    chosen = int(log_probs.argmax())
    log_probs[chosen].backward()  # type: ignore[no-untyped-call]
    temperature = SAMPLERS[name].config.temperature  # type: ignore[attr-defined]
    one_hot = torch.nn.functional.one_hot(torch.tensor(chosen), 16)
    torch.testing.assert_close(row.grad, (one_hot - log_probs.detach().exp()) / temperature)


def test_greedy_has_gradient_zero() -> None:
    row = logits(16).requires_grad_()
    SAMPLERS["greedy"].log_probs(row).max().backward()  # type: ignore[no-untyped-call]
    assert row.grad is not None
    assert not row.grad.any()


def test_half_precision_is_computed_in_fp32() -> None:
    row = logits(16).bfloat16()
    log_probs = SAMPLERS["multinomial"].log_probs(row)
    torch.testing.assert_close(log_probs, row.float().log_softmax(-1), rtol=0, atol=0)


def test_uniforms_lie_in_the_half_open_interval() -> None:
    numbers = uniforms(100_000, torch.Generator().manual_seed(0))
    assert numbers.dtype == torch.float64
    assert 0 <= float(numbers.min()) < 1e-3
    assert 1 - 1e-3 < float(numbers.max()) < 1


def test_a_sampler_of_somebody_else_needs_log_probs_only() -> None:
    class Uniform(Sampler):
        def log_probs(self, logits: Tensor, /) -> Tensor:
            return torch.zeros_like(logits).log_softmax(-1)

    ids = Uniform().sample(torch.randn(1000, 4), torch.Generator().manual_seed(0))
    assert sorted(set(ids.tolist())) == [0, 1, 2, 3]
