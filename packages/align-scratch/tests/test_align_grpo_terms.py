"""Token terms, row weights, entropies and divergences of the GRPO family, by hand and in chunks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import align_scratch.reference
import align_scratch.scoring
from align_scratch.advantages import group_advantages
from align_scratch.config.grpo import FORMS, GRPOConfig
from align_scratch.grpo import GRPO
from align_scratch.grpo_terms import kl_terms, policy_terms
from align_scratch.losses import (
    cispo,
    clipped_surrogate,
    mean_log_ratio,
    reinforce,
    row_weights,
    sapo,
    unclipped_surrogate,
    weighted_sum,
)
from align_scratch.scoring import completion_logits, sequence_entropies

Parts = Callable[..., dict[str, Any]]
SMALL: dict[str, Any] = {"steps": 2, "prompts_per_step": 6, "group_size": 4, "warmup_steps": 0}


def late(text: str) -> float:
    return float(text[:1] > "m")


# --- terms by hand ---------------------------------------------------------------------------------------------------

LOG_RATIO = torch.tensor([[0.0, 0.5, -0.5], [1.0, 0.2, 0.0]], dtype=torch.float64)
LOG_PROBS = torch.tensor([[-1.0, -2.0, -0.5], [-0.1, -3.0, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True], [True, True, False]])
ADVANTAGES = torch.tensor([2.0, -1.0], dtype=torch.float64)


def close(got: Tensor, wanted: Any) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=got.dtype), atol=1e-12, rtol=1e-9)


def test_token_terms_by_hand() -> None:
    e = math.exp
    close(unclipped_surrogate(LOG_RATIO, ADVANTAGES), [[-2.0, -2 * e(0.5), -2 * e(-0.5)], [e(1.0), e(0.2), 1.0]])
    close(reinforce(LOG_PROBS, ADVANTAGES), [[2.0, 4.0, 1.0], [-0.1, -3.0, 0.0]])
    close(cispo(LOG_PROBS, LOG_RATIO, ADVANTAGES, 1.3), [[2.0, 4 * 1.3, e(-0.5)], [-0.13, -3 * e(0.2), 0.0]])
    gate = [[4 / (1 + e(-1.5 * (e(u) - 1))) / 1.5 for u in row] for row in LOG_RATIO[:1].tolist()]
    gate += [[4 / (1 + e(-0.5 * (e(u) - 1))) / 0.5 for u in row] for row in LOG_RATIO[1:].tolist()]
    close(sapo(LOG_RATIO, ADVANTAGES, 1.5, 0.5), -ADVANTAGES[:, None] * torch.tensor(gate, dtype=torch.float64))
    close(mean_log_ratio(LOG_RATIO, MASK), [[0.0] * 3, [0.6] * 3])
    # The second cap acts where the advantage is negative, and only there.
    close(clipped_surrogate(LOG_RATIO, ADVANTAGES, 0.2, 0.28, 2.0)[1], [2.0, e(0.2), 1.0])
    close(clipped_surrogate(LOG_RATIO, ADVANTAGES, 0.2, 0.28, 2.0)[0], [-2.0, -2.56, -2 * e(-0.5)])


@pytest.mark.parametrize(
    "term",
    [
        lambda u, a: unclipped_surrogate(u, a),
        lambda u, a: clipped_surrogate(u, a, 0.2, 0.2, 3.0),
        lambda u, a: cispo(u, u, a, 5.0),
        lambda u, a: sapo(u, a, 1.0, 1.05),
    ],
)
def test_without_an_advantage_even_an_infinite_ratio_adds_nothing(term: Callable[[Tensor, Tensor], Tensor]) -> None:
    u = torch.tensor([[800.0, 0.1]], requires_grad=True)
    terms = term(u, torch.zeros(1))
    terms.sum().backward()
    assert u.grad is not None
    assert terms.tolist() == u.grad.tolist() == [[0, 0]]


def test_row_weights_by_hand() -> None:
    lengths = torch.tensor([1, 4, 5, 2])
    torch.testing.assert_close(row_weights("constant", lengths, constant=8), torch.full((4,), 1 / 32))
    torch.testing.assert_close(row_weights("sum", lengths), torch.full((4,), 1 / 4))
    two = row_weights("microbatch", lengths, parts=2)  # 1 / (B longest)
    torch.testing.assert_close(two, torch.tensor([1 / 16, 1 / 16, 1 / 20, 1 / 20]))
    two = row_weights("microbatch_tokens", lengths, parts=2)  # the mean of two token means
    torch.testing.assert_close(two, torch.tensor([1 / 10, 1 / 10, 1 / 14, 1 / 14]))
    torch.testing.assert_close(row_weights("microbatch_tokens", lengths), row_weights("tokens", lengths))
    for norm in ("tokens", "mean", "constant", "sum", "microbatch", "microbatch_tokens"):
        empty = row_weights(norm, torch.tensor([], dtype=torch.int64), constant=8, parts=3)
        assert empty.shape == (0,)
        assert row_weights(norm, torch.tensor([0, 0]), constant=8, parts=3).isfinite().all()
    with pytest.raises(ValueError, match="constant: got None"):
        row_weights("constant", lengths)


SEED4: dict[str, dict[str, Any]] = {
    "no_baseline": {"policy_loss": "reinforce", "baseline": "none", "scale_rewards": "none"},
    "reinforce_with_baseline": {"policy_loss": "reinforce"},
    "grpo_no_clip": {"policy_loss": "no_clip"},
    "grpo_clip": {"policy_loss": "clip", "clip_high": 0.2},
}


@pytest.mark.parametrize("name", SEED4)
@pytest.mark.parametrize("norm", ["mean", "constant"])
def test_the_four_ablations_of_building_from_scratch(name: str, norm: Any) -> None:
    """Their objectives, written out, for two rewards of one group."""
    config = GRPOConfig(length_norm=norm, advantage_eps=1e-6, **SEED4[name])
    rewards = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    advantages = group_advantages(
        rewards, baseline=config.baseline, scale=config.scale_rewards, eps=config.advantage_eps
    )[0]
    std = math.sqrt(0.5)
    wanted = torch.tensor(
        [1.0, 0.0] if name == "no_baseline" else [0.5 / (std + 1e-6), -0.5 / (std + 1e-6)], dtype=torch.float64
    )
    close(advantages, wanted)
    terms = policy_terms(config, LOG_PROBS, LOG_PROBS - LOG_RATIO, advantages, MASK)
    loss = weighted_sum(terms, MASK, row_weights(config.form.length_norm, MASK.sum(1), constant=8).double())
    rho, a = LOG_RATIO.exp(), wanted[:, None]
    by_hand = {
        "no_baseline": -a * LOG_PROBS,
        "reinforce_with_baseline": -a * LOG_PROBS,
        "grpo_no_clip": -a * rho,
        "grpo_clip": -torch.minimum(a * rho, a * rho.clamp(0.8, 1.2)),
    }[name]
    per_row = (by_hand * MASK).sum(1) / (MASK.sum(1) if norm == "mean" else 8)
    torch.testing.assert_close(loss, per_row.mean(), atol=1e-7, rtol=1e-6)  # row weights are fp32


def test_a_sequences_divergence_stands_once_in_its_row() -> None:
    reference, old = LOG_PROBS - 0.1, LOG_PROBS - LOG_RATIO
    for unbiased in (False, True):
        config = GRPOConfig(kl_coef=1.0, kl_level="sequence", kl_unbiased=unbiased)
        terms = kl_terms(config, LOG_PROBS, old, reference, MASK)
        u = torch.tensor([0.3, 0.2], dtype=torch.float64)
        rho = torch.tensor([0.0, 1.2], dtype=torch.float64).exp() if unbiased else torch.ones(2)
        close((terms * MASK).sum(1), (torch.expm1(-u) + u) * rho)
        assert terms[:, 1:].eq(0).all()


@pytest.mark.parametrize("loss_type", FORMS)
def test_padding_and_order_change_neither_terms_nor_weights(loss_type: Any) -> None:
    config = GRPOConfig(loss_type=loss_type, kl_coef=0.1, kl_level="sequence")
    found = []
    for extra, order in ((0, [0, 1]), (4, [0, 1]), (2, [1, 0])):
        rows = torch.tensor(order)
        wide = [torch.nn.functional.pad(x[rows], (0, extra), value=-7.0) for x in (LOG_PROBS, LOG_PROBS - LOG_RATIO)]
        mask = torch.nn.functional.pad(MASK[rows], (0, extra))
        leaf = wide[0].clone().requires_grad_()
        terms = policy_terms(config, leaf, wide[1], ADVANTAGES[rows], mask)
        terms = terms + 0.1 * kl_terms(config, leaf, wide[1], wide[1], mask)
        weights = row_weights(config.form.length_norm, mask.sum(1), constant=3).double()
        loss = weighted_sum(terms, mask, weights)
        (slope,) = torch.autograd.grad(loss, leaf)
        assert slope[~mask].eq(0).all()
        found.append((loss, slope[rows.argsort(), :3]))
    for loss, slope in found[1:]:
        close(loss, found[0][0])
        close(slope, found[0][1])


# --- entropy, and memory ---------------------------------------------------------------------------------------------


def test_entropies_in_chunks_are_those_of_whole_distributions(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also their gradients; and the head never sees more than a chunk of positions at once."""
    built = parts()
    trainer = GRPO(GRPOConfig(**SMALL, max_new_tokens=12), **built)
    model, rows = built["model"], trainer._sample().sequences
    logits, mask = [], rows.mask
    for row, (before, after) in enumerate(
        zip(rows.prompt_lengths.tolist(), rows.completion_lengths.tolist(), strict=True)
    ):
        logits.append(model(rows.ids[row : row + 1, : before + after])[0, before - 1 : -1].log_softmax(-1))
    wanted = torch.cat([-(p.exp() * p).sum(-1) for p in logits])
    expected = torch.autograd.grad(wanted.sum(), list(model.parameters()))

    seen, head = [], model.head
    monkeypatch.setattr(align_scratch.scoring, "chunk_tokens", lambda model: 7)
    monkeypatch.setattr(model, "head", lambda features: seen.append(len(features)) or head(features))
    _, entropies = sequence_entropies(model, rows, trainer.source.sampler)
    torch.testing.assert_close(entropies[mask], wanted, atol=1e-6, rtol=1e-5)
    assert entropies[~mask].eq(0).all()
    found = torch.autograd.grad(entropies.sum(), list(model.parameters()))
    for got, other in zip(found, expected, strict=True):
        torch.testing.assert_close(got, other, atol=1e-5, rtol=1e-4)
    assert max(seen) == 7


def test_the_divergence_is_measured_in_chunks(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two models that differ, over whole distributions, on every other row."""
    trainer = GRPO(GRPOConfig(**SMALL, max_new_tokens=12), **parts())
    with torch.no_grad():
        for p in trainer.model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)), alpha=0.3)
    rows = trainer._sample().sequences
    some = rows.select(torch.arange(0, 24, 2))
    with torch.no_grad():
        now, then = (completion_logits(m, some)[0].log_softmax(-1) for m in (trainer.model, trainer.reference.copy))
    wanted = float(torch.nn.functional.kl_div(then, now, log_target=True, reduction="none").sum(-1).mean())
    assert wanted > 0.01
    for chunk in (7, 10**6):
        monkeypatch.setattr(align_scratch.reference, "chunk_tokens", lambda model, chunk=chunk: chunk)
        assert trainer.reference.measure_kl(rows, 12) == pytest.approx(wanted, rel=1e-5)


def test_the_bonus_keeps_entropy_up(parts: Parts, toy_task: Any) -> None:
    ends = {}
    for coefficient in (0.0, 0.5):
        config = GRPOConfig(**SMALL | {"steps": 15}, lr=1e-2, entropy_coef=coefficient)
        ends[coefficient] = list(GRPO(config, **parts(toy_task(late))).train())[-1]["entropy"]
    assert ends[0.5] > ends[0.0] + 0.1
