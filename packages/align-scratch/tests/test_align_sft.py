"""SFT: its loss and its gradients do not depend on how a step is cut, it resumes to the bit, and it stops at a goal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from align_scratch.config.sft import SFTConfig
from align_scratch.errors import DoesNotFit, TrainingDiverged
from align_scratch.sft import SFT

Parts = Callable[..., dict[str, Any]]


def test_metrics(parts: Parts) -> None:
    trainer = SFT(SFTConfig(steps=3, batch_size=16), **parts())
    found = list(trainer.train())
    assert [metrics["step"] for metrics in found] == [1, 2, 3]
    assert found[0]["loss"] == pytest.approx(3.7, abs=0.3)  # about ln 40: the toy model knows nothing yet
    assert 0 <= found[0]["mean_token_accuracy"] < 0.3
    assert found[0]["lr"] == pytest.approx(5e-3 / 20)
    assert found[2]["num_tokens"] == 3 * 16 * (7 + 7)  # "3 1 2 =", " 3 2 1" and the end mark
    assert found[0]["sampled"] is None
    assert trainer.state_dict()["model"].keys() == {*dict(trainer.model.named_parameters()), "calls"}


@pytest.mark.parametrize("k", [1, 7, 13, 19])
def test_resume_is_bit_equal(parts: Parts, resume: Any, k: int) -> None:
    """With dropout, accumulation, and the looks of `stop_at`, which draw random numbers."""
    config = SFTConfig(steps=20, batch_size=12, grad_accum_steps=3, stop_at=1.0, stop_every=2, stop_prompts=8)
    resume(lambda seed: SFT(config, **parts(seed=seed, dropout=0.2) | {"seed": 5}), k, 20)


def test_gradients_do_not_depend_on_the_split(parts: Parts) -> None:
    found = []
    for accumulate in (1, 2, 5, 13):
        trainer = SFT(SFTConfig(steps=1, batch_size=13, grad_accum_steps=accumulate), **parts())
        found.append(next(iter(trainer.train())))
    for metrics in found[1:]:
        assert metrics["loss"] == pytest.approx(found[0]["loss"], rel=1e-6)
        assert metrics["grad_norm"] == pytest.approx(found[0]["grad_norm"], rel=1e-5)
        assert metrics["mean_token_accuracy"] == found[0]["mean_token_accuracy"]


def test_stops_at_the_goal_and_stays_stopped(parts: Parts, toy_task: Any) -> None:
    task = toy_task(lambda text: float(text == "abc"))
    config = SFTConfig(steps=200, batch_size=16, lr=1e-2, stop_at=0.2, stop_every=5, stop_prompts=100)
    trainer = SFT(config, **parts(task))
    assert trainer.evaluate()["sampled"] == 0
    found = list(trainer.train())
    assert found[-1]["step"] < 200
    looks = [metrics["sampled"] for metrics in found if metrics["sampled"] is not None]
    assert len(looks) == found[-1]["step"] // 5 == len(found) // 5
    assert looks[-1] >= 0.2
    assert all(accuracy < 0.2 for accuracy in looks[:-1])
    assert trainer.evaluate()["greedy"] == 1
    assert list(trainer.train()) == []
    resumed = SFT(config, **parts(task))
    resumed.load_state_dict(trainer.state_dict())
    assert list(resumed.train()) == []


def test_one_lucky_look_does_not_end_the_run(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look is at the goal, the second below it: the mean decides."""
    looks = iter([0.5, 0.1, 0.5, 0.4])
    monkeypatch.setattr(SFT, "_sampled_accuracy", lambda self, sampler, rows: next(looks))
    config = SFTConfig(steps=9, batch_size=4, stop_at=0.45, stop_every=1)
    found = [metrics["sampled"] for metrics in SFT(config, **parts()).train()]
    assert found == [pytest.approx(0.3), pytest.approx(0.45)]


def test_evaluation_is_the_same_twice_and_changes_nothing(parts: Parts, same: Any) -> None:
    trainer = SFT(SFTConfig(steps=4, batch_size=8), **parts())
    steps = iter(trainer.train())
    next(steps)
    torch.manual_seed(3)
    before = trainer.state_dict()
    first, samples = trainer.evaluate(), trainer.samples(3)
    assert (trainer.evaluate(), trainer.samples(3)) == (first, samples)
    same(before, trainer.state_dict(), "state")
    assert first["problems"] == 40
    assert {"prompt", "completion", "answer", "reward", "correct", "explanation"} == samples[0].keys()
    assert len(trainer.samples(999)) == 40
    assert trainer.samples(0) == []


def test_not_a_number_stops_before_the_step(parts: Parts, same: Any) -> None:
    built = parts()
    trainer = SFT(SFTConfig(steps=5, batch_size=8), **built)
    next(iter(trainer.train()))
    with torch.no_grad():
        built["model"].out.bias[3] = torch.nan
    before = trainer.state_dict()["optimizer"]
    with pytest.raises(TrainingDiverged, match="sft step 2: loss nan") as caught:
        next(iter(trainer.train()))
    assert caught.value.exit_code == 1
    same(before, trainer.state_dict()["optimizer"], "optimizer")
    assert trainer.step == 1


@pytest.mark.parametrize("grad_clip", [None, 1e-3])
def test_gradient_clipping(parts: Parts, grad_clip: float | None) -> None:
    """AdamW's first step hardly depends on the gradient's length, so look at the moment it keeps."""
    trainer = SFT(SFTConfig(steps=1, batch_size=8, grad_clip=grad_clip), **parts())
    metrics = next(iter(trainer.train()))
    moments = [moment["exp_avg"] for moment in trainer.state_dict()["optimizer"].values()]
    norm = torch.cat([moment.flatten() for moment in moments]).norm().item() / 0.1  # exp_avg = (1 - beta1) g
    assert norm == pytest.approx(metrics["grad_norm"] if grad_clip is None else 1e-3, rel=1e-3)


def test_weight_decay_is_on_matrices_only(parts: Parts) -> None:
    trainer = SFT(SFTConfig(weight_decay=0.1), **parts())
    for group in trainer.optimizer.param_groups:
        assert group["weight_decay"] == (0.1 if group["params"][0].dim() >= 2 else 0.0)


def test_refusals(parts: Parts, tokenizer: Any, toy_model: Any) -> None:
    with pytest.raises(DoesNotFit, match="sampler: none, but stop_at"):
        SFT(SFTConfig(stop_at=0.5), **parts(sampler=None))
    tokenizer.eos_id = None
    with pytest.raises(DoesNotFit, match="tokenizer: has no eos_id"):
        SFT(SFTConfig(), **parts(tokenizer=tokenizer))
    with pytest.raises(
        DoesNotFit,
        match=r"model: reads 10 tokens at most, .* \(7\) and completion \(7\) need 14, in training example 1:",
    ):
        SFT(SFTConfig(), **parts(model=toy_model(40, max_length=10)))
    frozen = parts()
    frozen["model"].requires_grad_(False)
    with pytest.raises(DoesNotFit, match="model: every parameter is frozen"):
        SFT(SFTConfig(), **frozen)


def test_states_of_other_models_are_refused(parts: Parts, toy_model: Any) -> None:
    state = SFT(SFTConfig(steps=1, batch_size=4), **parts()).state_dict()
    wide = SFT(SFTConfig(steps=1, batch_size=4), **parts(n_embd=32))
    with pytest.raises(ValueError, match=r"model: .* has shape \(.*\) in the state, \(.*\) here"):
        wide.load_state_dict(state)
    with pytest.raises(ValueError, match="model: the state has other names"):
        wide.load_state_dict(state | {"model": {}})
    with pytest.raises(ValueError, match="optimizer: the state has parameters that this model has not: x"):
        SFT(SFTConfig(steps=1), **parts()).load_state_dict(state | {"optimizer": {"x": {}}})
