"""Prompts that are computed once for all their continuations, against rows of prompt and continuation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt_scratch.config import GPTConfig
from gpt_scratch.model import GPT

VOCAB, BLOCK = 23, 20


def build(seed: int = 0, dropout: float = 0.0) -> GPT:
    torch.manual_seed(seed)
    config = GPTConfig(n_layer=3, n_head=2, n_embd=16, block_size=BLOCK, dropout=dropout)
    model = GPT(config, vocab_size=VOCAB).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def gradients(model: GPT, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_features_and_gradients_are_those_of_the_joined_rows(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=4))
    lengths = [data.draw(st.integers(0, 8)) for _, rows in counts for _ in range(rows)]
    prompt_of = torch.tensor([prompt for prompt, (_, rows) in enumerate(counts) for _ in range(rows)])
    order = torch.tensor(data.draw(st.permutations(range(len(lengths)))))
    prompt_of = prompt_of[order]  # rows of a group need not be neighbours
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    width = max(1, *lengths)
    prompts = torch.randint(0, VOCAB, (len(counts), max(n for n, _ in counts)), generator=generator)
    ids = torch.randint(0, VOCAB, (len(lengths), width), generator=generator)
    prompt_lengths = torch.tensor([n for n, _ in counts])

    model = build()
    in_prompts, behind = model.features_after(
        prompts, ids, prompt_of, prompt_lengths=prompt_lengths, lengths=torch.tensor(lengths)
    )
    assert in_prompts.shape == (*prompts.shape, 16)
    assert behind.shape == (*ids.shape, 16)
    weights = torch.randn(behind.shape, generator=generator, dtype=torch.float64)
    loss, expected = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for row, prompt in enumerate(prompt_of.tolist()):
        start, end = counts[prompt][0], counts[prompt][0] + lengths[row]
        alone = model.features(torch.cat((prompts[prompt, :start], ids[row, : lengths[row]]))[None])[0]
        torch.testing.assert_close(behind[row, : lengths[row]], alone[start:end], rtol=0, atol=1e-10)
        torch.testing.assert_close(in_prompts[prompt, :start], alone[:start], rtol=0, atol=1e-10)
        # Every row's prompt counts once, as it does where each row has its own.
        loss = loss + (behind[row] * weights[row])[: lengths[row]].sum() + in_prompts[prompt, start - 1].sum()
        expected = expected + (alone[start:end] * weights[row, : lengths[row]]).sum() + alone[start - 1].sum()
    for found, wanted in zip(gradients(model, loss), gradients(model, expected), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_what_stands_at_padding_changes_nothing() -> None:
    model = build()
    prompts, ids = torch.randint(0, VOCAB, (2, 6)), torch.randint(0, VOCAB, (5, 7))
    prompt_of, prompt_lengths = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([6, 3])
    lengths = torch.tensor([7, 2, 0, 5, 4])
    found = []
    for filler in (0, 5):
        prompts[1, 3:] = filler
        ids[torch.arange(7) >= lengths[:, None]] = filler
        behind = model.features_after(prompts, ids, prompt_of, prompt_lengths=prompt_lengths, lengths=lengths)[1]
        found.append(behind[torch.arange(7) < lengths[:, None]])
    assert torch.equal(*found)


def test_dropout_is_as_the_mode_says() -> None:
    model = build(dropout=0.5)
    arguments = torch.randint(0, VOCAB, (1, 4)), torch.randint(0, VOCAB, (2, 3)), torch.tensor([0, 0])
    lengths = {"prompt_lengths": torch.tensor([4]), "lengths": torch.tensor([3, 3])}
    drawn = [model.train().features_after(*arguments, **lengths)[1] for _ in range(2)]
    assert not torch.equal(*drawn)
    fixed = [model.eval().features_after(*arguments, **lengths)[1] for _ in range(2)]
    assert torch.equal(*fixed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompt_lengths": torch.tensor([5])}, "lengths: row 0 says 5"),
        ({"lengths": torch.tensor([3, 4])}, "lengths: row 1 says 4"),
        ({"lengths": torch.tensor([3])}, "lengths: got shape"),
    ],
)
def test_wrong_lengths_are_refused(changed: dict[str, Tensor], message: str) -> None:
    lengths = {"prompt_lengths": torch.tensor([4]), "lengths": torch.tensor([3, 3])} | changed
    with pytest.raises(ValueError, match=message):
        build().features_after(
            torch.zeros(1, 4, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 0]), **lengths
        )


def test_rows_beyond_the_context_are_refused() -> None:
    prompts, ids = torch.zeros(1, 12, dtype=torch.int64), torch.zeros(2, 12, dtype=torch.int64)
    with pytest.raises(ValueError, match="position 20 is beyond this model"):
        build().features_after(
            prompts, ids, torch.tensor([0, 0]), prompt_lengths=torch.tensor([12]), lengths=torch.tensor([5, 9])
        )
