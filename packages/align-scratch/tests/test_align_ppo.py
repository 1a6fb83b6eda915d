"""PPO at work: where it starts, what its numbers mean, what it leaves out, resuming to the bit, refusals."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from align_scratch.config.ppo import PPOConfig
from align_scratch.errors import DoesNotFit, TrainingDiverged
from align_scratch.ppo import PPO
from align_scratch.reward_model import RewardModel
from inference_scratch.config import MultinomialConfig, TopKConfig
from inference_scratch.samplers import Multinomial, TopK

Parts = Callable[..., dict[str, Any]]
SMALL = {"steps": 3, "prompts_per_step": 24, "warmup_steps": 0}
ONE_UPDATE = {"minibatches": 1, "epochs_per_batch": 1}


def late(text: str) -> float:
    """1 for completions that begin with a letter of the second half of the alphabet: about a third by chance."""
    return float(text[:1] > "m")


def first(trainer: PPO) -> Any:
    return next(iter(trainer.train()))


@pytest.mark.parametrize("trunk", ["shared", "detached", "own"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_first_update_starts_at_the_policy_that_sampled(
    parts: Parts, toy_task: Any, temperature: float, trunk: str
) -> None:
    """Ratio exactly 1, so no divergence and no clip; and what the sampler reported is what is scored."""
    sampler = Multinomial(MultinomialConfig(temperature=temperature))
    config = PPOConfig(**SMALL, **ONE_UPDATE, value_trunk=trunk)
    for metrics in PPO(config, **parts(toy_task(late), sampler=sampler)).train():
        assert metrics["val/ratio"] == 1
        assert metrics["policy/approxkl_avg"] == metrics["policy/clipfrac_avg"] == metrics["val/clipfrac_avg"] == 0
        assert metrics["sampling/sampling_logp_difference/max"] < 1e-5
    assert metrics["kl"] > 0


def test_later_updates_of_a_batch_move_away(parts: Parts, toy_task: Any) -> None:
    config = PPOConfig(**SMALL, lr=3e-2, minibatches=2, epochs_per_batch=3)
    metrics = first(PPO(config, **parts(toy_task(late))))
    assert metrics["val/ratio"] != 1
    assert metrics["policy/approxkl_avg"] > 0
    both = metrics["clip_ratio/low_mean"] + metrics["clip_ratio/high_mean"]
    assert metrics["policy/clipfrac_avg"] == pytest.approx(both)
    assert both > 0


def test_metrics_and_records(parts: Parts, toy_task: Any) -> None:
    trainer = PPO(PPOConfig(**SMALL | {"group_size": 2}, lr=3e-2, kl_coef=0.3), **parts(toy_task(late)))
    assert trainer.last_rollouts() == []
    steps = trainer.train()
    metrics = next(steps)
    assert metrics["objective/kl"] == 0  # the policy is the reference
    metrics = next(steps)
    records = trainer.last_rollouts()
    json.dumps(records, allow_nan=False)
    assert len(records) == 48

    def mean(name: str) -> float:
        return sum(record[name] for record in records) / len(records)

    assert metrics["reward"] == pytest.approx(mean("reward"))
    assert metrics["objective/scores"] == pytest.approx(mean("reward"), rel=1e-6)
    assert metrics["objective/kl"] == pytest.approx(mean("kl"), rel=1e-5)
    assert metrics["objective/kl"] != 0  # of the policy after the first step; k1 may be negative
    assert metrics["objective/non_score_reward"] == pytest.approx(-0.3 * mean("kl"), rel=1e-5)
    assert metrics["objective/rlhf_reward"] == pytest.approx(mean("reward") - 0.3 * mean("kl"), rel=1e-5)
    per_token = metrics["objective/entropy"] / metrics["completions/mean_length"]
    assert per_token == pytest.approx(metrics["entropy"], rel=1e-5)
    assert metrics["kl_coef"] == 0.3
    assert metrics["num_tokens"] > 2 * 48
    assert {record["step"] for record in records} == {2}


def test_divergence_is_known_where_nothing_is_paid_for_it(parts: Parts, toy_task: Any) -> None:
    """Without kl_coef it changes nothing, and is measured on as many rollouts as `track_kl` says."""
    found = {}
    for track in (0, 5, 24):
        trainer = PPO(PPOConfig(**SMALL, lr=3e-2, kl_coef=0, track_kl=track), **parts(toy_task(late)))
        metrics = list(trainer.train())[-1]
        kls = [record["kl"] for record in trainer.last_rollouts() if record["kl"] is not None]
        assert len(kls) == track
        assert metrics["objective/kl"] == (pytest.approx(sum(kls) / len(kls), rel=1e-5) if kls else None)
        assert metrics["objective/non_score_reward"] == 0
        assert metrics["objective/rlhf_reward"] == metrics["objective/scores"]
        found[track] = metrics["loss"]
        if track:
            assert metrics["objective/kl"] != 0
    assert len(set(found.values())) == 1


def test_advantages_are_what_the_definition_says(parts: Parts, toy_task: Any) -> None:
    """In the first batch every value is 0 and there is no divergence: with lam = 1 each token's is its row's score."""
    config = PPOConfig(**SMALL, lam=1.0, whiten_advantages=False)
    trainer = PPO(config, **parts(toy_task(late)))
    first(trainer)
    for record in trainer.last_rollouts():
        assert record["value"] == 0
        assert record["advantage"] == pytest.approx(record["reward"], abs=1e-6)


@pytest.mark.parametrize(
    ("trunk", "k"), [("shared", 1), ("shared", 7), ("shared", 13), ("shared", 19), ("detached", 7), ("own", 7)]
)
def test_resume_is_bit_equal(parts: Parts, toy_task: Any, resume: Any, trunk: str, k: int) -> None:
    """With dropout in the updates, accumulation, an adaptive weight, normalised scores, bootstrapping."""
    config = PPOConfig(
        **SMALL | {"steps": 20, "prompts_per_step": 8},
        grad_accum_steps=2,
        disable_dropout=False,
        lr=5e-3,
        kl_target=0.01,
        kl_horizon=100,
        normalize_scores=True,
        bootstrap_truncated=True,
        value_trunk=trunk,
        ent_coef=0.01,
    )
    resume(lambda seed: PPO(config, **parts(toy_task(late), seed=seed, dropout=0.2) | {"seed": 5}), k, 20)


@pytest.mark.parametrize("trunk", ["shared", "detached", "own"])
def test_gradients_do_not_depend_on_the_split(parts: Parts, toy_task: Any, trunk: str) -> None:
    found = []
    for accumulate in (1, 2, 3, 7):
        config = PPOConfig(**SMALL, **ONE_UPDATE, grad_accum_steps=accumulate, ent_coef=0.1, value_trunk=trunk)
        found.append(first(PPO(config, **parts(toy_task(late)))))
    for metrics in found[1:]:
        for name in ("loss", "loss/policy_avg", "loss/value_avg"):
            assert metrics[name] == pytest.approx(found[0][name], abs=1e-6)
        assert metrics["grad_norm"] == pytest.approx(found[0]["grad_norm"], rel=1e-4)


def test_the_value_function_learns_what_is_to_come(parts: Parts, toy_task: Any) -> None:
    """Every completion is worth 0.7: values go there, advantages to 0, and nothing of it moves a detached policy."""
    config = PPOConfig(
        **SMALL | {"steps": 40}, value_trunk="detached", value_lr_ratio=10, lr=1e-2, kl_coef=0, whiten_advantages=False,
        vf_coef=1.0,
    )  # fmt: skip
    trainer = PPO(config, **parts(toy_task(lambda text: 0.7)))
    values = []
    for _ in trainer.train():
        records = trainer.last_rollouts()
        values.append(sum(record["value"] for record in records) / len(records))
    assert values[0] == 0
    assert values[-1] == pytest.approx(0.7, abs=0.05)


def test_entropy_bonus(parts: Parts, toy_task: Any) -> None:
    """A constant score and no divergence: the bonus alone remains, and the policy becomes more even."""
    ends = {}
    for weight in (0.0, 0.5):
        config = PPOConfig(**SMALL | {"steps": 15}, ent_coef=weight, kl_coef=0, lr=1e-2, vf_coef=0.0)
        *_, last = PPO(config, **parts(toy_task(late))).train()
        ends[weight] = last["entropy"]
    assert ends[0.5] > ends[0.0]


def test_divergence_in_the_reward_holds_the_policy_back(parts: Parts, toy_task: Any) -> None:
    ends = {}
    for weight in (0.0, 2.0):
        config = PPOConfig(**SMALL | {"steps": 25}, lr=1e-2, kl_coef=weight)
        *_, last = PPO(config, **parts(toy_task(late))).train()
        ends[weight] = last["kl"]
    assert ends[2.0] < ends[0.0] / 2


def test_adaptive_weight_rises_above_its_target_and_falls_below(parts: Parts, toy_task: Any) -> None:
    for target, up in ((1e-6, True), (1e6, False)):
        config = PPOConfig(**SMALL, lr=1e-2, kl_coef=0.1, kl_target=target, kl_horizon=100)
        weights = [metrics["kl_coef"] for metrics in PPO(config, **parts(toy_task(late))).train()]
        assert weights[0] == 0.1
        assert (weights[2] > weights[1]) == up
        assert abs(weights[2] / weights[1] - 1) == pytest.approx(0.2 * 24 / 100)


def test_missing_ends_are_fined(parts: Parts, toy_task: Any) -> None:
    trainer = PPO(PPOConfig(**SMALL, missing_eos_penalty=3.0), **parts(toy_task(late)))
    metrics = first(trainer)
    records = trainer.last_rollouts()
    fined = sum(record["truncated"] for record in records)
    assert fined > 0
    expected = (sum(record["reward"] for record in records) - 3 * fined) / len(records)
    assert metrics["objective/scores"] == pytest.approx(expected)
    assert metrics["reward"] != metrics["objective/scores"]


def test_scores_of_extreme_scale(parts: Parts, toy_task: Any, caplog: pytest.LogCaptureFixture) -> None:
    task = toy_task(lambda text: 1e4 * late(text) + 5e5)
    caplog.set_level(logging.INFO, logger="align_scratch.ppo")
    metrics = first(PPO(PPOConfig(**SMALL), **parts(task)))
    assert "scores reach 5.1e+05; normalize_scores or clip_scores would keep them in bounds" in caplog.text
    caplog.clear()
    trainer = PPO(PPOConfig(**SMALL, normalize_scores=True), **parts(task))
    metrics = first(trainer)
    assert metrics["objective/scores"] == pytest.approx(0, abs=1e-4)
    assert "ppo: scores less 5.0" in caplog.text
    assert trainer.normaliser is not None
    assert trainer.normaliser[1] == pytest.approx(metrics["reward_std"], rel=1e-6)
    caplog.clear()
    metrics = first(PPO(PPOConfig(**SMALL, clip_scores=2.0), **parts(task)))
    assert metrics["objective/scores"] == 2
    assert "are cut to 2" in caplog.text


def test_completions_without_marks_teach_nothing(parts: Parts, toy_task: Any) -> None:
    def reward(text: str) -> float:
        if text[:1] > "t":
            raise RuntimeError("cannot read this")
        return float("inf") if text[:1] > "p" else float(text[:1] > "h")

    trainer = PPO(PPOConfig(**SMALL), **parts(toy_task(reward)))
    metrics = first(trainer)
    records = trainer.last_rollouts()
    json.dumps(records, allow_nan=False)
    broken = [record for record in records if record["reward"] is None]
    assert metrics["reward/errors"] == len(broken) > 0
    assert all(record["advantage"] == 0 for record in broken)
    good = [record["reward"] for record in records if record["reward"] is not None]
    assert metrics["objective/scores"] == pytest.approx(sum(good) / len(good))
    assert metrics["reward_std"] == pytest.approx(torch.tensor(good).double().std().item())  # of what is known


def test_not_a_number_stops_before_the_step(
    parts: Parts, toy_task: Any, same: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = PPO(PPOConfig(**SMALL), **parts(toy_task(late)))
    before = trainer.state_dict()
    monkeypatch.setattr("align_scratch.ppo.policy_terms", lambda log_ratio, *rest: log_ratio * torch.nan)
    with pytest.raises(TrainingDiverged, match="ppo step 1: loss nan"):
        first(trainer)
    assert len(trainer.last_rollouts()) == 24
    same(before["model"], trainer.state_dict()["model"], "model")
    same(before["values"], trainer.state_dict()["values"], "values")


# --- a reward model


def reward_model(directory: Path, tokenizer: Any, vocab_size: int, max_length: int = 64) -> RewardModel:
    shape = {"vocab_size": vocab_size, "n_layer": 1, "n_head": 2, "n_embd": 8, "max_length": max_length, "dropout": 0.0}
    model = RewardModel.on_encoder(shape, tokenizer)
    model.save(directory / "trainer")
    return model


def test_scores_of_a_reward_model(parts: Parts, toy_task: Any, tmp_path: Path, tokenizer: Any) -> None:
    built = parts(toy_task(late))
    scorer = reward_model(tmp_path, tokenizer, built["model"].vocab_size)
    config = PPOConfig(**SMALL, reward_model=str(tmp_path), normalize_scores=False)
    trainer = PPO(config, **built)
    metrics = first(trainer)
    rollouts = trainer._last[1] if trainer._last else None
    assert rollouts is not None
    expected = scorer.score(rollouts.sequences)
    assert metrics["objective/scores"] == pytest.approx(expected.mean().item(), rel=1e-5)
    assert metrics["rewards/reward_model/mean"] == pytest.approx(metrics["reward"])
    for record, value in zip(trainer.last_rollouts(), expected.tolist(), strict=True):
        assert record["reward"] == pytest.approx(value, abs=1e-6)
        assert record["rewards"]["gold"] == late(record["completion"])  # the task's own marks stay visible
        assert record["correct"] == bool(late(record["completion"]))
    assert metrics["accuracy"] == metrics["rewards/gold/mean"]


def test_a_reward_models_scores_are_normalised_unless_told_otherwise(
    parts: Parts, toy_task: Any, tmp_path: Path, tokenizer: Any
) -> None:
    built = parts(toy_task(late))
    reward_model(tmp_path, tokenizer, built["model"].vocab_size)
    config = PPOConfig(**SMALL | {"steps": 15}, reward_model=str(tmp_path), lr=1e-2, kl_coef=0.01)
    trainer = PPO(config, **built)
    scores = [metrics["objective/scores"] for metrics in trainer.train()]
    assert scores[0] == pytest.approx(0, abs=1e-5)
    assert scores[-1] > 0.5  # in deviations of the starting model's own scores


def test_a_reward_model_of_another_vocabulary_is_refused(
    parts: Parts, toy_task: Any, tmp_path: Path, tokenizer: Any
) -> None:
    reward_model(tmp_path, type(tokenizer)("0123456789"), 11)
    with pytest.raises(DoesNotFit, match="was trained with another"):
        PPO(PPOConfig(**SMALL, reward_model=str(tmp_path)), **parts(toy_task(late)))
    with pytest.raises(DoesNotFit, match="holds no reward model"):
        PPO(PPOConfig(**SMALL, reward_model=str(tmp_path / "nowhere")), **parts(toy_task(late)))


def test_a_reward_model_for_shorter_texts_is_refused(
    parts: Parts, toy_task: Any, tmp_path: Path, tokenizer: Any
) -> None:
    reward_model(tmp_path, tokenizer, tokenizer.vocab_size, max_length=7)
    with pytest.raises(DoesNotFit, match="reads 7 tokens at most, but prompt and completion here have up to 8"):
        PPO(PPOConfig(**SMALL, reward_model=str(tmp_path)), **parts(toy_task(late)))


# --- refusals


def test_a_sampler_that_masks_is_refused(parts: Parts) -> None:
    with pytest.raises(DoesNotFit, match="sampler: gives some tokens no probability"):
        PPO(PPOConfig(**SMALL), **parts(sampler=TopK(TopKConfig(top_k=3))))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clip": 1.5}, "clip: got 1.5, must be between 0.0 and 1.0"),
        ({"lam": -0.1}, "lam: got -0.1, must be between"),
        ({"gamma": float("nan")}, "gamma: got nan"),
        ({"kl_coef": -1.0}, "kl_coef: got -1.0, must be at least 0"),
        ({"kl_coef": 0.0, "kl_target": 6.0}, "kl_coef: got 0.0, must be positive with a kl_target"),
        ({"kl_estimator": "k2"}, "kl_estimator: got 'k2', must be one of k1, k3"),
        ({"dual_clip": 1.1}, "dual_clip: got 1.1, must be above 1 . clip"),
        ({"clip_value": 0.0}, "clip_value: got 0.0, must be positive"),
        ({"value_trunk": "none"}, "value_trunk: got 'none', must be one of detached, shared, own"),
        ({"prompts_per_step": 2, "minibatches": 3}, "minibatches: got 3, must be at most prompts_per_step x group"),
        ({"epochs_per_batch": 0}, "epochs_per_batch: got 0, must be at least 1"),
    ],
)
def test_nonsense_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOConfig(**wrong)


def test_global_randomness_is_not_used_without_dropout(parts: Parts) -> None:
    state = torch.get_rng_state()
    built = parts()
    state = torch.get_rng_state()
    for trunk in ("shared", "own"):
        list(PPO(PPOConfig(**SMALL, value_trunk=trunk), **built).train())
    assert torch.equal(state, torch.get_rng_state())
