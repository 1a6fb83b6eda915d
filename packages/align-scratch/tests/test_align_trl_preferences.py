"""Values and gradients of preference and reward losses against TRL's own, on log-probabilities made up at random.

TRL's trainers are built without their constructors: a loss is a method that reads a few attributes and calls a model,
and the model here returns given numbers.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from align_scratch.preference_losses import Side, kto, kto_reference_point, orpo, preference_loss, simpo
from align_scratch.preference_metrics import Sides
from align_scratch.preference_scoring import RowScores
from align_scratch.reward_losses import bradley_terry, centring

trl = pytest.importorskip("trl", reason="TRL is an oracle for tests only")

PAIRS, LENGTH = 6, 9
NAMES = ("sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "apo_zero", "sppo_hard")


def accelerator() -> SimpleNamespace:
    def same(tensor: Tensor) -> Tensor:
        return tensor

    return SimpleNamespace(device=torch.device("cpu"), gather=same, gather_for_metrics=same, num_processes=1)


class FakeModel(torch.nn.Module):
    """Says what it was told, call by call."""

    def __init__(self, *answers: Tensor) -> None:
        super().__init__()
        self.answers = list(answers)

    def forward(self, **_: Any) -> SimpleNamespace:
        answer = self.answers.pop(0)
        zeros = torch.zeros_like(answer)
        return SimpleNamespace(
            log_probs=answer, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), log_sum_sq_probs=zeros
        )


def made_up(rows: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Per-token log-probabilities (rows, T - 1), 0 outside of completions; masks (rows, T); reference sums (rows,)."""
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(2, 4, (rows, 1), generator=generator)
    end = prompt + torch.randint(1, LENGTH - 3, (rows, 1), generator=generator)
    places = torch.arange(LENGTH)[None]
    mask = (places >= prompt) & (places < end)
    log_probs = -torch.rand(rows, LENGTH - 1, generator=generator, dtype=dtype) * 2 * mask[:, 1:]
    reference = log_probs.sum(1) + torch.randn(rows, generator=generator, dtype=dtype)
    return log_probs.requires_grad_(), mask.long(), reference


def stub(cls: Any, model: FakeModel, **attributes: Any) -> Any:
    trainer = cls.__new__(cls)
    common = {
        "accelerator": accelerator(), "model": model, "aux_loss_enabled": False, "_metrics": {
            "train": defaultdict(list), "eval": defaultdict(list),
        }, "_total_train_tokens": 0, "_tp_size": 1, "precompute_ref_logps": True,
    }  # fmt: skip
    for name, value in (common | attributes).items():
        setattr(trainer, name, value)
    return trainer


def trl_dpo(name: str, log_probs: Tensor, mask: Tensor, reference: Tensor, **options: Any) -> tuple[Tensor, dict]:
    model = FakeModel(log_probs)
    trainer = stub(
        trl.DPOTrainer, model, ld_alpha=None, use_weighting=False, loss_types=[name], loss_weights=[1.0],
        **{"beta": 0.3, "label_smoothing": 0.2, "f_divergence_type": "reverse_kl", "f_alpha_divergence_coef": 0.5}
        | options,
    )  # fmt: skip
    ids = torch.zeros_like(mask)
    chosen, rejected = reference.chunk(2)
    inputs = {
        "input_ids": ids, "attention_mask": torch.ones_like(mask), "completion_mask": mask,
        "ref_chosen_logps": chosen, "ref_rejected_logps": rejected,
    }  # fmt: skip
    loss = trainer._compute_loss(model, inputs, return_outputs=False)
    return loss, {name: values[-1] for name, values in trainer._metrics["train"].items() if isinstance(values, list)}


def our_sides(log_probs: Tensor, mask: Tensor, reference: Tensor) -> tuple[Side, Side]:
    sums, lengths = log_probs.sum(1), mask.sum(1)
    chosen, rejected = (
        Side(log_probs=p, lengths=n, reference=r)
        for p, n, r in zip(sums.chunk(2), lengths.chunk(2), reference.chunk(2), strict=True)
    )
    return chosen, rejected


def compare(ours: Tensor, theirs: Tensor, source: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=0, atol=tolerance)
    (got,) = torch.autograd.grad(ours, source, retain_graph=True)
    (wanted,) = torch.autograd.grad(theirs, source)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(got, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_losses_with_a_reference(name: str, seed: int) -> None:
    log_probs, mask, reference = made_up(2 * PAIRS, seed, torch.float64)
    theirs, _ = trl_dpo(name, log_probs, mask, reference)
    ours = preference_loss(name, *our_sides(log_probs, mask, reference), beta=0.3, label_smoothing=0.2).mean()
    compare(ours, theirs, log_probs, 1e-12)


@pytest.mark.parametrize("name", ["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm"])
@pytest.mark.parametrize("divergence", ["forward_kl", "js_divergence", "alpha_divergence"])
def test_other_divergences(name: str, divergence: str) -> None:
    log_probs, mask, reference = made_up(2 * PAIRS, 3, torch.float32)  # TRL has its clamp for fp32 only
    theirs, _ = trl_dpo(name, log_probs, mask, reference, f_divergence_type=divergence)
    ours = preference_loss(
        name, *our_sides(log_probs, mask, reference), beta=0.3, label_smoothing=0.2, f_divergence=divergence
    )
    compare(ours.mean(), theirs, log_probs, 5e-6)


def test_cdpo_is_what_trl_leaves_out() -> None:
    """TRL's sigmoid takes no notice of label_smoothing; ours, by another name, is the mixture of both directions."""
    log_probs, mask, reference = made_up(2 * PAIRS, 0, torch.float64)
    deaf = [trl_dpo("sigmoid", log_probs, mask, reference, label_smoothing=e)[0] for e in (0.0, 0.2)]
    assert torch.equal(deaf[0], deaf[1])
    swapped = torch.cat(log_probs.chunk(2)[::-1]), torch.cat(mask.chunk(2)[::-1]), torch.cat(reference.chunk(2)[::-1])
    ours = preference_loss("cdpo", *our_sides(log_probs, mask, reference), beta=0.3, label_smoothing=0.2).mean()
    compare(ours, 0.8 * deaf[0] + 0.2 * trl_dpo("sigmoid", *swapped)[0], log_probs, 1e-12)


def test_metrics_have_trls_meaning() -> None:
    log_probs, mask, reference = made_up(2 * PAIRS, 1, torch.float32)
    _, theirs = trl_dpo("sigmoid", log_probs, mask, reference)
    sides = Sides(torch.arange(2 * PAIRS) < PAIRS, paired=True)
    sums = log_probs.sum(1)
    sides.note(
        torch.arange(2 * PAIRS), RowScores(log_probs=sums, logits=torch.zeros_like(sums)), reference, mask.sum(1)
    )
    ours = sides.metrics("sigmoid", 0.3)
    shared = ours.keys() & theirs.keys()
    assert shared == {
        "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
        "logps/rejected", "logits/chosen", "logits/rejected",
    }  # fmt: skip
    for name in shared:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name


@pytest.mark.parametrize("shift", [-3.0, 3.0], ids=["clamped to 0", "above 0"])
def test_kto(shift: float) -> None:
    log_probs, mask, reference = made_up(PAIRS, 4, torch.float64)
    other_log_probs, other_mask, other_reference = made_up(PAIRS, 5, torch.float64)
    other_reference = other_reference.detach() - shift
    desirable = torch.tensor([True, False, False, True, True, False])
    model = FakeModel(other_log_probs.detach(), log_probs)  # the first call is for the mismatched rows
    trainer = stub(
        trl.KTOTrainer, model, beta=0.3, loss_type="kto", calculate_KL=True, desirable_weight=1.3,
        undesirable_weight=0.7, args=SimpleNamespace(gradient_checkpointing_kwargs=None),
    )  # fmt: skip
    inputs = {
        "input_ids": torch.zeros_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask,
        "KL_input_ids": torch.zeros_like(mask), "KL_attention_mask": torch.ones_like(mask),
        "KL_completion_mask": other_mask, "label": desirable, "ref_logps": reference, "ref_KL_logps": other_reference,
    }  # fmt: skip
    theirs = trainer._compute_loss(model, inputs, return_outputs=False)
    z0 = kto_reference_point(other_log_probs.sum(1) - other_reference)
    assert (z0 > 0) == (shift > 0)
    assert not z0.requires_grad
    ours = kto(
        log_probs.sum(1) - reference, desirable, z0, beta=0.3, desirable_weight=1.3, undesirable_weight=0.7
    ).mean()
    compare(ours, theirs, log_probs, 1e-12)
    assert float(z0) == pytest.approx(trainer._metrics["train"]["kl"][-1], abs=1e-12)


@pytest.mark.parametrize("margin", [False, True])
@pytest.mark.parametrize("coefficient", [None, 0.01])
def test_reward_model(margin: bool, coefficient: float | None) -> None:
    generator = torch.Generator().manual_seed(6)
    scores = (3 * torch.randn(2 * PAIRS, 1, generator=generator, dtype=torch.float64)).requires_grad_()
    margins = torch.rand(PAIRS, generator=generator, dtype=torch.float64)

    class Scores(torch.nn.Module):
        def forward(self, **_: Any) -> SimpleNamespace:
            return SimpleNamespace(logits=scores)

    model = Scores()
    trainer = stub(trl.RewardTrainer, model, args=SimpleNamespace(center_rewards_coefficient=coefficient))
    inputs = {"attention_mask": torch.ones(2 * PAIRS, 4, dtype=torch.int64), **({"margin": margins} if margin else {})}
    theirs = trainer.compute_loss(model, inputs)
    chosen, rejected = scores[:, 0].chunk(2)
    ours = bradley_terry(chosen, rejected, margins if margin else 0.0).mean()
    if coefficient is not None:
        ours = ours + coefficient * centring(chosen, rejected).mean()
    compare(ours, theirs, scores, 1e-12)


def means(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    chosen, rejected = -torch.rand(2, PAIRS, generator=generator) * 4 - 1e-3
    return chosen.requires_grad_(), rejected.requires_grad_()


@pytest.mark.parametrize("seed", range(3))
def test_orpo(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("trl.experimental.orpo", reason="this TRL has no ORPO")
    chosen, rejected = means(seed)
    holder = SimpleNamespace(beta=0.3, accelerator=accelerator())
    theirs = -module.ORPOTrainer.odds_ratio_loss(holder, chosen, rejected)[0].mean()
    compare(orpo(chosen, rejected, 0.3).mean(), theirs, chosen, 1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_simpo(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("trl.experimental.cpo", reason="this TRL has no CPO")
    chosen, rejected = means(seed)
    holder = SimpleNamespace(
        beta=2.0, alpha=0.0, simpo_gamma=0.5, label_smoothing=0.0, loss_type="simpo", accelerator=accelerator()
    )
    theirs = module.CPOTrainer.cpo_loss(holder, chosen, rejected)[0].mean()
    compare(simpo(chosen, rejected, 2.0, 0.5).mean(), theirs, rejected, 1e-6)
