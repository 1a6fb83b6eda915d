"""GRPO: ratios start at 1, groups without spread teach nothing, it resumes to the bit, and it refuses bad company."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from align_scratch.advantages import group_advantages
from align_scratch.config.grpo import GRPOConfig
from align_scratch.errors import CheckerFailed, DoesNotFit, TrainingDiverged
from align_scratch.grpo import GRPO
from inference_scratch.config import GreedyConfig, MultinomialConfig, TopKConfig
from inference_scratch.samplers import Greedy, Multinomial, TopK

Parts = Callable[..., dict[str, Any]]
SMALL = {"steps": 3, "prompts_per_step": 6, "group_size": 4, "warmup_steps": 0}


def late(text: str) -> float:
    """1 for completions that begin with a letter of the second half of the alphabet: about a third by chance."""
    return float(text[:1] > "m")


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_ratios_are_one_before_the_first_update(parts: Parts, toy_task: Any, temperature: float) -> None:
    sampler = Multinomial(MultinomialConfig(temperature=temperature))
    task = toy_task(late)
    trainer = GRPO(GRPOConfig(**SMALL, minibatches=1), **parts(task, sampler=sampler))
    for metrics in trainer.train():
        assert metrics["sampling/sampling_logp_difference/max"] < 1e-5
        assert metrics["clip_ratio/region_mean"] == 0
        assert metrics["kl"] >= 0
    assert metrics["kl"] > 0


def test_metrics_and_records(parts: Parts, toy_task: Any) -> None:
    config = GRPOConfig(**SMALL)
    trainer = GRPO(config, **parts(toy_task(late)))
    assert trainer.last_rollouts() == []
    metrics = next(iter(trainer.train()))
    records = trainer.last_rollouts()
    json.dumps(records, allow_nan=False)
    assert len(records) == 24
    rewards = torch.tensor([record["reward"] for record in records], dtype=torch.float64).view(6, 4)
    assert metrics["reward"] == pytest.approx(rewards.mean().item())
    assert metrics["rewards/toy/mean"] == metrics["reward"] == metrics["accuracy"]
    assert metrics["frac_reward_zero_std"] == ((rewards.amax(1) == rewards.amin(1)).double().mean()).item()
    assert metrics["reward_std"] == pytest.approx(rewards.std(1).mean().item())
    advantages = [record["advantage"] for record in records]
    assert advantages == pytest.approx(group_advantages(rewards).flatten().tolist(), abs=1e-6)
    lengths = [record["length"] for record in records]
    assert metrics["completions/mean_length"] == pytest.approx(sum(lengths) / 24)
    assert (metrics["completions/min_length"], metrics["completions/max_length"]) == (min(lengths), max(lengths))
    assert metrics["completions/clipped_ratio"] == sum(record["truncated"] for record in records) / 24
    assert metrics["num_tokens"] == sum(lengths) + sum(len(record["prompt"]) for record in records)
    assert [record["group"] for record in records] == [i // 4 for i in range(24)]
    assert trainer.source.max_new_tokens == 4  # "abc" and its end mark
    for record in records:
        assert record["truncated"] == (len(record["completion"]) == record["length"])
        assert record["step"] == 1


@pytest.mark.parametrize("k", [1, 7, 13, 19])
@pytest.mark.parametrize("kl_coef", [0.0, 0.05])
def test_resume_is_bit_equal(parts: Parts, toy_task: Any, resume: Any, k: int, kl_coef: float) -> None:
    """With dropout in the updates, accumulation, several epochs, and the reference model of the KL term."""
    config = GRPOConfig(
        **SMALL | {"steps": 20},
        kl_coef=kl_coef,
        grad_accum_steps=2,
        epochs_per_batch=2,
        disable_dropout=False,
        lr=5e-3,
    )
    task = toy_task(late)
    resume(lambda seed: GRPO(config, **parts(task, seed=seed, dropout=0.2) | {"seed": 5}), k, 20)


@pytest.mark.parametrize("drop", [True, False])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_change_no_weight(parts: Parts, toy_task: Any, same: Any, drop: bool, scale: str) -> None:
    config = GRPOConfig(**SMALL, drop_zero_variance=drop, scale_rewards=scale)
    trainer = GRPO(config, **parts(toy_task(lambda text: 0.3)))
    before = trainer.state_dict()["model"]
    for metrics in trainer.train():
        assert metrics["frac_reward_zero_std"] == 1
        assert metrics["grad_norm"] == (None if drop else 0)
    same(before, trainer.state_dict()["model"], "model")


def test_dropped_groups_change_only_the_denominator(parts: Parts, toy_task: Any) -> None:
    """The gradient keeps its direction: rows without advantage add nothing but their tokens to the mean."""
    moments, norms = [], []
    for drop in (True, False):
        config = GRPOConfig(**SMALL, drop_zero_variance=drop, minibatches=1, grad_clip=None)
        trainer = GRPO(config, **parts(toy_task(late)))
        metrics = next(iter(trainer.train()))
        moments.append(torch.cat([m["exp_avg"].flatten() for m in trainer.state_dict()["optimizer"].values()]))
        norms.append(metrics["grad_norm"])
    assert 0 < metrics["frac_reward_zero_std"] < 1
    assert norms[0] > norms[1]
    assert torch.cosine_similarity(moments[0], moments[1], dim=0).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_gradients_do_not_depend_on_the_split(parts: Parts, toy_task: Any, loss_type: str) -> None:
    found = []
    for accumulate in (1, 2, 3, 7):
        config = GRPOConfig(**SMALL, grad_accum_steps=accumulate, loss_type=loss_type, kl_coef=0.1, minibatches=1)
        found.append(next(iter(GRPO(config, **parts(toy_task(late))).train())))
    for metrics in found[1:]:
        assert metrics["loss"] == pytest.approx(found[0]["loss"], abs=1e-6)
        assert metrics["grad_norm"] == pytest.approx(found[0]["grad_norm"], rel=1e-4)


def test_the_kl_term_holds_the_policy_back(parts: Parts, toy_task: Any) -> None:
    ends = {}
    for coefficient in (0.0, 2.0):
        config = GRPOConfig(**SMALL | {"steps": 15}, lr=1e-2, kl_coef=coefficient, kl_estimator="k2")
        ends[coefficient] = list(GRPO(config, **parts(toy_task(late))).train())[-1]["kl"]
    assert ends[2.0] < ends[0.0] / 2


def test_reference_is_the_base_below_an_adapter(parts: Parts, toy_task: Any) -> None:
    """`disabled()` is entered for the reference, and no copy of the model is kept."""
    built = parts(toy_task(late))
    frozen, model = {n: p.detach().clone() for n, p in built["model"].named_parameters()}, built["model"]

    class Adapter:
        entered = 0

        @contextmanager
        def disabled(self) -> Any:
            self.entered += 1
            now = {name: p.detach().clone() for name, p in model.named_parameters()}
            self._put(frozen)
            yield
            self._put(now)

        @torch.no_grad()
        def _put(self, values: dict[str, torch.Tensor]) -> None:
            for name, parameter in model.named_parameters():
                parameter.copy_(values[name])

    adapter = Adapter()
    config = GRPOConfig(**SMALL, lr=1e-2, kl_coef=0.1)
    with_adapter = GRPO(config, **built, adapter=adapter)
    found = [metrics["kl"] for metrics in with_adapter.train()]
    assert adapter.entered == 6
    assert with_adapter.state_dict()["reference"] == {}
    plain = GRPO(config, **parts(toy_task(late)))
    assert found == pytest.approx([metrics["kl"] for metrics in plain.train()], abs=1e-7)


def test_no_reference_where_nobody_asks(parts: Parts) -> None:
    trainer = GRPO(GRPOConfig(**SMALL, track_kl=0), **parts())
    assert trainer.reference.copy is None
    assert next(iter(trainer.train()))["kl"] is None


def test_dropout_is_off_in_updates_unless_asked_for(parts: Parts, toy_task: Any) -> None:
    for off, low, high in ((True, 0.0, 1e-5), (False, 1e-3, 10.0)):
        config = GRPOConfig(**SMALL, disable_dropout=off)
        task = toy_task(late)
        metrics = next(iter(GRPO(config, **parts(task, dropout=0.3)).train()))
        assert low <= metrics["sampling/sampling_logp_difference/max"] < high


def test_truncated_completions_can_be_left_out(parts: Parts, toy_task: Any) -> None:
    task = toy_task(late)
    config = GRPOConfig(**SMALL | {"group_size": 16}, mask_truncated=True, minibatches=1, max_new_tokens=12)
    trainer = GRPO(config, **parts(task))
    next(iter(trainer.train()))
    learned = [record for record in trainer.last_rollouts() if record["logp_difference"] is not None]
    assert learned
    assert not any(record["truncated"] for record in learned)


def test_failing_checkers_cost_their_completions_only(parts: Parts, toy_task: Any) -> None:
    def reward(text: str) -> float:
        if text[:1] > "t":
            raise RuntimeError("cannot read this")
        return float("inf") if text[:1] > "p" else float(text[:1] > "h")

    trainer = GRPO(GRPOConfig(**SMALL), **parts(toy_task(reward)))
    metrics = next(iter(trainer.train()))
    records = trainer.last_rollouts()
    json.dumps(records, allow_nan=False)
    broken = [record for record in records if record["reward"] is None]
    assert metrics["reward/errors"] == len(broken) > 0
    assert {record["explanation"] for record in broken} <= {
        "the checker failed: RuntimeError: cannot read this",
        "the checker gave the reward inf",
    }
    assert all(record["advantage"] == 0 and record["logp_difference"] is None for record in broken)


def test_a_checker_that_never_works_is_an_error(parts: Parts, toy_task: Any) -> None:
    trainer = GRPO(GRPOConfig(**SMALL), **parts(toy_task(lambda text: float("nan"))))
    with pytest.raises(CheckerFailed, match="none of 24 completions could be marked: the checker gave the reward nan"):
        next(iter(trainer.train()))


def test_not_a_number_stops_before_the_step(
    parts: Parts, toy_task: Any, same: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollouts that led there can still be looked at."""
    trainer = GRPO(GRPOConfig(**SMALL), **parts(toy_task(late)))
    before = trainer.state_dict()["model"]
    monkeypatch.setattr("align_scratch.grpo.policy_terms", lambda config, log_probs, *rest: log_probs * torch.nan)
    with pytest.raises(TrainingDiverged, match="grpo step 1: loss nan") as caught:
        next(iter(trainer.train()))
    assert caught.value.exit_code == 1
    assert len(trainer.last_rollouts()) == 24
    same(before, trainer.state_dict()["model"], "model")


@pytest.mark.parametrize("sampler", [Greedy(GreedyConfig()), TopK(TopKConfig(top_k=3))])
def test_samplers_without_full_support_are_refused(parts: Parts, sampler: Any) -> None:
    with pytest.raises(DoesNotFit, match="sampler: gives some tokens no probability") as caught:
        GRPO(GRPOConfig(**SMALL), **parts(sampler=sampler))
    assert caught.value.exit_code == 2


def test_other_refusals(parts: Parts, toy_task: Any, tokenizer: Any, toy_model: Any) -> None:
    with pytest.raises(ValueError, match="group_size: got 1, must be at least 2: the baseline is the mean"):
        GRPOConfig(group_size=1)
    tokenizer.eos_id = None
    with pytest.raises(DoesNotFit, match="tokenizer: has no eos_id"):
        GRPO(GRPOConfig(**SMALL), **parts(tokenizer=tokenizer))
    with pytest.raises(DoesNotFit, match=r"prompt \(7\) and completion \(60\) need 67"):
        GRPO(GRPOConfig(**SMALL, max_new_tokens=60), **parts(model=toy_model(40)))
    task = toy_task(lambda text: 0.0)
    task.examples = lambda split: []  # type: ignore[method-assign]
    with pytest.raises(DoesNotFit, match="task: has no examples"):
        GRPO(GRPOConfig(**SMALL), **parts(task))


def test_global_randomness_is_not_used_without_dropout(parts: Parts) -> None:
    trainer = GRPO(GRPOConfig(**SMALL), **parts())
    state = torch.get_rng_state()
    list(trainer.train())
    assert torch.equal(state, torch.get_rng_state())
