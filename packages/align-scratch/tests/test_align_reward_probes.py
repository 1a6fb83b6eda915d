"""Probes of reward models against definitions written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from align_scratch.over_optimisation import best_of_n_experiment
from align_scratch.reward_probes import (
    best_against_kl,
    best_of_n_curve,
    best_of_n_kl,
    calibration_error,
    length_bias,
    rank_correlation,
    training_curve,
)


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated() -> None:
    generator = torch.Generator().manual_seed(0)
    difference = 2 * torch.randn(200_000, generator=generator).abs()
    right = torch.rand(200_000, generator=generator) < torch.sigmoid(difference)
    signed = torch.where(right, difference, -difference)
    assert calibration_error(signed) < 0.01
    assert calibration_error(4 * signed) > 0.05  # too sure of itself
    assert calibration_error(signed / 4) > 0.05  # not sure enough


def test_calibration_by_hand() -> None:
    # Confidences 0.6 and 0.9, one of them wrong: bins of 0.1 hold one each.
    difference = torch.tensor([math.log(0.6 / 0.4) + 0.01, -math.log(0.9 / 0.1) - 0.01])
    confidence = torch.sigmoid(difference.abs())
    wanted = (abs(1 - confidence[0]) + abs(0 - confidence[1])) / 2
    assert calibration_error(difference, bins=5) == pytest.approx(float(wanted), abs=1e-6)
    assert calibration_error(torch.zeros(3)) == 0  # undecided, and half right
    assert math.isnan(calibration_error(torch.zeros(0)))


def test_length_counts_only_where_quality_is_equal() -> None:
    generator = torch.Generator().manual_seed(1)
    quality = torch.arange(400) % 2
    lengths = 10 + 5 * quality + torch.randint(0, 5, (400,), generator=generator)
    noise = 0.01 * torch.randn(400, generator=generator)
    honest = 3.0 * quality + noise  # better answers are longer, and that is all
    assert torch.corrcoef(torch.stack((honest.double(), lengths.double())))[0, 1] > 0.8
    assert abs(length_bias(honest, lengths, quality)) < 0.15
    assert length_bias(honest + 0.5 * lengths, lengths, quality) > 0.95
    assert length_bias(honest - 0.5 * lengths, lengths, quality) < -0.95
    assert length_bias(honest, torch.full((400,), 8), quality) is None


def test_the_divergence_of_best_of_n() -> None:
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)
    with pytest.raises(ValueError, match="n: got 0"):
        best_of_n_kl(0)


def test_a_proxy_that_can_be_gamed_shows_in_the_curve() -> None:
    """The proxy likes a flaw: a little of it goes with quality, the most extreme samples have nothing else."""
    x = torch.linspace(-2, 2, 64).repeat(8, 1)
    proxy, gold = x, x - torch.relu(x - 1) * 4
    curve = best_of_n_curve(proxy, gold, [1, 2, 4, 8, 16, 32, 64])
    assert [point["proxy"] for point in curve] == sorted(point["proxy"] for point in curve)
    assert [point["kl"] for point in curve] == [best_of_n_kl(n) for n in (1, 2, 4, 8, 16, 32, 64)]
    best = best_against_kl(curve)
    assert 1 < best["n"] < 64
    assert curve[0]["gold"] == pytest.approx(float(gold.mean()), abs=1e-6)
    assert curve[-1]["gold"] == pytest.approx(float(gold[0, -1]))
    with pytest.raises(ValueError, match="points: got none"):
        best_against_kl([])


def test_rank_correlation_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is an oracle for tests only")
    generator = torch.Generator().manual_seed(2)
    proxy = torch.randint(0, 5, (50,), generator=generator).double()
    gold = proxy + torch.randint(0, 5, (50,), generator=generator)
    assert rank_correlation(proxy, gold) == pytest.approx(stats.spearmanr(proxy, gold).statistic)
    assert rank_correlation(proxy, torch.ones(50)) is None


def test_a_run_is_a_curve() -> None:
    rows = [
        {"step": 0, "eval/greedy": 0.1},
        {"step": 1, "kl": 0.1, "rewards/reward_model/mean": 0.5, "rewards/gold/mean": 0.3},
        {"step": 2, "kl": 0.2, "objective/kl": 2.0, "rewards/reward_model/mean": 0.9, "rewards/gold/mean": 0.2},
        {"step": 3, "kl": None, "rewards/reward_model/mean": 0.9, "rewards/gold/mean": 0.2},
    ]
    assert training_curve(rows) == [
        {"step": 1, "kl": 0.1, "proxy": 0.5, "gold": 0.3},
        {"step": 2, "kl": 2.0, "proxy": 0.9, "gold": 0.2},
    ]
    assert best_against_kl(training_curve(rows))["step"] == 1


def test_the_experiment_shows_what_a_judge_of_length_is_worth(parts: Any, toy_task: Any) -> None:
    """Gold pays short completions and the proxy long ones: what the proxy picks gets worse with every n."""

    class Longer:
        def score(self, rows: Any, /) -> torch.Tensor:
            return rows.completion_lengths.float()

    made = parts(toy_task(lambda text: 1 / (1 + len(text))))
    given = {name: made[name] for name in ("model", "tokenizer", "task", "sampler")}
    model, tokenizer, task, sampler = given.values()
    state = torch.get_rng_state()
    arguments: dict[str, Any] = {"sampler": sampler, "scorer": Longer(), "sizes": (1, 2, 8), "max_new_tokens": 40}
    curve = best_of_n_experiment(model, tokenizer, task, **arguments)
    assert [point["n"] for point in curve] == [1, 2, 8]
    assert curve[0]["proxy"] < curve[1]["proxy"] < curve[2]["proxy"]
    assert curve[0]["gold"] > curve[1]["gold"] > curve[2]["gold"]
    assert best_against_kl(curve)["n"] == 1
    assert best_of_n_experiment(model, tokenizer, task, **arguments) == curve
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="got 0 held-out prompts"):
        best_of_n_experiment(model, tokenizer, task, **arguments | {"prompts": 0})
