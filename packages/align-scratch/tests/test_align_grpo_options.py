"""Every option of grpo, rloo and reinforce changes something, and what makes no sense is refused with a way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from align_scratch.config.grpo import FORMS, GRPOConfig
from align_scratch.config.policy_gradient import PolicyGradientConfig
from align_scratch.config.reinforce import REINFORCEConfig
from align_scratch.config.rloo import RLOOConfig
from align_scratch.grpo import GRPO
from align_scratch.reinforce import REINFORCE
from align_scratch.rloo import RLOO

Parts = Callable[..., dict[str, Any]]
SMALL: dict[str, Any] = {
    "steps": 3, "prompts_per_step": 6, "group_size": 4, "warmup_steps": 0, "lr": 1e-2, "grad_clip": None,
}  # fmt: skip
KL = {"kl_coef": 0.1}
SYNC = KL | {"sync_ref_model": True, "ref_model_sync_steps": 1, "lr": 5e-2}
FAR = {"lr": 1e-1, "epochs_per_batch": 3}  # ratios far from 1 within a step

COMMON: dict[str, tuple[dict[str, Any], Any]] = {
    # option: (other options that it needs to matter, another value of it)
    "steps": ({}, 2),
    "lr": ({}, 1e-3),
    "beta1": ({}, 0.5),
    "beta2": ({}, 0.5),
    "weight_decay": ({}, 0.5),
    "warmup_steps": ({}, 3),
    "min_lr_ratio": ({}, 1.0),
    "grad_clip": ({}, 1e-3),
    "prompts_per_step": ({}, 5),
    "group_size": ({}, 3),
    "max_new_tokens": ({}, 2),
    "track_kl": ({}, 0),
    "disable_dropout": ({}, False),
    "mask_truncated": ({"max_new_tokens": 16}, True),
    "kl_coef": (KL, 0.5),
    "sync_ref_model": (SYNC | {"sync_ref_model": False}, True),
    "ref_model_sync_steps": (SYNC, 2),
    "ref_model_mixup_alpha": (SYNC, 0.1),
}
GRPO_ALONE: dict[str, tuple[dict[str, Any], Any]] = {
    "minibatches": ({}, 1),
    "epochs_per_batch": ({}, 2),
    "loss_type": ({}, "grpo"),
    "policy_loss": ({}, "reinforce"),
    "ratio_level": ({}, "sequence"),
    "length_norm": ({}, "constant"),
    "length_constant": ({"length_norm": "constant"}, 9),
    "clip_low": (FAR, 0.01),
    "clip_high": (FAR, 0.01),
    "delta": (FAR, 1.3),
    "cispo_cap": ({"loss_type": "cispo"} | FAR, 1.1),
    "sapo_temperature_pos": ({"loss_type": "sapo"} | FAR, 3.0),
    "sapo_temperature_neg": ({"loss_type": "sapo"} | FAR, 3.0),
    "baseline": ({}, "leave_one_out"),
    "scale_rewards": ({}, "none"),
    "advantage_eps": ({}, 0.5),
    "drop_zero_variance": ({}, False),
    "resample": ({}, 2),
    "kl_estimator": (KL, "k2"),
    "kl_in": (KL, "reward"),
    "kl_level": (KL, "sequence"),
    "kl_unbiased": (KL, True),
    "entropy_coef": ({}, 0.1),
    "importance_cap": ({}, 0.5),
}
RLOO_ALONE: dict[str, tuple[dict[str, Any], Any]] = {
    "minibatches": ({}, 1),
    "epochs_per_batch": ({}, 2),
    "clip_low": (FAR, 0.01),
    "clip_high": (FAR, 0.01),
    "reward_clip": ({}, 0.5),
    "normalize_advantages": ({}, True),
}
REINFORCE_ALONE: dict[str, tuple[dict[str, Any], Any]] = {
    "baseline": ({}, "none"),
    "scale_rewards": ({}, "batch"),
    "length_norm": ({}, "mean"),
}
TRAINERS: dict[str, tuple[Any, Any, dict[str, tuple[dict[str, Any], Any]]]] = {
    "grpo": (GRPO, GRPOConfig, COMMON | GRPO_ALONE),
    "rloo": (RLOO, RLOOConfig, COMMON | RLOO_ALONE),
    "reinforce": (REINFORCE, REINFORCEConfig, COMMON | REINFORCE_ALONE),
}


def late(text: str) -> float:
    return float(text[:1] > "m")


def outcome(trainer: str, parts: Parts, task: Any, options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """What a run says and leaves: its metrics without seconds, and its weights."""
    build, config, _ = TRAINERS[trainer]
    built = build(config(**SMALL | options), **parts(task, dropout=0.1))
    metrics = [{n: v for n, v in m.items() if not n.startswith("time/")} for m in built.train()]
    return metrics, {name: tensor.clone() for name, tensor in built.state_dict()["model"].items()}


@pytest.mark.parametrize(
    ("trainer", "option"), [(trainer, option) for trainer, (_, _, table) in TRAINERS.items() for option in table]
)
def test_no_option_is_dead(parts: Parts, toy_task: Any, trainer: str, option: str) -> None:
    needed, value = TRAINERS[trainer][2][option]
    task = toy_task(late)
    before, after = (outcome(trainer, parts, task, options) for options in (needed, needed | {option: value}))
    if option == "track_kl":
        assert (before[0][-1]["kl"] is None, after[0][-1]["kl"] is None) == (False, True)
        return
    assert any(not torch.equal(before[1][name], after[1][name]) for name in before[1])


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_option_is_in_the_table(trainer: str) -> None:
    _, config, table = TRAINERS[trainer]
    elsewhere = {"grad_accum_steps", "reward_model", "too_long"}  # changes nothing; wants a run; wants long prompts
    assert {field.name for field in dataclasses.fields(config)} == table.keys() | elsewhere


@pytest.mark.parametrize("trainer", TRAINERS)
def test_micro_batches_change_nothing(parts: Parts, toy_task: Any, trainer: str) -> None:
    """Neither loss nor gradient, also with more of them than rows; dropout would draw other numbers, so it is off."""
    build, config, _ = TRAINERS[trainer]
    found = [
        next(iter(build(config(**SMALL | {"grad_accum_steps": n}), **parts(toy_task(late))).train()))
        for n in (1, 2, 5, 50)
    ]
    for metrics in found[1:]:
        assert metrics["loss"] == pytest.approx(found[0]["loss"], abs=1e-6)
        assert metrics["grad_norm"] == pytest.approx(found[0]["grad_norm"], rel=1e-4)


@pytest.mark.parametrize("norm", ["microbatch", "microbatch_tokens"])
def test_two_normalisers_do_depend_on_micro_batches(parts: Parts, toy_task: Any, norm: str) -> None:
    losses = []
    for n in (1, 24):
        options = SMALL | {"grad_accum_steps": n, "length_norm": norm, "max_new_tokens": 24, "minibatches": 1}
        trainer = GRPO(GRPOConfig(**options), **parts(toy_task(lambda text: float(len(text)))))
        losses.append(next(iter(trainer.train()))["grad_norm"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        (GRPOConfig, {"policy_loss": "ppo"}, "policy_loss: got 'ppo', must be one of auto, clip"),
        (GRPOConfig, {"length_norm": "token"}, "length_norm: got 'token', must be one of auto, tokens"),
        (GRPOConfig, {"ratio_level": "word"}, "ratio_level: got 'word'"),
        (GRPOConfig, {"baseline": "value"}, "baseline: got 'value', must be one of group, leave_one_out"),
        (GRPOConfig, {"baseline": "none"}, "scale_rewards: got 'group', must be batch or none where baseline is none"),
        (GRPOConfig, {"baseline": "leave_one_out", "group_size": 1}, "group_size: got 1, must be at least 2"),
        (GRPOConfig, {"resample": -1}, "resample: got -1, must be at least 0"),
        (GRPOConfig, {"resample": 2, "drop_zero_variance": False}, "resample: got 2, must be 0 unless"),
        (GRPOConfig, {"delta": 1.2}, r"delta: got 1.2, must be above 1 \+ clip_high \(1.28\)"),
        (GRPOConfig, {"cispo_cap": 0.0}, "cispo_cap: got 0.0, must be positive"),
        (GRPOConfig, {"importance_cap": -1.0}, "importance_cap: got -1.0, must be positive"),
        (GRPOConfig, {"entropy_coef": float("nan")}, "entropy_coef: got nan"),
        (GRPOConfig, {"advantage_eps": -1e-4}, "advantage_eps: got -0.0001, must be at least 0"),
        (GRPOConfig, {"length_constant": 0}, "length_constant: got 0, must be at least 1"),
        (GRPOConfig, {"kl_in": "value"}, "kl_in: got 'value', must be one of loss, reward"),
        (GRPOConfig, {"kl_level": "batch"}, "kl_level: got 'batch', must be one of token, sequence"),
        (
            GRPOConfig,
            {"kl_unbiased": True, "kl_in": "reward"},
            "kl_unbiased: got True, must be false where kl_in is re",
        ),
        (GRPOConfig, {"sync_ref_model": True}, "sync_ref_model: got True, must be false while kl_coef is 0"),
        (RLOOConfig, {"group_size": 1}, "group_size: got 1, must be at least 2: .*raise group_size"),
        (RLOOConfig, {"reward_clip": 0.0}, "reward_clip: got 0.0, must be positive"),
        (RLOOConfig, {"minibatches": 65}, r"minibatches: got 65, must be at most prompts_per_step"),
        (RLOOConfig, {"kl_coef": -0.1}, "kl_coef: got -0.1, must be at least 0"),
        (REINFORCEConfig, {"baseline": "leave_one_out"}, "baseline: got 'leave_one_out', must be one of none, batch"),
        (REINFORCEConfig, {"baseline": "group", "group_size": 1}, "group_size: got 1, must be at least 2"),
        (REINFORCEConfig, {"length_norm": "constant"}, "length_norm: got 'constant', must be one of sum, tokens"),
        (PolicyGradientConfig, {"ref_model_mixup_alpha": 1.5}, "ref_model_mixup_alpha: got 1.5, must be between 0"),
        (PolicyGradientConfig, {"ref_model_sync_steps": 0}, "ref_model_sync_steps: got 0, must be at least 1"),
    ],
)
def test_nonsense_is_refused_with_a_way_out(config: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**wrong)


def test_a_cap_below_one_is_worth_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"cispo_cap: 0.28 is below 1, so every gradient is scaled down"):
        GRPOConfig(loss_type="cispo", cispo_cap=0.28)
    GRPOConfig(loss_type="dapo", cispo_cap=0.28)  # looks at no cap


def test_a_group_of_one_is_fine_without_a_group_baseline() -> None:
    assert GRPOConfig(baseline="batch", scale_rewards="batch", group_size=1).group_size == 1
    assert REINFORCEConfig(group_size=1).group_size == 1


def test_a_loss_type_is_three_choices_and_each_can_be_made_alone() -> None:
    for loss_type, form in FORMS.items():
        assert GRPOConfig(loss_type=loss_type).form == form
    mixed = GRPOConfig(loss_type="gspo", length_norm="sum")
    assert mixed.form == FORMS["luspo"]
    assert GRPOConfig(loss_type="gspo", ratio_level="token").form == FORMS["grpo"]
