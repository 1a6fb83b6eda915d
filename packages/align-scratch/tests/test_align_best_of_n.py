"""Best of n: what is chosen, what choice is worth, and a policy that learns to need none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.best_of_n import BestOfN, best_of_curve, best_rows, sizes_up_to
from align_scratch.config.best_of_n import BestOfNConfig
from align_scratch.ppo_proofs import best_of_all
from align_scratch.reward_model import RewardModel

Parts = Callable[..., dict[str, Any]]
SMALL = {
    "steps": 3,
    "prompts_per_step": 9,
    "group_size": 6,
    "warmup_steps": 0,
    "mask_truncated": False,
    "curve_prompts": 9,
}
NAN = math.nan


def late(text: str) -> float:
    return float(text[:1] > "m")


def test_the_best_finished_completion_of_each_group() -> None:
    rewards = torch.tensor([[0.0, 1.0, 1.0], [2.0, 1.0, 0.0], [0.3, 0.3, 0.3], [NAN, 0.0, 1.0], [NAN, NAN, NAN]])
    finished = torch.ones(5, 3, dtype=torch.bool)
    assert best_rows(rewards, finished) == [1, 3, 11]  # equal rewards have no best
    assert best_rows(rewards, finished, drop_zero_variance=False) == [1, 3, 6, 11]
    finished[1, 0] = finished[3] = False
    assert best_rows(rewards, finished) == [1, 4]  # what was cut off does not show how to end


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=st.integers(0, 10_000), n_samples=st.integers(1, 6), ties=st.integers(1, 6))
def test_the_curve_is_the_mean_over_all_choices(seed: int, n_samples: int, ties: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, ties, (3, n_samples), generator=generator).double()
    gold = torch.rand(3, n_samples, generator=generator, dtype=torch.float64)
    for n in range(1, n_samples + 1):
        assert best_of_curve(rewards, gold, [n])[0] == pytest.approx(best_of_all(rewards, gold, n), abs=1e-12)


@pytest.mark.parametrize(("right", "n"), [(0, 2), (3, 1), (3, 4), (8, 8), (1, 8), (7, 2)])
def test_with_a_perfect_judge_it_is_pass_at_n(right: int, n: int) -> None:
    marks = torch.tensor([[1.0] * right + [0.0] * (8 - right)])
    assert best_of_curve(marks, marks, [n])[0] == pytest.approx(1 - math.comb(8 - right, n) / math.comb(8, n))


def test_a_judge_that_prefers_the_wrong_bends_the_curve_down() -> None:
    gold = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    curve = best_of_curve(1 - gold, gold, [1, 2, 4])
    assert curve == [0.75, 0.5, 0.0]
    unjudged = torch.tensor([[NAN, NAN, NAN, 0.0]])
    assert best_of_curve(unjudged, gold, [1, 4]) == [0.75, 0.0]  # NaN comes last


def test_sizes() -> None:
    assert [sizes_up_to(n) for n in (2, 6, 8)] == [[1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]
    with pytest.raises(ValueError, match=r"sizes: got .9., must be between 1 and the 8 samples"):
        best_of_curve(torch.zeros(1, 8), torch.zeros(1, 8), [9])
    with pytest.raises(ValueError, match=r"must be .P, N. both"):
        best_of_curve(torch.zeros(1, 8), torch.zeros(8), [1])


def test_metrics_and_records(parts: Parts, toy_task: Any) -> None:
    trainer = BestOfN(BestOfNConfig(**SMALL), **parts(toy_task(late)))
    assert trainer.last_rollouts() == []
    metrics = next(iter(trainer.train()))
    records = trainer.last_rollouts()
    json.dumps(records, allow_nan=False)
    kept = [record for record in records if record["kept"]]
    assert metrics["kept"] == len(kept) > 1
    assert all(record["reward"] == 1 for record in kept)
    assert len({record["group"] for record in kept}) == len(kept)
    groups = [[r["reward"] for r in records if r["group"] == group] for group in range(9)]
    assert metrics["reward/best"] == pytest.approx(sum(map(max, groups)) / 9)
    assert metrics["reward"] < metrics["reward/best"]


def test_evaluation_shows_what_choice_is_worth(parts: Parts, toy_task: Any) -> None:
    trainer = BestOfN(BestOfNConfig(**SMALL | {"group_size": 8}), **parts(toy_task(late)))
    found = trainer.evaluate()
    curve = [found[f"best_of/{n}"] for n in (1, 2, 4, 8)]
    assert curve == sorted(curve)
    assert curve[0] < curve[-1]
    assert found == trainer.evaluate()
    without = BestOfN(BestOfNConfig(**SMALL | {"curve_prompts": 0}), **parts(toy_task(late)))
    assert not [name for name in without.evaluate() if name.startswith("best_of/")]


def test_it_learns_to_give_the_best_at_once(parts: Parts, toy_task: Any) -> None:
    config = BestOfNConfig(**SMALL | {"steps": 30, "group_size": 8}, lr=1e-2)
    trainer = BestOfN(config, **parts(toy_task(late)))
    rewards = [metrics["reward"] for metrics in trainer.train()]
    assert rewards[0] < 0.6
    assert sum(rewards[-5:]) / 5 > 0.7


@pytest.mark.parametrize("k", [1, 13])
def test_resume_is_bit_equal(parts: Parts, toy_task: Any, resume: Any, k: int) -> None:
    config = BestOfNConfig(**SMALL | {"steps": 20}, grad_accum_steps=2, batch_size=8)
    task = toy_task(late)
    resume(lambda seed: BestOfN(config, **parts(task, seed=seed, dropout=0.2) | {"seed": 5}), k, 20)


def test_equal_rewards_change_no_weight(parts: Parts, toy_task: Any, same: Any) -> None:
    trainer = BestOfN(BestOfNConfig(**SMALL), **parts(toy_task(lambda text: 0.3)))
    before = trainer.state_dict()["model"]
    for metrics in trainer.train():
        assert metrics["kept"] == 0
        assert metrics["loss"] is None
    same(before, trainer.state_dict()["model"], "model")


def test_by_a_reward_model(parts: Parts, toy_task: Any, tmp_path: Path, tokenizer: Any) -> None:
    """The model says what is best, the task what is right."""
    built = parts(toy_task(late))
    shape = {
        "vocab_size": tokenizer.vocab_size,
        "n_layer": 1,
        "n_head": 2,
        "n_embd": 8,
        "max_length": 64,
        "dropout": 0.0,
    }
    scorer = RewardModel.on_encoder(shape, tokenizer)
    scorer.save(tmp_path / "trainer")
    trainer = BestOfN(BestOfNConfig(**SMALL, reward_model=str(tmp_path)), **built)
    metrics = next(iter(trainer.train()))
    records = trainer.last_rollouts()
    for group in range(9):
        rows = [r for r in records if r["group"] == group]
        assert [r["reward"] for r in rows if r["kept"]] == [max(r["reward"] for r in rows)]
    assert metrics["rewards/gold/mean"] == metrics["accuracy"]
    assert 0 <= trainer.evaluate()["best_of/6"] <= 1


def test_what_was_cut_off_is_not_imitated(parts: Parts, toy_task: Any) -> None:
    config = BestOfNConfig(**SMALL | {"mask_truncated": True, "prompts_per_step": 64, "drop_zero_variance": False})
    trainer = BestOfN(config, **parts(toy_task(late)))
    metrics = next(iter(trainer.train()))
    records = trainer.last_rollouts()
    assert 0 < metrics["kept"] < 64
    assert not any(record["kept"] and record["truncated"] for record in records)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="group_size: got 1, must be at least 2: the best of one"):
        BestOfNConfig(group_size=1)
    with pytest.raises(ValueError, match="curve_prompts: got -1, must be at least 0"):
        BestOfNConfig(curve_prompts=-1)
