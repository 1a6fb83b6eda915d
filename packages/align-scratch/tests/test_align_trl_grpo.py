"""GRPO's and RLOO's losses against TRL's own `_compute_loss`: values and gradients, from what the trainers are made of
in float64, and from the trainers as they run in fp32.

TRL's trainers are made without their constructors, which want models and data sets; the loss needs few attributes.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("trl", reason="compares with TRL, which is not installed")

from trl.trainer.callbacks import SyncRefModelCallback
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

import align_scratch.grpo
import align_scratch.rloo
from align_scratch.advantages import group_advantages
from align_scratch.config.grpo import FORMS, GRPOConfig
from align_scratch.config.rloo import RLOOConfig
from align_scratch.grpo import GRPO
from align_scratch.grpo_terms import held_back, kl_terms, policy_terms
from align_scratch.losses import clipped_surrogate, row_weights, truncated_ratio, weighted_sum
from align_scratch.reference import Reference
from align_scratch.rloo import RLOO
from align_scratch.scoring import sequence_entropies

Parts = Callable[..., dict[str, Any]]
LOSSES = tuple(FORMS)
LONGEST = 7
LENGTHS = torch.tensor([3, 1, 7, 5, 2, 7])
MASK = torch.arange(LONGEST) < LENGTHS[:, None]


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs(config: GRPOConfig, look: Callable[[], tuple[Tensor, Tensor]], longest: int, **attributes: Any) -> Any:
    """TRL's trainer with the options of ours; `look` gives log-probabilities and entropies (B, T)."""
    trainer = GRPOTrainer.__new__(GRPOTrainer)
    cispo = config.form.policy_loss == "cispo"
    stub = {
        "loss_type": "grpo" if config.loss_type == "gspo" else config.loss_type,
        "importance_sampling_level": config.form.ratio_level,
        "beta": config.kl_coef,
        "epsilon_low": config.clip_low,
        "epsilon_high": config.cispo_cap if cispo else config.clip_high,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": config.importance_cap is not None,
        "vllm_importance_sampling_correction": config.importance_cap is not None,
        "max_completion_length": longest,
        "current_gradient_accumulation_steps": 1,
        "_entropy_bonus_enabled": config.entropy_coef > 0,
        "entropy_coef": config.entropy_coef,
        "use_adaptive_entropy": False,
        "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list)},
        "args": SimpleNamespace(
            delta=config.delta,
            use_bias_correction_kl=config.kl_unbiased,
            steps_per_generation=1,
            sapo_temperature_pos=config.sapo_temperature_pos,
            sapo_temperature_neg=config.sapo_temperature_neg,
        ),
        **common(look),
        **attributes,
    }
    for name, value in stub.items():
        setattr(trainer, name, value)
    return trainer


def common(look: Callable[[], tuple[Tensor, Tensor]]) -> dict[str, Any]:
    def reduce(x: Tensor, reduction: str) -> Tensor:
        return x

    return {
        "accelerator": SimpleNamespace(
            num_processes=1, gather=lambda x: x, reduce=reduce, gather_for_metrics=lambda x: x, sync_gradients=True
        ),
        "model": SimpleNamespace(training=True),
        "_get_per_token_logps_and_entropies": lambda *args, **kwargs: (*look(), None),
    }


def inputs(mask: Tensor, **rest: Tensor | None) -> dict[str, Any]:
    ones = torch.ones(len(mask), 2, dtype=torch.int64)
    return {
        "prompt_ids": ones,
        "prompt_mask": ones,
        "completion_ids": torch.zeros_like(mask, dtype=torch.int64),
        "completion_mask": mask.long(),
        "num_items_in_batch": mask.sum(),
        **rest,
    }


def numbers(off_policy: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)

    def draw(spread: float) -> Tensor:
        return (torch.randn(6, LONGEST, generator=generator) * spread).double()

    log_probs = -draw(1.0).abs()
    return {
        "log_probs": log_probs,
        "old": log_probs - off_policy * draw(0.4),
        "reference": log_probs + draw(0.3),
        "engine": draw(0.5),
        "entropy": draw(1.0).abs(),
        "advantages": torch.tensor([1.3, -0.4, 0.0, -1.1, 0.6, 0.9], dtype=torch.float64),
    }


def ours(config: GRPOConfig, n: dict[str, Tensor], log_probs: Tensor, entropy: Tensor) -> Tensor:
    """As in `GRPO.train`, for one micro-batch."""
    terms = policy_terms(config, log_probs, n["old"], n["advantages"], MASK)
    if config.importance_cap is not None:
        terms = terms * truncated_ratio(n["engine"], config.importance_cap)
    if config.kl_coef > 0:
        terms = terms + config.kl_coef * kl_terms(config, log_probs, n["old"], n["reference"], MASK)
    loss = weighted_sum(terms, MASK, row_weights(config.form.length_norm, LENGTHS, constant=LONGEST))
    bonus = weighted_sum(entropy, MASK, row_weights("tokens", LENGTHS))
    return loss - config.entropy_coef * bonus


EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "kl": {"kl_coef": 0.04},
    "unbiased kl": {"kl_coef": 0.04, "kl_unbiased": True},
    "entropy": {"entropy_coef": 0.02},
    "importance": {"importance_cap": 1.1, "kl_coef": 0.04},
    "delta": {"delta": 1.5},
    "sequence ratio": {"ratio_level": "sequence", "kl_coef": 0.04, "kl_unbiased": True},
}


@pytest.mark.parametrize("off_policy", [0.0, 1.0], ids=["on-policy", "off-policy"])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("loss_type", LOSSES)
def test_every_loss_type_has_trls_value_and_gradient(
    double: None, loss_type: Any, extra: str, off_policy: float
) -> None:
    config = GRPOConfig(loss_type=loss_type, clip_low=0.2, clip_high=0.28, cispo_cap=1.2, **EXTRAS[extra])
    n = numbers(off_policy)
    found = []
    for compute in ("ours", "theirs"):
        log_probs, entropy = n["log_probs"].clone().requires_grad_(), n["entropy"].clone().requires_grad_()
        if compute == "ours":
            loss = ours(config, n, log_probs, entropy)
        else:
            trainer = theirs(config, lambda seen=(log_probs, entropy): seen, LONGEST)
            batch = inputs(
                MASK,
                advantages=n["advantages"],
                ref_per_token_logps=n["reference"],
                old_per_token_logps=n["old"],
                importance_sampling_ratio=n["engine"].exp().clamp(max=config.importance_cap or 1.0),
            )
            loss = trainer._compute_loss(None, batch)
        gradients = torch.autograd.grad(loss, [log_probs, entropy], allow_unused=True)
        found.append((loss, *(torch.zeros_like(entropy) if g is None else g for g in gradients)))
    assert float(found[1][1].abs().max()) > 1e-3
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_the_shares_of_clipped_tokens_are_trls(double: None, loss_type: Any) -> None:
    config, n = GRPOConfig(loss_type=loss_type, cispo_cap=1.2), numbers(1.0)
    trainer = theirs(config, lambda: (n["log_probs"], n["entropy"]), LONGEST)
    batch = inputs(MASK, advantages=n["advantages"], old_per_token_logps=n["old"])
    trainer._compute_loss(None, batch)
    metrics = {name: values[0] for name, values in trainer._metrics["train"].items()}
    low, high = held_back(config, n["log_probs"] - n["old"], n["advantages"], MASK)
    if config.form.policy_loss == "sapo":
        assert not (low | high).any()
        return
    if config.form.ratio_level == "sequence":  # TRL counts sequences then, and we count their tokens
        low, high = low[:, :1], high[:, :1]
        shares = [float(side.double().mean()) for side in (low, high)]
    else:
        shares = [float((side & MASK).sum() / MASK.sum()) for side in (low, high)]
    if config.form.policy_loss == "cispo":
        assert shares == [0.0, pytest.approx(metrics["cispo_clip_ratio"])]
    else:
        assert shares == [pytest.approx(metrics[f"clip_ratio/{side}_mean"]) for side in ("low", "high")]
    assert sum(shares) > 0


@pytest.mark.parametrize("off_policy", [0.0, 1.0], ids=["on-policy", "off-policy"])
def test_rloo_has_trls_value_and_gradient(double: None, off_policy: float) -> None:
    n = numbers(off_policy * 0.2)
    found = []
    for compute in ("ours", "theirs"):
        log_probs = n["log_probs"].clone().requires_grad_()
        if compute == "ours":
            whole = (log_probs - n["old"]).masked_fill(~MASK, 0).sum(1, keepdim=True)
            terms = clipped_surrogate(whole, n["advantages"], 0.2, 0.28)
            loss = weighted_sum(terms, torch.ones_like(terms, dtype=torch.bool), row_weights("sum", LENGTHS))
        else:
            trainer = rloo_trainer(lambda seen=log_probs: (seen, n["entropy"]))
            batch = inputs(MASK, advantages=n["advantages"], old_logps=(n["old"] * MASK).sum(1))
            loss = trainer._compute_loss(None, batch)
        found.append((loss, *torch.autograd.grad(loss, log_probs)))
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)


def rloo_trainer(look: Callable[[], tuple[Tensor, Tensor]], low: float = 0.2, high: float = 0.28) -> Any:
    trainer = RLOOTrainer.__new__(RLOOTrainer)
    stub = {"epsilon_low": low, "epsilon_high": high, "aux_loss_enabled": False}
    for name, value in {**stub, "_metrics": {"train": defaultdict(list)}, **common(look)}.items():
        setattr(trainer, name, value)
    return trainer


@pytest.mark.parametrize("loss_type", ["bnpo", "grpo", "sapo", "luspo"])
def test_normalisers_are_trls_over_equal_micro_batches(double: None, loss_type: Any) -> None:
    """Three micro-batches of two rows. TRL's mean of their means is the whole for all of these but bnpo."""
    config, n = GRPOConfig(loss_type=loss_type), numbers(1.0)
    terms = policy_terms(config, n["log_probs"], n["old"], n["advantages"], MASK)
    got = weighted_sum(terms, MASK, row_weights(config.form.length_norm, LENGTHS, constant=LONGEST, parts=3))
    wanted = 0.0
    for first in (0, 2, 4):
        two = slice(first, first + 2)
        trainer = theirs(
            config,
            lambda two=two: (n["log_probs"][two], n["entropy"][two]),
            LONGEST,
            current_gradient_accumulation_steps=3,
        )
        batch = inputs(MASK[two], advantages=n["advantages"][two], old_per_token_logps=n["old"][two])
        wanted += trainer._compute_loss(None, batch).item()
    assert got.item() == pytest.approx(wanted, abs=1e-12)
    whole = weighted_sum(terms, MASK, row_weights(config.form.length_norm, LENGTHS, constant=LONGEST))
    assert (whole.item() == pytest.approx(wanted, abs=1e-9)) == (loss_type != "bnpo")


def test_the_reference_follows_as_trls_does(parts: Parts) -> None:
    built = parts()
    reference = Reference(built["model"], None, sampler=None)
    with torch.no_grad():
        for p in built["model"].parameters():
            p.add_(torch.randn(p.shape))
    wanted = copy.deepcopy(reference.copy)
    SyncRefModelCallback._sync_target_model(built["model"], wanted, 0.6)
    reference.sync(0.6)
    for got, other in zip(reference.copy.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(got, other, atol=0, rtol=0)


# --- the trainers as they run --------------------------------------------------------------------------------------


def watched(trainer: Any, module: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Tensor], float]]:
    """Of every update of a step: the model before it, its gradients and its loss."""
    seen, real = [], module.update

    def update(optimizer: Any, named: Any, **rest: Any) -> Any:
        gradients = {name: p.grad.clone() for name, p in named.items()}
        for p in named.values():
            p.grad = None
        before = copy.deepcopy(trainer.model)
        for name, p in named.items():
            p.grad = gradients[name].clone()
        seen.append((before, gradients, rest["loss"]))
        return real(optimizer, named, **rest)

    monkeypatch.setattr(module, "update", update)
    next(iter(trainer.train()))
    return seen


def agree(
    seen: list[tuple[Any, dict[str, Tensor], float]],
    trainer: Any,
    compute: Callable[[Callable[[], tuple[Tensor, Tensor]]], Tensor],
) -> None:
    rows = trainer._last[1].sequences
    for model, gradients, loss in seen:
        wanted = compute(lambda model=model: sequence_entropies(model, rows, trainer.source.sampler))
        wanted.backward()
        assert loss == pytest.approx(wanted.item(), abs=1e-6)
        assert max(float(g.abs().max()) for g in gradients.values()) > 1e-4
        for name, p in model.named_parameters():
            torch.testing.assert_close(gradients[name], p.grad, atol=1e-6, rtol=1e-4)


SMALL: dict[str, Any] = {
    "steps": 1, "prompts_per_step": 4, "group_size": 4, "minibatches": 1, "epochs_per_batch": 3, "warmup_steps": 0,
    "lr": 1e-2, "grad_clip": None,
}  # fmt: skip


def late(text: str) -> float:
    return float(text[:1] > "m") + 0.1 * len(text)


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("kl_coef", [0.0, 0.04])
def test_the_running_trainer_follows_trls_gradient(
    parts: Parts, toy_task: Any, monkeypatch: pytest.MonkeyPatch, loss_type: Any, kl_coef: float
) -> None:
    """Three updates on one batch, the second and third off-policy; micro-batches on ours, none on theirs."""
    config = GRPOConfig(
        **SMALL, loss_type=loss_type, kl_coef=kl_coef, kl_unbiased=True, drop_zero_variance=False, cispo_cap=1.05,
        grad_accum_steps=1 if loss_type == "bnpo" else 3,
    )  # fmt: skip
    trainer = GRPO(config, **parts(toy_task(late)))
    reference = copy.deepcopy(trainer.model)
    seen = watched(trainer, align_scratch.grpo, monkeypatch)
    assert len(seen) == 3
    _, rollouts, advantages, _ = trainer._last
    expected = group_advantages(rollouts.rewards).flatten().float()
    torch.testing.assert_close(advantages, expected)
    mask = rollouts.generation.mask
    with torch.no_grad():
        ref = sequence_entropies(reference, rollouts.sequences, trainer.source.sampler)[0]

    def compute(look: Callable[[], tuple[Tensor, Tensor]]) -> Tensor:
        batch = inputs(
            mask,
            advantages=advantages,
            ref_per_token_logps=ref,
            old_per_token_logps=rollouts.generation.log_probs,
        )
        return theirs(config, look, trainer.source.max_new_tokens)._compute_loss(None, batch)

    agree(seen, trainer, compute)


def test_the_running_rloo_follows_trls_gradient(parts: Parts, toy_task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = RLOO(RLOOConfig(**SMALL, kl_coef=0.05, grad_accum_steps=3), **parts(toy_task(late)))
    seen = watched(trainer, align_scratch.rloo, monkeypatch)
    _, rollouts, advantages, _ = trainer._last
    old = (rollouts.generation.log_probs * rollouts.generation.mask).sum(1)

    def compute(look: Callable[[], tuple[Tensor, Tensor]]) -> Tensor:
        batch = inputs(rollouts.generation.mask, advantages=advantages, old_logps=old)
        return rloo_trainer(look, 0.2, 0.2)._compute_loss(None, batch)

    agree(seen, trainer, compute)
