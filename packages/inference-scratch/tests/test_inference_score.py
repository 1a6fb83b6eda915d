"""Scores against what generation said, against a naive pass per row, and their gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from inference_scratch.config import GreedyConfig, MultinomialConfig, TopKConfig, TopPConfig
from inference_scratch.generate import Generation, generate
from inference_scratch.samplers import Greedy, Multinomial, Sampler, TopK, TopP
from inference_scratch.score import Sequences, completion_log_probs, entropy, join, pack

MULTINOMIAL = Multinomial(MultinomialConfig())
SAMPLERS = [
    Greedy(GreedyConfig()),
    MULTINOMIAL,
    Multinomial(MultinomialConfig(temperature=0.6)),
    TopK(TopKConfig(top_k=4)),
    TopP(TopPConfig(top_p=0.8, temperature=1.5)),
]
UNEQUAL = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 2], [10]]
EQUAL = [[1, 2], [4, 4], [10, 0]]


def run(model: Any, prompts: list[list[int]], sampler: Sampler, *, eos_id: int | None = 3, n: int = 3) -> Generation:
    return generate(
        model,
        prompts,
        sampler=sampler,
        max_new_tokens=8,
        eos_id=eos_id,
        generator=torch.Generator().manual_seed(0),
        samples_per_prompt=n,
        pad_id=-1,
    )


def naive(model: Any, sequences: Sequences, sampler: Sampler | None) -> tuple[list[Tensor], list[Tensor]]:
    """Row by row without padding, every position through the head: log-probabilities and entropies."""
    chosen, entropies = [], []
    for row, prompt, completion in zip(
        sequences.ids, sequences.prompt_lengths.tolist(), sequences.completion_lengths.tolist(), strict=True
    ):
        ids = row[: prompt + completion]
        logits = model(ids[None])[0, prompt - 1 : -1]
        log_probs = logits.log_softmax(-1) if sampler is None else sampler.log_probs(logits)
        chosen.append(log_probs[torch.arange(completion), ids[prompt:]])
        probs = log_probs.exp()
        entropies.append(torch.special.entr(torch.where(probs > 0, probs, 1)).sum(-1))
    return chosen, entropies


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prompts", [UNEQUAL, EQUAL])
@pytest.mark.parametrize("eos_id", [3, None])
def test_scores_equal_what_generation_said(toy_model: Any, sampler: Sampler, prompts: Any, eos_id: int | None) -> None:
    model = toy_model().eval()
    generation = run(model, prompts, sampler, eos_id=eos_id)
    log_probs, none = completion_log_probs(model, join(prompts, generation), sampler=sampler)
    assert none is None
    assert log_probs.shape == generation.tokens.shape
    torch.testing.assert_close(log_probs.detach(), generation.log_probs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler", [None, *SAMPLERS])
@pytest.mark.parametrize("prompts", [UNEQUAL, EQUAL])
@pytest.mark.parametrize("eos_id", [3, None])
@pytest.mark.parametrize("chunk_tokens", [1, 7, 4096])
def test_values_and_gradients_equal_the_naive_pass(
    toy_model: Any, sampler: Sampler | None, prompts: Any, eos_id: int | None, chunk_tokens: int
) -> None:
    model = toy_model().eval()
    sequences = join(prompts, run(model, prompts, sampler or MULTINOMIAL, eos_id=eos_id))
    log_probs, entropies = completion_log_probs(
        model, sequences, sampler=sampler, with_entropy=True, chunk_tokens=chunk_tokens
    )
    assert entropies is not None
    expected = naive(model, sequences, sampler)
    for ours, theirs in zip((log_probs, entropies), expected, strict=True):
        torch.testing.assert_close(ours[sequences.mask], torch.cat(theirs), rtol=0, atol=1e-5)
        assert not ours[~sequences.mask].any()
    weights = torch.arange(1.0, 1 + log_probs.numel()).view_as(log_probs)
    (log_probs * weights + 0.3 * entropies * weights).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    flat = weights[sequences.mask]
    (torch.cat(expected[0]) * flat + 0.3 * torch.cat(expected[1]) * flat).sum().backward()
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-3)


def test_chunks_give_gradients_with_dropout_too(toy_model: Any) -> None:
    """The head runs a second time in the backward pass; it has to see the same dropout mask again."""

    class DropsInHead(toy_model):  # type: ignore[misc]
        def head(self, features: Tensor, /) -> Tensor:
            return super().head(self.dropout(features))  # type: ignore[no-any-return]

    model = DropsInHead()
    model.train()
    sequences = join(UNEQUAL, run(model, UNEQUAL, MULTINOMIAL))
    torch.manual_seed(0)
    log_probs, _ = completion_log_probs(model, sequences, chunk_tokens=5)
    log_probs.sum().backward()  # type: ignore[no-untyped-call]
    gradient = model.out.weight.grad.clone()
    step = 1e-2 * gradient / gradient.norm()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            model.out.weight += sign * step
            torch.manual_seed(0)
            ends.append(float(completion_log_probs(model, sequences, chunk_tokens=5)[0].sum()))
            model.out.weight -= sign * step
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(float(gradient.norm()), rel=1e-2)


def test_the_head_never_sees_more_than_a_chunk_nor_anything_but_completions(toy_model: Any) -> None:
    class Watches(toy_model):  # type: ignore[misc]
        def head(self, features: Tensor, /) -> Tensor:
            self.seen.append(len(features))
            return super().head(features)  # type: ignore[no-any-return]

    model = Watches()
    model.seen = []
    generation = run(model, UNEQUAL, MULTINOMIAL)
    model.seen.clear()
    with torch.no_grad():
        completion_log_probs(model, join(UNEQUAL, generation), chunk_tokens=10)
    assert max(model.seen) <= 10
    assert sum(model.seen) == int(generation.lengths.sum())


def test_a_minibatch_gives_the_rows_of_the_whole(toy_model: Any) -> None:
    model = toy_model().eval()
    sequences = join(UNEQUAL, run(model, UNEQUAL, MULTINOMIAL))
    with torch.no_grad():
        whole, _ = completion_log_probs(model, sequences)
        for rows in torch.randperm(15, generator=torch.Generator().manual_seed(0)).split(4):  # type: ignore[no-untyped-call]
            part, _ = completion_log_probs(model, sequences.select(rows))
            torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-5)


def test_join_puts_the_completion_right_behind_its_prompt(toy_model: Any) -> None:
    generation = run(toy_model(), UNEQUAL, MULTINOMIAL)
    sequences = join(UNEQUAL, generation)
    assert sequences.prompt_lengths.tolist() == [len(prompt) for prompt in UNEQUAL for _ in range(3)]
    for row, (ids, total) in enumerate(
        zip(sequences.ids.tolist(), (sequences.prompt_lengths + generation.lengths).tolist(), strict=True)
    ):
        assert ids[:total] == UNEQUAL[row // 3] + generation.to_lists()[row]
    assert torch.equal(sequences.mask, generation.mask)


def test_join_refuses_prompts_of_another_run(toy_model: Any) -> None:
    generation = run(toy_model(), UNEQUAL, MULTINOMIAL)
    with pytest.raises(ValueError, match="15 rows, must be a multiple of the 4 prompts"):
        join(UNEQUAL[:4], generation)


def test_pack_scores_given_completions(toy_model: Any) -> None:
    model = toy_model().eval()
    sequences = pack(UNEQUAL, [[1], [2, 3, 4], [5, 5], [], [6]])
    assert sequences.mask.tolist() == [[n < m for n in range(3)] for m in (1, 3, 2, 0, 1)]
    with torch.no_grad():
        log_probs, _ = completion_log_probs(model, sequences)
        expected = torch.cat(naive(model, sequences, None)[0])
    torch.testing.assert_close(log_probs[sequences.mask], expected, rtol=0, atol=1e-5)


def test_nothing_is_read_from_padding(toy_model: Any) -> None:
    """The ids there may be anything; the toy model's outputs there are NaN, which would reach every gradient."""
    model = toy_model().eval()
    sequences = join(EQUAL, run(model, EQUAL, MULTINOMIAL))
    total = sequences.prompt_lengths + sequences.completion_lengths
    padding = torch.arange(sequences.ids.shape[1]) >= total[:, None]
    assert padding.any()
    log_probs, _ = completion_log_probs(
        model, dataclasses.replace(sequences, ids=sequences.ids.masked_fill(padding, 7))
    )
    reference, _ = completion_log_probs(
        model, dataclasses.replace(sequences, ids=sequences.ids.masked_fill(padding, 0))
    )
    assert torch.equal(log_probs, reference)
    log_probs.sum().backward()  # type: ignore[no-untyped-call]
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_masked_ids_score_minus_infinity(toy_model: Any) -> None:
    model = toy_model().eval()
    sequences = pack([[1]] * 11, [[n] for n in range(11)])
    log_probs, entropies = completion_log_probs(model, sequences, sampler=TopK(TopKConfig(top_k=2)), with_entropy=True)
    assert int((log_probs > -torch.inf).sum()) == 2
    assert entropies is not None
    assert bool(entropies.isfinite().all())


def test_entropy_of_known_distributions() -> None:
    log_probs = torch.tensor([[0.25] * 4, [0.5, 0.5, 0, 0], [1, 0, 0, 0]]).log().requires_grad_()
    values = entropy(log_probs)
    torch.testing.assert_close(values.exp(), torch.tensor([4.0, 2.0, 1.0]))
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert log_probs.grad is not None
    assert bool(log_probs.grad.isfinite().all())


def test_chunks_of_no_token_are_refused(toy_model: Any) -> None:
    with pytest.raises(ValueError, match=r"^chunk_tokens: got 0"):
        completion_log_probs(toy_model(), pack([[1]], [[2]]), chunk_tokens=0)
