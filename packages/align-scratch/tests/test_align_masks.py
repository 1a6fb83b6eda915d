"""What is learned and what is not: decided by lengths, whatever the ids of padding and end mark, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from align_scratch.losses import clipped_surrogate, row_weights, split, weighted_sum
from align_scratch.scoring import completion_logits, kl_divergence
from align_scratch.sft import completion_loss
from inference_scratch.score import Sequences, completion_log_probs, pack

EOS = 0
PROMPTS = [[5, 6, 7], [5], [6, 6], [7, 5, 6, 5]]
COMPLETIONS = [[8, 9, EOS], [EOS], [9, 9, 9, 9], [8, EOS]]  # the third was cut off: it has no end mark
TOLERANCE = 1e-7  # log-probabilities come in fp32
ADVANTAGES = torch.tensor([1.0, -0.5, 0.7, -1.2])


def padded(rows: Sequences, extra: int, fill: int) -> Sequences:
    """The same rows with more padding, of the id `fill`."""
    ids = torch.cat([rows.ids, torch.zeros(len(rows.ids), extra, dtype=torch.int64)], 1)
    real = torch.arange(ids.shape[1]) < (rows.prompt_lengths + rows.completion_lengths)[:, None]
    return Sequences(
        ids=torch.where(real, ids, fill),
        prompt_lengths=rows.prompt_lengths,
        completion_lengths=rows.completion_lengths,
        width=rows.n_columns + extra,
    )


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def policy_loss(model: Any, rows: Sequences, advantages: Tensor, parts: int = 1, norm: str = "tokens") -> float:
    """GRPO's loss on `rows`, off-policy by a fixed amount, with its gradients left in the model."""
    total = 0.0
    weights = row_weights(norm, rows.completion_lengths)
    everything = torch.arange(len(rows.ids))
    for chosen, weight in zip(split(everything, parts), split(weights, parts), strict=True):
        part = rows.select(chosen)
        log_probs, _ = completion_log_probs(model, part)
        old = log_probs.detach() - 0.1 * part.mask
        loss = weighted_sum(clipped_surrogate(log_probs - old, advantages[chosen], 0.2, 0.28), part.mask, weight)
        loss.backward()
        total += loss.item()
    return total


@pytest.fixture
def model(toy_model: Callable[..., Any]) -> Any:
    torch.manual_seed(0)
    return toy_model(12).double()


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(a[name], b[name], rtol=0, atol=TOLERANCE), name


def test_golden_mask_where_padding_is_the_end_mark() -> None:
    """[t0, t1, eos, pad, pad] with pad == eos: the end is learned, what follows is not."""
    rows = padded(pack([[5, 6]], [[8, 9, EOS]]), 2, fill=EOS)
    assert rows.ids.tolist() == [[5, 6, 8, 9, EOS, EOS, EOS]]
    assert rows.mask.tolist() == [[True, True, True, False, False]]


def test_targets_are_the_completions_and_their_ends(model: Any) -> None:
    for fill in (EOS, 11):
        logits, targets = completion_logits(model, padded(pack(PROMPTS, COMPLETIONS), 3, fill))
        assert targets.tolist() == [token for completion in COMPLETIONS for token in completion]
        assert logits.isfinite().all()  # the toy model puts NaN at padding


def test_logits_are_those_of_the_row_alone(model: Any) -> None:
    together, _ = completion_logits(model, pack(PROMPTS, COMPLETIONS))
    alone = [completion_logits(model, pack([p], [c]))[0] for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-12)
    first = model(torch.tensor([PROMPTS[0] + COMPLETIONS[0]]))[0, 2:5]
    assert torch.allclose(together[:3], first, atol=1e-12)


def test_sft_loss_is_cross_entropy_with_ignored_labels(model: Any) -> None:
    rows = pack(PROMPTS, COMPLETIONS)
    nll, right = completion_loss(model, rows)
    nll.backward()
    found = gradients(model)
    labels = torch.full_like(rows.ids, -100)
    for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        labels[row, len(prompt) : len(prompt) + len(completion)] = torch.tensor(completion)
    logits = model(rows.ids)[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(logits.float(), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")
    expected.backward()
    assert nll.item() == pytest.approx(expected.item(), abs=1e-6)
    hits = (logits.argmax(-1) == labels[:, 1:].flatten()).sum().item()
    assert right == hits
    for name, gradient in gradients(model).items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name


def test_the_end_mark_is_in_the_loss_and_what_follows_is_not(model: Any) -> None:
    with_end, _ = completion_loss(model, pack([[5]], [[8, EOS]]))
    without, _ = completion_loss(model, pack([[5]], [[8]]))
    end = -model(torch.tensor([[5, 8]])).log_softmax(-1)[0, -1, EOS]
    assert (with_end - without).item() == pytest.approx(end.item(), abs=1e-6)
    for fill in (EOS, 11):
        same, _ = completion_loss(model, padded(pack([[5]], [[8, EOS]]), 4, fill))
        assert same.item() == with_end.item()


@pytest.mark.parametrize("norm", ["tokens", "mean"])
def test_neither_split_nor_order_nor_padding_changes_the_gradient(model: Any, norm: str) -> None:
    rows = pack(PROMPTS, COMPLETIONS)
    loss = policy_loss(model, rows, ADVANTAGES, norm=norm)
    expected = gradients(model)
    for parts in (2, 3, 4):
        assert policy_loss(model, rows, ADVANTAGES, parts, norm) == pytest.approx(loss, abs=TOLERANCE)
        close(gradients(model), expected)
    order = torch.tensor([2, 0, 3, 1])
    assert policy_loss(model, rows.select(order), ADVANTAGES[order], 2, norm) == pytest.approx(loss, abs=TOLERANCE)
    close(gradients(model), expected)
    for fill in (EOS, 11):
        assert policy_loss(model, padded(rows, 5, fill), ADVANTAGES, 1, norm) == pytest.approx(loss, abs=TOLERANCE)
        close(gradients(model), expected)


def test_truncated_rows_count_all_their_tokens(model: Any) -> None:
    """The third completion has no end mark: four tokens, all learned, all in the denominator."""
    rows = pack(PROMPTS, COMPLETIONS)
    assert rows.mask.sum(1).tolist() == [3, 1, 4, 2]
    assert row_weights("tokens", rows.completion_lengths).tolist() == pytest.approx([0.1] * 4)


def test_exact_divergence() -> None:
    p, q = torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.25, 0.5, 0.25]).log()
    expected = 0.5 * torch.tensor(2.0).log()
    assert kl_divergence(q, q).item() == 0
    logits = torch.randn(6, 5, dtype=torch.float64).log_softmax(-1)
    other = torch.randn(6, 5, dtype=torch.float64).log_softmax(-1)
    oracle = F.kl_div(other, logits, log_target=True, reduction="none").sum(-1)
    assert torch.allclose(kl_divergence(logits, other), oracle, atol=1e-12)
    assert torch.allclose(kl_divergence(p[:2], q[:2]), expected)
