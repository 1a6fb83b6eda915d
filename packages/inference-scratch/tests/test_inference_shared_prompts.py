"""Scoring with every prompt computed once, where a model can do that, against scoring row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from inference_scratch.config import MultinomialConfig
from inference_scratch.generate import generate
from inference_scratch.samplers import Multinomial
from inference_scratch.score import Sequences, completion_features, completion_log_probs, join

SAMPLER = Multinomial(MultinomialConfig())


def sharing(toy_model: Any) -> Any:
    class Shares(toy_model):  # type: ignore[misc]
        calls = 0

        def features_after(
            self, prompts: Tensor, ids: Tensor, prompt_of: Tensor, /, *, prompt_lengths: Tensor, lengths: Tensor
        ) -> tuple[Tensor, Tensor]:
            self.calls += 1
            cache = self.new_cache(len(prompts), prompts.shape[1] + ids.shape[1])
            in_prompts = self.features(prompts, lengths=prompt_lengths, cache=cache)
            return in_prompts, self.features(ids, lengths=lengths, cache=cache.select(prompt_of))

    return Shares().eval()


def alone(sequences: Sequences) -> Sequences:
    """The same rows, without saying which of them share a prompt."""
    return Sequences(
        ids=sequences.ids,
        prompt_lengths=sequences.prompt_lengths,
        completion_lengths=sequences.completion_lengths,
        width=sequences.width,
    )


@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_log_probs_entropies_and_gradients_are_the_same(toy_model: Any, data: st.DataObject) -> None:
    model = sharing(toy_model)
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    if data.draw(st.booleans()):
        lengths = [lengths[0]] * len(lengths)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    prompts = [torch.randint(0, 11, (n,), generator=generator).tolist() for n in lengths]
    eos_id = data.draw(st.sampled_from([None, 3]))
    found = generate(
        model, prompts, sampler=SAMPLER, max_new_tokens=data.draw(st.integers(1, 8)), eos_id=eos_id,
        generator=generator, samples_per_prompt=data.draw(st.integers(1, 4)),
    )  # fmt: skip
    sequences = join(prompts, found)
    some = data.draw(st.lists(st.integers(0, len(sequences.ids) - 1), min_size=1, unique=True))
    sequences = sequences.select(torch.tensor(some))  # a minibatch, in any order
    outcomes = []
    for rows in (sequences, alone(sequences)):
        log_probs, entropies = completion_log_probs(model, rows, sampler=SAMPLER, with_entropy=True, chunk_tokens=5)
        assert entropies is not None
        torch.testing.assert_close(log_probs.detach(), found.log_probs[some], rtol=0, atol=1e-5)
        weights = torch.arange(1.0, 1 + log_probs.numel()).view_as(log_probs)
        gradients = torch.autograd.grad(((log_probs + entropies) * weights).sum(), list(model.parameters()))
        outcomes.append((log_probs, entropies, *gradients))
    for shared, separate in zip(*outcomes, strict=True):
        torch.testing.assert_close(shared, separate, rtol=1e-4, atol=1e-3)
    features, ids = completion_features(model, sequences)
    expected, same = completion_features(model, alone(sequences))
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
    assert torch.equal(ids, same)


@pytest.mark.parametrize(
    ("samples", "width", "shares"),
    [(3, 8, True), (1, 8, False), (3, 1, False)],
    ids=["groups", "a prompt a row", "one token each"],
)
def test_prompts_are_shared_where_there_is_something_to_share(
    toy_model: Any, samples: int, width: int, shares: bool
) -> None:
    model = sharing(toy_model)
    prompts = [[1, 2, 3, 4], [5, 6]]
    found = generate(
        model, prompts, sampler=SAMPLER, max_new_tokens=width, generator=torch.Generator(), samples_per_prompt=samples
    )
    model.rows_read.clear()
    completion_log_probs(model, join(prompts, found))
    assert model.calls == shares
    if shares:
        assert model.rows_read == [(2, 4), (2 * samples, width - 1)]
