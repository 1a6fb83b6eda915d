"""The family as it runs: ratios that start at 1, rewards that are missing, groups drawn anew, references that move."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import align_scratch.sampling_trainer
from align_scratch.config.grpo import FORMS, GRPOConfig
from align_scratch.config.reinforce import REINFORCEConfig
from align_scratch.config.rloo import RLOOConfig
from align_scratch.errors import DoesNotFit
from align_scratch.grpo import GRPO
from align_scratch.reinforce import REINFORCE
from align_scratch.rloo import RLOO

Parts = Callable[..., dict[str, Any]]
SMALL: dict[str, Any] = {"steps": 2, "prompts_per_step": 6, "group_size": 4, "warmup_steps": 0}
RATIO, GAP = "sampling/importance_sampling_ratio", "sampling/sampling_logp_difference"
TRAINERS: dict[str, tuple[Any, Any]] = {
    "grpo": (GRPO, GRPOConfig),
    "rloo": (RLOO, RLOOConfig),
    "reinforce": (REINFORCE, REINFORCEConfig),
}


def late(text: str) -> float:
    return float(text[:1] > "m")


def gradient(trainer: Any) -> Tensor:
    """Of the first update, from AdamW's first moment: its direction and, up to 1 - beta1, its length."""
    next(iter(trainer.train()))
    return torch.cat([moments["exp_avg"].flatten() for moments in trainer.state_dict()["optimizer"].values()])


def shifted(trainer: Any, by: float, rows: slice = slice(None)) -> None:
    """Let the sampler report log-probabilities that are too low by `by`, as another engine's might be."""
    sample = trainer._sample

    def other() -> Any:
        rollouts = sample()
        log_probs = rollouts.generation.log_probs.clone()
        log_probs[rows] -= by
        told = log_probs.masked_fill(~rollouts.generation.mask, 0)
        return replace(rollouts, generation=replace(rollouts.generation, log_probs=told))

    trainer._sample = other


# --- ratios ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", FORMS)
def test_the_first_ratio_is_one_for_every_loss_type(parts: Parts, toy_task: Any, loss_type: Any) -> None:
    config = GRPOConfig(**SMALL, loss_type=loss_type, minibatches=1, kl_coef=0.1, kl_unbiased=True)
    for metrics in GRPO(config, **parts(toy_task(late))).train():
        assert metrics[f"{GAP}/mean"] <= metrics[f"{GAP}/max"] < 1e-5
        assert 1 - 1e-5 < metrics[f"{RATIO}/min"] <= metrics[f"{RATIO}/mean"] <= metrics[f"{RATIO}/max"] < 1 + 1e-5
        assert metrics["clip_ratio/region_mean"] == metrics["clip_ratio/high_max"] == 0
        assert ("cispo_clip_ratio" in metrics) == (loss_type == "cispo")


@pytest.mark.parametrize("trainer", ["rloo", "reinforce"])
def test_the_first_ratio_of_the_others_is_one(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    for metrics in build(config(**SMALL), **parts(toy_task(late))).train():
        assert metrics[f"{GAP}/max"] < 1e-5
        assert metrics["frac_reward_zero_std"] < 1
        assert metrics["kl"] >= 0
        assert metrics["completions/mean_terminated_length"] is None or (
            metrics["completions/min_terminated_length"] <= metrics["completions/mean_terminated_length"]
        )


def test_an_engine_that_reports_other_numbers_is_corrected_up_to_the_cap(parts: Parts, toy_task: Any) -> None:
    """Told too low by log 1.5, a token counts 1.5 times; capped at 1.2, 1.2 times; and the ratio to pi_old is 1."""
    options = SMALL | {"minibatches": 1, "grad_clip": None, "track_kl": 0}
    plain = gradient(GRPO(GRPOConfig(**options), **parts(toy_task(late))))
    for cap, factor in ((5.0, 1.5), (1.2, 1.2)):
        trainer = GRPO(GRPOConfig(**options, importance_cap=cap), **parts(toy_task(late)))
        shifted(trainer, math.log(1.5))
        torch.testing.assert_close(gradient(trainer), factor * plain, rtol=1e-4, atol=1e-7)
        metrics = next(iter(trainer.train()))
        assert metrics[f"{GAP}/mean"] == pytest.approx(math.log(1.5), abs=1e-5)
        for name in ("min", "mean", "max"):
            assert metrics[f"{RATIO}/{name}"] == pytest.approx(factor, abs=1e-5)
        assert metrics["clip_ratio/region_mean"] == 0
    # Trusted, the same numbers pass for an old policy: every ratio is 1.5, and the clip takes what has A > 0.
    trainer = GRPO(GRPOConfig(**options), **parts(toy_task(late)))
    shifted(trainer, math.log(1.5))
    metrics = next(iter(trainer.train()))
    assert metrics[f"{RATIO}/mean"] == pytest.approx(1.5, abs=1e-5)
    assert 0 < metrics["clip_ratio/high_mean"] < metrics["clip_ratio/high_max"] == 1
    assert metrics["clip_ratio/low_min"] == 0


# --- rewards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_reward_that_is_missing_takes_its_row_out(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]

    def judge(text: str) -> float:
        return math.nan if text[:1] in "abcd" else late(text)

    built = build(config(**SMALL | {"group_size": 8}), **parts(toy_task(judge)))
    metrics = next(iter(built.train()))
    records = built.last_rollouts()
    missing = [record for record in records if record["reward"] is None]
    assert metrics["reward/errors"] == len(missing) > 0
    assert all(record["advantage"] == 0 and record["logp_difference"] is None for record in missing)
    known = [record["reward"] for record in records if record["reward"] is not None]
    groups = [[r["reward"] for r in records if r["group"] == i and r["reward"] is not None] for i in range(6)]
    spreads = [torch.tensor(group).double().std().item() for group in groups if len(group) > 1]
    assert metrics["reward_std"] == pytest.approx(sum(spreads) / len(spreads))
    assert metrics["reward"] == pytest.approx(sum(known) / len(known))
    assert metrics["rewards/toy/mean"] == metrics["reward"]
    assert metrics["rewards/toy/std"] == pytest.approx(torch.tensor(known, dtype=torch.float64).std().item())
    assert math.isfinite(metrics["loss"])


@pytest.mark.parametrize("trainer", TRAINERS)
def test_equal_rewards_change_no_weight(parts: Parts, toy_task: Any, same: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    extra = {"baseline": "group"} if trainer == "reinforce" else {}
    built = build(config(**SMALL, **extra | {"kl_coef": 0.0}), **parts(toy_task(lambda text: 0.3)))
    before = built.state_dict()["model"]
    for metrics in built.train():
        assert metrics["grad_norm"] in (None, 0)
    same(before, built.state_dict()["model"], "model")


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_reward_model_pays_and_the_task_stays_visible(
    parts: Parts, toy_task: Any, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    class Scorer:
        def score(self, rows: Any) -> Tensor:
            return rows.completion_lengths.float()

    def load(run: str | None, *rest: Any) -> Any:
        assert run == "a run"
        return Scorer()

    monkeypatch.setattr(align_scratch.sampling_trainer, "load_scorer", load)
    build, config = TRAINERS[trainer]
    built = build(config(**SMALL, reward_model="a run"), **parts(toy_task(late)))
    metrics = next(iter(built.train()))
    assert metrics["reward"] == pytest.approx(metrics["completions/mean_length"], rel=1e-6)
    assert metrics["reward"] == pytest.approx(metrics["rewards/reward_model/mean"])
    assert metrics["rewards/gold/mean"] == metrics["accuracy"] < 1


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_was_cut_off_can_be_left_out(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    options = SMALL | {"group_size": 16, "mask_truncated": True, "max_new_tokens": 12}
    built = build(config(**options), **parts(toy_task(late)))
    metrics = next(iter(built.train()))
    learned = [record for record in built.last_rollouts() if record["logp_difference"] is not None]
    assert learned
    assert not any(record["truncated"] for record in learned)
    lengths = [record["length"] for record in built.last_rollouts() if not record["truncated"]]
    assert metrics["completions/mean_terminated_length"] == pytest.approx(sum(lengths) / len(lengths))
    assert metrics["completions/min_terminated_length"] == min(lengths)
    assert metrics["completions/max_terminated_length"] == max(lengths)


# --- groups drawn anew -----------------------------------------------------------------------------------------------


def rare(text: str) -> float:
    return float(text[:1] > "v")


def test_groups_of_equal_rewards_are_replaced_until_the_batch_is_full(parts: Parts, toy_task: Any) -> None:
    config = GRPOConfig(**SMALL, resample=6, minibatches=1)
    trainer = GRPO(config, **parts(toy_task(rare)))
    metrics = next(iter(trainer.train()))
    drawn = metrics["prompts"]
    assert 12 <= drawn <= 7 * 6
    assert drawn % 6 == 0
    assert trainer.batches == drawn // 6
    records = trainer.last_rollouts()
    assert len(records) == drawn * 4
    assert [record["group"] for record in records] == [i // 4 for i in range(len(records))]
    groups = [records[i : i + 4] for i in range(0, len(records), 4)]
    spread = [len({record["reward"] for record in group}) > 1 for group in groups]
    learned = [all(record["logp_difference"] is not None for record in group) for group in groups]
    full = [chosen and sum(spread[:i]) < 6 for i, chosen in enumerate(spread)]
    assert learned == full
    assert sum(spread) - sum(spread[-6:]) < 6  # no batch was drawn for nothing
    assert metrics["num_tokens"] == sum(record["length"] + len(record["prompt"]) for record in records)
    assert metrics["frac_reward_zero_std"] == pytest.approx(1 - sum(spread) / len(groups))


def test_drawing_anew_has_an_end(parts: Parts, toy_task: Any) -> None:
    trainer = GRPO(GRPOConfig(**SMALL, resample=2), **parts(toy_task(lambda text: 0.0)))
    metrics = next(iter(trainer.train()))
    assert (metrics["prompts"], metrics["loss"]) == (18, None)


def test_the_rows_of_several_batches_are_scored_as_they_were_sampled(parts: Parts, toy_task: Any) -> None:
    """Batches of other widths, side by side: the ratio is still 1 everywhere."""
    config = GRPOConfig(**SMALL, resample=6, minibatches=1, max_new_tokens=9)
    metrics = next(iter(GRPO(config, **parts(toy_task(rare))).train()))
    assert metrics["prompts"] > 6
    assert metrics[f"{GAP}/max"] < 1e-5


@pytest.mark.parametrize("k", [1, 7])
def test_it_resumes_to_the_bit_with_all_that_moves(parts: Parts, toy_task: Any, resume: Any, k: int) -> None:
    config = GRPOConfig(
        **SMALL | {"steps": 9}, resample=2, kl_coef=0.05, kl_in="reward", sync_ref_model=True, ref_model_sync_steps=2,
        importance_cap=2.0, entropy_coef=0.01, lr=1e-2, grad_accum_steps=2,
    )  # fmt: skip
    task = toy_task(rare)
    resume(lambda seed: GRPO(config, **parts(task, seed=seed) | {"seed": 5}), k, 9)


def test_a_state_from_before_groups_were_drawn_anew_is_read(parts: Parts, toy_task: Any) -> None:
    config = GRPOConfig(**SMALL)
    trainer = GRPO(config, **parts(toy_task(late)))
    next(iter(trainer.train()))
    state = trainer.state_dict()
    del state["batches"]
    other = GRPO(config, **parts(toy_task(late)))
    other.load_state_dict(state)
    assert other.batches == other.step == 1


# --- the reference ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_reference_that_follows_is_never_far(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    found = {}
    for follow in (False, True):
        options = SMALL | {"steps": 8, "lr": 2e-2, "kl_coef": 1e-6}
        sync = {"sync_ref_model": follow, "ref_model_sync_steps": 3, "ref_model_mixup_alpha": 1.0}
        found[follow] = [m["kl"] for m in build(config(**options, **sync), **parts(toy_task(late))).train()]
    assert found[True][:3] == found[False][:3]
    assert found[True][3] < 1e-6 < found[False][3]  # synced after step 3: measured before the updates of step 4
    assert found[True][6] < 1e-6 < found[True][5]


def test_the_base_below_an_adapter_cannot_follow(parts: Parts, toy_task: Any) -> None:
    class Adapter:
        def disabled(self) -> Any:
            return nullcontext()

    config = RLOOConfig(**SMALL, kl_coef=0.1, sync_ref_model=True)
    with pytest.raises(DoesNotFit, match="adapter: the reference is the base below it"):
        RLOO(config, **parts(toy_task(late)), adapter=Adapter())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_divergence_in_the_reward_holds_the_policy_back(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    ends = {}
    for coefficient in (0.0, 3.0):
        options = SMALL | {"steps": 15, "lr": 1e-2, "kl_coef": coefficient}
        extra = {"kl_in": "reward", "kl_estimator": "k1"} if trainer == "grpo" else {}
        ends[coefficient] = list(build(config(**options, **extra), **parts(toy_task(late))).train())[-1]["kl"]
    assert ends[3.0] < ends[0.0] / 2


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainer", "extra"),
    [
        ("rloo", {}),
        ("reinforce", {"baseline": "batch"}),
        ("reinforce", {"baseline": "group"}),
        *[("grpo", {"loss_type": loss_type}) for loss_type in ("dr_grpo", "cispo", "gspo", "sapo")],
    ],
)
def test_they_learn_from_chance_alone(parts: Parts, toy_task: Any, trainer: str, extra: dict[str, Any]) -> None:
    build, config = TRAINERS[trainer]
    built = build(config(steps=40, prompts_per_step=8, lr=1e-2, **extra), **parts(toy_task(late)))
    rewards = [metrics["reward"] for metrics in built.train()]
    assert rewards[0] < 0.6
    assert sum(rewards[-5:]) / 5 > 0.9
