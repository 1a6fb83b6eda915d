"""SDPO's divergences against TRL, against their gradients in closed form, and against enumeration."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from papers_scratch.sdpo.self_distillation import (
    at_sampled_token,
    divergence,
    on_student_top_k,
    one_sided_weight,
)

ALPHAS = (0.0, 0.25, 0.5, 0.9, 1.0)
M, V = 5, 11


def logits(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(M, V, generator=generator, dtype=torch.float64) * 2
    teacher = torch.randn(M, V, generator=generator, dtype=torch.float64) * 2
    return student.requires_grad_(), teacher.requires_grad_()


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss.sum(), of, allow_unused=True, retain_graph=True)
    return torch.zeros_like(of) if found is None else found


@pytest.fixture
def theirs() -> Any:
    return pytest.importorskip("trl.experimental.sdpo.loss_utils", reason="TRL is the oracle")


@pytest.mark.parametrize("alpha", ALPHAS)
def test_full_vocabulary_equals_trl(theirs: Any, alpha: float) -> None:
    student, teacher = logits()
    ours = divergence(student.log_softmax(-1), teacher.log_softmax(-1), alpha)
    expected = theirs.compute_full_logit_self_distillation_loss(student, teacher.detach(), distillation_alpha=alpha)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient(ours, student), gradient(expected, student), rtol=0, atol=1e-14)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("k", [1, 4, V - 1])
@pytest.mark.parametrize("add_tail", [True, False])
def test_top_k_equals_trl(theirs: Any, alpha: float, k: int, add_tail: bool) -> None:
    student, teacher = logits()
    pair = on_student_top_k(student.log_softmax(-1), teacher.log_softmax(-1), k, add_tail=add_tail)
    ours = divergence(*pair, alpha)
    expected = theirs.compute_topk_self_distillation_loss(
        student, teacher.detach(), distillation_topk=k, distillation_alpha=alpha, distillation_add_tail=add_tail
    )
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient(ours, student), gradient(expected, student), rtol=0, atol=1e-12)


def test_sampled_token_and_its_weight_equal_trl(theirs: Any) -> None:
    student, teacher = logits()
    ids = torch.tensor([3, 0, 10, 7, 7])
    ours = at_sampled_token(student.log_softmax(-1), teacher.log_softmax(-1), ids)
    expected = theirs.compute_sampled_token_self_distillation_loss(
        student[None], teacher[None].detach(), ids[None], distillation_alpha=1.0
    )[0]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient(ours, student), gradient(expected, student), rtol=0, atol=1e-14)
    log_probs = student.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    old = log_probs.detach() - torch.tensor([0.0, 0.5, 5.0, -3.0, 100.0], dtype=torch.float64)
    weighted = ours * one_sided_weight(log_probs, old, 2.0)
    torch.testing.assert_close(
        weighted, theirs.apply_importance_sampling_clipping(ours, log_probs, old, 2.0), rtol=0, atol=1e-14
    )
    assert one_sided_weight(log_probs, old, 2.0).tolist() == pytest.approx([1.0, math.exp(0.5), 2.0, math.exp(-3), 2.0])
    assert not one_sided_weight(log_probs, old, 2.0).requires_grad


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gradients_are_those_of_the_closed_forms(alpha: float) -> None:
    """p - q at alpha 0; otherwise c p (log(p/m) - KL(p || m)), c = 1 - alpha, or 1 and m = q at alpha 1."""
    student, teacher = logits(1)
    p, q = student.detach().softmax(-1), teacher.detach().softmax(-1)
    if alpha == 0.0:
        expected = p - q
    else:
        m, c = (q, 1.0) if alpha == 1.0 else ((1 - alpha) * p + alpha * q, 1 - alpha)
        log_ratio = (p / m).log()
        expected = c * p * (log_ratio - (p * log_ratio).sum(-1, keepdim=True))
    found = gradient(divergence(student.log_softmax(-1), teacher.log_softmax(-1), alpha), student)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_teacher_has_exactly_no_gradient(alpha: float) -> None:
    student, teacher = logits()
    for loss in (
        divergence(student.log_softmax(-1), teacher.log_softmax(-1), alpha),
        at_sampled_token(student.log_softmax(-1), teacher.log_softmax(-1), torch.zeros(M, dtype=torch.int64)),
    ):
        assert not gradient(loss, teacher).any()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient(alpha: float) -> None:
    student, _ = logits()
    loss = divergence(student.log_softmax(-1), student.detach().log_softmax(-1), alpha)
    assert float(loss.detach().abs().max()) < 1e-15
    assert float(gradient(loss, student).abs().max()) < 1e-15


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), k=st.integers(1, V - 1), alpha=st.sampled_from(ALPHAS))
def test_a_tail_makes_top_k_a_lower_bound_that_v_minus_1_reaches(seed: int, k: int, alpha: float) -> None:
    student, teacher = (x.log_softmax(-1) for x in logits(seed))
    full = divergence(student, teacher, alpha)
    bound = divergence(*on_student_top_k(student, teacher, k, add_tail=True), alpha)
    assert bool((bound <= full + 1e-12).all())
    assert bool((bound >= -1e-15).all())
    if k == V - 1:
        # The tail is then one token; its logarithm is taken from 1 minus the others' mass.
        torch.testing.assert_close(bound, full, rtol=1e-5, atol=1e-6)
    else:
        without = divergence(*on_student_top_k(student, teacher, k, add_tail=False), alpha)
        assert bool(without.isfinite().all())


def test_the_sampled_tokens_expected_gradient_is_the_reverse_kls() -> None:
    """By enumeration: sum_y p(y) of its gradients."""
    student, teacher = logits(2)
    p = student.detach().softmax(-1)
    expected = gradient(divergence(student.log_softmax(-1), teacher.log_softmax(-1), 1.0), student)
    found = torch.zeros_like(expected)
    for y in range(V):
        loss = at_sampled_token(student.log_softmax(-1), teacher.log_softmax(-1), torch.full((M,), y))
        found += p[:, y : y + 1] * gradient(loss, student)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_tokens_that_are_impossible_for_both_do_not_matter() -> None:
    student, teacher = logits()
    masked = torch.full((M, 2), -math.inf, dtype=torch.float64)
    for alpha in ALPHAS:
        plain = divergence(student.log_softmax(-1), teacher.log_softmax(-1), alpha)
        padded = divergence(
            torch.cat((student, masked), -1).log_softmax(-1), torch.cat((teacher, masked), -1).log_softmax(-1), alpha
        )
        torch.testing.assert_close(padded, plain)
