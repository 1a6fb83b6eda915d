"""Filters against closed forms and against transformers' own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inference_scratch import filters
from inference_scratch.config import TopKConfig, TopPConfig
from inference_scratch.samplers import TopK, TopP

REASON = "transformers is the oracle"


def masks(logits: Tensor) -> Tensor:
    return logits > -torch.inf


TIED = (1, 4)


def assert_equal_up_to_ties(ours: Tensor, theirs: Tensor, *, tied: bool) -> None:
    """Equal, or with ties the same values in another order: transformers sorts them unstably."""
    if tied:
        ours, theirs = ours.sort(-1).values, theirs.sort(-1).values
    assert torch.equal(masks(ours), masks(theirs))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def awkward_logits() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.randn(64, 33, generator=generator)
    tied = torch.randint(-3, 4, (64, 33), generator=generator).float()
    masked = torch.where(torch.rand(64, 33, generator=generator) < 0.6, -torch.inf, smooth)
    masked[:, 5] = 1.0  # something is left in each row
    huge = smooth * 1e4
    return [smooth, tied, masked, huge, torch.zeros(3, 33), smooth * 20]


@pytest.mark.parametrize("k", [1, 2, 5, 32, 33, 50])
@pytest.mark.parametrize("case", range(6))
def test_top_k_equals_transformers(k: int, case: int) -> None:
    oracle = pytest.importorskip("transformers.generation.logits_process", reason=REASON)
    logits = awkward_logits()[case]
    torch.testing.assert_close(filters.top_k(logits, k), oracle.TopKLogitsWarper(k)(None, logits), rtol=0, atol=0)


@pytest.mark.parametrize("p", [1e-4, 0.1, 0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("case", range(6))
def test_top_p_equals_transformers(p: float, case: int) -> None:
    oracle = pytest.importorskip("transformers.generation.logits_process", reason=REASON)
    logits = awkward_logits()[case]
    assert_equal_up_to_ties(filters.top_p(logits, p), oracle.TopPLogitsWarper(p)(None, logits), tied=case in TIED)


@pytest.mark.parametrize("t", [1e-5, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("case", range(6))
def test_temperature_equals_transformers(t: float, case: int) -> None:
    oracle = pytest.importorskip("transformers.generation.logits_process", reason=REASON)
    logits = awkward_logits()[case]
    torch.testing.assert_close(filters.temperature(logits, t), oracle.TemperatureLogitsWarper(t)(None, logits))


@pytest.mark.parametrize("case", range(6))
def test_all_filters_together_equal_the_pipeline_of_transformers(case: int) -> None:
    oracle = pytest.importorskip("transformers.generation.logits_process", reason=REASON)
    logits = awkward_logits()[case]
    expected = logits
    for warper in (
        oracle.TemperatureLogitsWarper(0.7),
        oracle.TopKLogitsWarper(9),
        oracle.TopPLogitsWarper(0.8),
    ):
        expected = warper(None, expected)
    ours = TopP(TopPConfig(temperature=0.7, top_k=9, top_p=0.8)).log_probs(logits)
    assert_equal_up_to_ties(ours, expected.log_softmax(-1), tied=case in TIED)


def test_top_p_keeps_the_id_that_crosses() -> None:
    logits = torch.tensor([0.5, 0.45, 0.05]).log()
    assert masks(filters.top_p(logits, 0.9)).tolist() == [True, True, False]
    assert masks(filters.top_p(logits, 0.4)).tolist() == [True, False, False]


def test_top_p_keeps_the_smallest_ids_among_equals() -> None:
    logits = torch.tensor([0.1, 0.2, 0.2, 0.3, 0.2]).log()
    assert masks(filters.top_p(logits, 0.65)).tolist() == [False, True, True, True, False]
    assert masks(filters.top_p(torch.zeros(300), 0.499)).tolist() == [True] * 150 + [False] * 150


@pytest.mark.parametrize("case", range(6))
def test_both_ways_of_sorting_agree(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = awkward_logits()[case]
    with_numpy = filters.top_k(logits, 7), filters.top_p(logits, 0.7)
    monkeypatch.setattr(filters, "_numpy_is_faster", lambda logits: False)
    with_torch = filters.top_k(logits, 7), filters.top_p(logits, 0.7)
    for ours, theirs in zip(with_numpy, with_torch, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("fast", [True, False])
def test_nan_is_never_filtered_away(value: float, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "_numpy_is_faster", lambda logits: fast)
    for place in range(5):
        logits = torch.arange(5.0)
        logits[place] = value
        for filtered in (filters.top_k(logits, 2), filters.top_p(logits, 0.5)):
            assert bool(filtered.log_softmax(-1).isnan().any())


def test_top_k_keeps_ties_with_the_last() -> None:
    assert masks(filters.top_k(torch.tensor([3.0, 1.0, 2.0, 2.0, 0.0]), 2)).tolist() == [True, False, True, True, False]


@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12),
    p=st.floats(0.01, 1.0),
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_top_p_keeps_a_smallest_set_that_reaches_p(logits: list[float], p: float) -> None:
    row = torch.tensor(logits)
    kept = masks(filters.top_p(row, p))
    probs = row.double().softmax(-1)
    held = float(probs[kept].sum())
    assert held >= p - 1e-6
    assert held - float(probs[kept].min()) <= p + 1e-6  # one fewer would not reach p
    assert bool(kept.all()) or float(probs[kept].min()) >= float(probs[~kept].max())


@given(logits=st.lists(st.integers(-4, 4), min_size=1, max_size=12), k=st.integers(0, 14))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_top_k_keeps_what_at_most_k_minus_one_ids_exceed(logits: list[int], k: int) -> None:
    kept = masks(filters.top_k(torch.tensor(logits, dtype=torch.float32), k)).tolist()
    expected = [k == 0 or sum(other > value for other in logits) < k for value in logits]
    assert kept == expected


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 7)])
def test_filters_work_along_the_last_dimension(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for filtered in (filters.top_k(logits, 3), filters.top_p(logits, 0.6)):
        assert filtered.shape == shape
    flat = logits.reshape(-1, 7)
    rows = torch.stack([filters.top_p(row, 0.6) for row in flat])
    torch.testing.assert_close(filters.top_p(logits, 0.6).reshape(-1, 7), rows, rtol=0, atol=0)


def test_the_input_is_left_alone() -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    TopP(TopPConfig(temperature=0.5, top_k=3, top_p=0.5)).log_probs(logits)
    TopK(TopKConfig(top_k=2)).log_probs(logits)
    assert torch.equal(logits, before)


def test_the_order_is_the_documented_one() -> None:
    assert [name for name, _ in filters.FILTERS] == ["temperature", "top_k", "top_p"]
