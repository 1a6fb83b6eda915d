"""Expert iteration: keeps what is right, once; learns from it and from nothing else; goes on where nothing is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from align_scratch.config.expert_iteration import ExpertIterationConfig
from align_scratch.config.optimizer import OptimizerConfig
from align_scratch.errors import DoesNotFit, TrainingDiverged
from align_scratch.expert_iteration import ExpertIteration, good_and_different
from align_scratch.imitation import imitate
from align_scratch.reward_model import RewardModel
from align_scratch.rollouts import Rollouts
from align_scratch.sft import completion_loss
from align_scratch.state import adamw, trainable
from align_scratch.tasks.problems import Example, Score
from inference_scratch.config import TopKConfig
from inference_scratch.generate import Generation
from inference_scratch.samplers import TopK
from inference_scratch.score import join, pack

Parts = Callable[..., dict[str, Any]]
SMALL = {"steps": 3, "prompts_per_step": 9, "group_size": 6, "warmup_steps": 0, "mask_truncated": False}
EOS = 0
PROMPTS = [[5, 6, 7], [5], [6, 6], [7, 5, 6, 5]]
COMPLETIONS = [[8, 9, EOS], [EOS], [9, 9, 9, 9], [8, EOS]]


def late(text: str) -> float:
    return float(text[:1] > "m")


def sampled(rows: list[list[int]], rewards: list[float], prompts: list[str]) -> Rollouts:
    """Rollouts as they could have been, with a group for each prompt; what ends with EOS has ended."""
    width = max(map(len, rows))
    generation = Generation(
        tokens=torch.tensor([row + [EOS] * (width - len(row)) for row in rows]),
        lengths=torch.tensor([len(row) for row in rows]),
        log_probs=torch.zeros(len(rows), width),
        finished=torch.tensor([row[-1] == EOS for row in rows]),
    )
    return Rollouts(
        examples=[Example(prompt, "abc", "abc") for prompt in prompts],
        completions=["" for _ in rows],
        scores=[Score(reward=reward, correct=reward == 1.0) for reward in rewards],
        generation=generation,
        sequences=join([[7]] * len(prompts), generation),
        rewards=torch.tensor(rewards, dtype=torch.float64).view(len(prompts), -1),
    )


def test_each_correct_completion_is_kept_once() -> None:
    rows = [[1, EOS], [2, EOS], [1, EOS], [1, 2, 3], [1, EOS], [3, EOS], [1, EOS], [4, EOS]]
    rewards = [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, float("nan")]
    rollouts = sampled(rows, rewards, ["a", "b"])
    # 2 repeats 0, 3 has no end, 6 repeats 4; 4 has the ids of 0, for another prompt
    assert good_and_different(rollouts) == [0, 4, 5]
    assert good_and_different(rollouts, max_per_prompt=1) == [0, 4]
    assert good_and_different(rollouts, mask_truncated=False) == [0, 3, 4, 5]
    assert good_and_different(sampled(rows, rewards, ["a", "a"])) == [0, 5]  # a prompt that came twice
    assert good_and_different(rollouts, min_reward=0.0) == [0, 1, 4, 5]  # NaN is no reward


def test_imitation_is_the_mean_over_all_tokens_and_ends(toy_model: Any) -> None:
    """One pass in one batch equals one step down the gradient of sum nll / tokens, however it is split."""
    found = []
    for accumulate in (1, 2, 3):
        torch.manual_seed(0)
        model = toy_model(12)
        rows = pack(PROMPTS, COMPLETIONS)
        named = trainable(model)
        config = OptimizerConfig(grad_clip=None, grad_accum_steps=accumulate)
        nll, _ = completion_loss(model, rows)
        expected = torch.autograd.grad(nll / 10, list(named.values()), allow_unused=True)
        sgd = torch.optim.SGD(named.values())
        got = imitate(model, sgd, named, rows, config, batch_size=4, epochs=1, lr=0.1, seed=0, where="")
        assert got.loss == pytest.approx(nll.item() / 10, abs=1e-6)
        norm = torch.stack([g.norm() for g in expected if g is not None]).norm().item()
        assert got.grad_norm == pytest.approx(norm, rel=1e-5)
        assert got.updates == 1
        found.append(torch.cat([p.detach().flatten() for p in named.values()]))
    for weights in found[1:]:
        assert torch.allclose(weights, found[0], atol=1e-6)


def test_batches_are_nearly_equal_and_every_row_comes_once_a_pass(toy_model: Any) -> None:
    torch.manual_seed(0)
    model = toy_model(12)
    named = trainable(model)
    seen: list[int] = []
    rows = pack([[5]] * 7, [[8, EOS]] * 7)
    config = OptimizerConfig()
    select = type(rows).select

    def spy(self: Any, chosen: torch.Tensor) -> Any:
        seen.append(len(chosen))
        return select(self, chosen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(rows), "select", spy)
        got = imitate(
            model, adamw(named, config), named, rows, config, batch_size=3, epochs=2, lr=1e-3, seed=0, where=""
        )
    assert seen == [3, 2, 2, 3, 2, 2]
    assert got.updates == 6


def test_nothing_correct_is_counted_and_survived(parts: Parts, toy_task: Any, same: Any) -> None:
    trainer = ExpertIteration(ExpertIterationConfig(**SMALL), **parts(toy_task(lambda text: 0.0)))
    before = trainer.state_dict()["model"]
    found = list(trainer.train())
    assert [metrics["steps_with_nothing_kept"] for metrics in found] == [1, 2, 3]
    assert all(metrics["kept"] == metrics["updates"] == 0 and metrics["loss"] is None for metrics in found)
    same(before, trainer.state_dict()["model"], "model")
    json.dumps(trainer.last_rollouts(), allow_nan=False)


def test_metrics_and_records(parts: Parts, toy_task: Any) -> None:
    config = ExpertIterationConfig(**SMALL, max_per_prompt=2, batch_size=4, epochs=3)
    trainer = ExpertIteration(config, **parts(toy_task(late)))
    assert trainer.last_rollouts() == []
    metrics = next(iter(trainer.train()))
    records = trainer.last_rollouts()
    json.dumps(records, allow_nan=False)
    kept = [record for record in records if record["kept"]]
    assert metrics["kept"] == len(kept) > 4
    assert all(record["correct"] for record in kept)
    pairs = [(record["prompt"], record["completion"]) for record in kept]
    assert len(set(pairs)) == len(pairs)
    counts = [sum(prompt == other for other, _ in pairs) for prompt, _ in pairs]
    assert max(counts) <= 2
    assert metrics["kept/prompts"] == len({prompt for prompt, _ in pairs})
    assert metrics["updates"] == 3 * -(-len(kept) // 4)
    assert all(record["advantage"] is None for record in records)


@pytest.mark.parametrize("from_base", [False, True])
@pytest.mark.parametrize("k", [1, 13])
def test_resume_is_bit_equal(parts: Parts, toy_task: Any, resume: Any, k: int, from_base: bool) -> None:
    config = ExpertIterationConfig(**SMALL | {"steps": 20}, from_base=from_base, grad_accum_steps=2, batch_size=8)
    task = toy_task(late)
    resume(lambda seed: ExpertIteration(config, **parts(task, seed=seed, dropout=0.2) | {"seed": 5}), k, 20)


def test_from_the_base_each_iteration_starts_over(parts: Parts, toy_task: Any, same: Any) -> None:
    """With a vanishing rate at the end nothing is left of the iterations before, or all of it."""
    for from_base in (True, False):
        config = ExpertIterationConfig(**SMALL | {"steps": 6}, from_base=from_base, lr=1e-2, min_lr_ratio=1e-6)
        trainer = ExpertIteration(config, **parts(toy_task(late)))
        start = trainer.state_dict()["model"]
        list(trainer.train())
        end = trainer.state_dict()["model"]
        moved = max(float((end[name] - start[name]).abs().max()) for name in start if start[name].is_floating_point())
        assert (moved < 1e-4) == from_base


def test_it_learns_what_is_kept(parts: Parts, toy_task: Any) -> None:
    config = ExpertIterationConfig(**SMALL | {"steps": 30}, lr=1e-2)
    rewards = [metrics["reward"] for metrics in ExpertIteration(config, **parts(toy_task(late))).train()]
    assert rewards[0] < 0.6
    assert sum(rewards[-5:]) / 5 > 0.7


def test_refusals(parts: Parts, toy_task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DoesNotFit, match="sampler: gives some tokens no probability"):
        ExpertIteration(ExpertIterationConfig(**SMALL), **parts(sampler=TopK(TopKConfig(top_k=3))))
    for name in ("epochs", "batch_size", "max_per_prompt", "group_size"):
        with pytest.raises(ValueError, match=f"{name}: got 0, must be at least 1"):
            ExpertIterationConfig(**{name: 0})
    trainer = ExpertIteration(ExpertIterationConfig(**SMALL), **parts(toy_task(late)))
    monkeypatch.setattr("align_scratch.imitation.completion_loss", lambda m, r: (m.embed.weight.sum() * torch.nan, 0))
    with pytest.raises(TrainingDiverged, match="expert-iteration step 1: loss nan"):
        list(trainer.train())
    assert len(trainer.last_rollouts()) == 54


def test_a_reward_model_says_what_is_kept(parts: Parts, tokenizer: Any, tmp_path: Path) -> None:
    """By its scores alone: what the task calls correct is only shown."""
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 8, "max_length": 64, "dropout": 0.0}
    RewardModel.on_encoder({"vocab_size": tokenizer.vocab_size, **shape}, tokenizer, seed=1).save(tmp_path / "trainer")
    config = ExpertIterationConfig(**SMALL, reward_model=str(tmp_path), min_reward=0.2)
    trainer = ExpertIteration(config, **parts())
    metrics = next(iter(trainer.train()))
    records = trainer.last_rollouts()
    assert 0 < metrics["kept"] < len(records)
    assert all(record["reward"] >= 0.2 for record in records if record["kept"])
    assert {"rewards/reward_model/mean", "rewards/gold/mean"} <= metrics.keys()
    assert metrics["reward"] == pytest.approx(metrics["rewards/reward_model/mean"])
    with pytest.raises(ValueError, match="min_reward: got None, must be a number where there is a reward_model"):
        ExpertIterationConfig(reward_model="runs/judge")
