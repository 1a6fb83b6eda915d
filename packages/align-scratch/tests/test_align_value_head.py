"""The value function: what it reads, where its gradients go, that it starts at 0, and that rows do not mix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from align_scratch.config.ppo import PPOConfig
from align_scratch.ppo import PPO
from align_scratch.scoring import sequence_log_probs
from align_scratch.value_head import Read, ValueFunction
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial
from inference_scratch.score import Sequences, completion_log_probs, pack

Parts = Callable[..., dict[str, Any]]
EOS = 0
PROMPTS = [[5, 6, 7], [5], [6, 6], [7, 5, 6, 5]]
COMPLETIONS = [[8, 9, EOS], [EOS], [9, 9, 9, 9], [8, EOS]]  # the third was cut off
SAMPLER = Multinomial(MultinomialConfig(temperature=0.7))


@pytest.fixture
def model(toy_model: Callable[..., Any]) -> Any:
    """Puts NaN at padding, so that nothing can read it unnoticed."""
    torch.manual_seed(0)
    return toy_model(12)


def head_of(values: ValueFunction) -> ValueFunction:
    """With weights that are not 0."""
    with torch.no_grad():
        values.head.weight.copy_(torch.linspace(-1, 1, len(values.head.weight)))
        values.head.bias.fill_(0.3)
    return values


def test_values_are_of_the_state_before_each_token(model: Any) -> None:
    rows = pack(PROMPTS, COMPLETIONS)
    values = head_of(ValueFunction(model, "shared"))
    got = values(Read(model, rows))  # (N, T)
    after = values.after(Read(model, rows, to_the_end=True))  # (N,)
    for i, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        for t in range(len(completion)):
            features = model.features(torch.tensor([prompt + completion[:t]]))[0, -1]
            assert got[i, t].item() == pytest.approx(values.head(features).item(), abs=1e-6)
        last = model.features(torch.tensor([prompt + completion]))[0, -1]
        assert after[i].item() == pytest.approx(values.head(last).item(), abs=1e-6)
        assert got[i, len(completion) :].eq(0).all()
    again = values(Read(model, rows, to_the_end=True))
    assert torch.allclose(again, got, atol=1e-6)


def test_it_starts_at_zero_and_draws_nothing(model: Any) -> None:
    state = torch.get_rng_state()
    model.train()
    for trunk in ("shared", "detached", "own"):
        values = ValueFunction(model, trunk)
        assert values(Read(model, pack(PROMPTS, COMPLETIONS))).eq(0).all()
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("sampler", [None, SAMPLER])
def test_one_pass_says_what_scoring_says(model: Any, sampler: Any) -> None:
    for prompts in (PROMPTS, [[5, 6]] * 4):  # ragged, and rows that look alike
        for completions in (COMPLETIONS, [[8, 9, EOS]] * 4):
            rows = pack(prompts, completions)
            log_probs, entropy = Read(model, rows).log_probs(sampler, with_entropy=True)
            assert torch.allclose(log_probs, sequence_log_probs(model, rows, sampler), atol=1e-6)
            expected = completion_log_probs(model, rows, sampler=sampler, with_entropy=True)[1]
            assert entropy is not None
            assert expected is not None
            assert torch.allclose(entropy, expected, atol=1e-6)


def gradients(model: Any, values: ValueFunction, rows: Sequences, weights: Tensor) -> dict[str, Tensor]:
    """Of sum_i w_i sum_t V_it: by name."""
    (values(Read(model, rows)).sum(1) * weights).sum().backward()
    named = dict(model.named_parameters()) | values.parameters()
    found = {name: p.grad.clone() for name, p in named.items() if p.grad is not None}
    for parameter in named.values():
        parameter.grad = None
    return found


@pytest.mark.parametrize("trunk", ["shared", "detached", "own"])
def test_where_gradients_of_the_values_go(model: Any, trunk: str) -> None:
    values = head_of(ValueFunction(model, trunk))
    found = gradients(model, values, pack(PROMPTS, COMPLETIONS), torch.ones(4))
    assert {"value_head.weight", "value_head.bias"} <= found.keys()
    assert found["value_head.bias"].item() == 10  # as many as there are tokens, ends included
    assert ("embed.weight" in found) == (trunk == "shared")
    assert ("value_trunk.embed.weight" in found) == (trunk == "own")
    assert "out.weight" not in found  # never through the logits


@pytest.mark.parametrize("trunk", ["shared", "own"])
def test_neither_split_nor_order_nor_padding_changes_a_gradient(model: Any, trunk: str) -> None:
    rows, weights = pack(PROMPTS, COMPLETIONS), torch.tensor([1.0, -0.5, 0.7, -1.2])
    values = head_of(ValueFunction(model, trunk))
    whole = gradients(model, values, rows, weights)
    parts = [gradients(model, values, rows.select(torch.tensor(part)), weights[part]) for part in ([2, 0], [3], [1])]
    wider = Sequences(
        ids=torch.cat((rows.ids, torch.full((4, 3), 11)), 1),
        prompt_lengths=rows.prompt_lengths,
        completion_lengths=rows.completion_lengths,
        width=rows.n_columns + 2,
    )
    other = gradients(model, values, wider, weights)
    for name, gradient in whole.items():
        assert torch.allclose(sum(part[name] for part in parts), gradient, atol=1e-5), name
        assert torch.allclose(other[name], gradient, atol=1e-6), name


def test_its_own_trunk_begins_as_a_copy_and_goes_its_own_way(model: Any) -> None:
    values = head_of(ValueFunction(model, "own"))
    rows = pack(PROMPTS, COMPLETIONS)
    before = values(Read(model, rows))
    shared = head_of(ValueFunction(model, "shared"))
    assert torch.allclose(before, shared(Read(model, rows)), atol=1e-6)
    with torch.no_grad():
        model.embed.weight.mul_(2)
    assert torch.equal(values(Read(model, rows)), before)
    assert not torch.allclose(shared(Read(model, rows)), before)
    other = ValueFunction(model, "own")
    other.load_state_dict(values.state_dict())
    assert torch.equal(other(Read(model, rows)), before)


def test_unknown_trunks_are_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="value_trunk: got 'none', must be one of detached, shared, own"):
        ValueFunction(model, "none")


class Shift:
    """An adapter of one vector: the embedding of every id is moved by it."""

    def __init__(self, model: Any) -> None:
        model.requires_grad_(False)
        model.shift = torch.nn.Parameter(torch.zeros(model.embed.embedding_dim))
        self.model, self.off = model, False
        model.embed.register_forward_hook(lambda module, args, out: out if self.off else out + model.shift)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        self.off = True
        yield
        self.off = False


def test_below_an_adapter(parts: Parts, toy_task: Any) -> None:
    """The head is trained beside the adapter, reads the adapted model's features, and the base stays what it is."""
    built = parts(toy_task(lambda text: float(text[:1] > "m")))
    model, adapter = built["model"], Shift(built["model"])
    base = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    config = PPOConfig(steps=5, prompts_per_step=24, warmup_steps=0, lr=2e-2, kl_coef=0.05)
    trainer = PPO(config, **built, adapter=adapter)
    assert set(trainer.named) == {"shift", "value_head.weight", "value_head.bias"}
    assert trainer.reference.copy is None
    *_, last = trainer.train()
    assert last["kl"] > 0
    assert model.shift.abs().max() > 0.01
    for name, tensor in base.items():
        assert torch.equal(dict(model.named_parameters())[name], tensor)
    rows = pack(PROMPTS, COMPLETIONS)
    adapted = trainer.values(Read(model, rows))
    with adapter.disabled():
        plain = trainer.values(Read(model, rows))
    assert not torch.allclose(adapted, plain)
    state = trainer.state_dict()
    assert "shift" in state["model"]
    assert "embed.weight" not in state["model"]
    assert state["values"]["head"]["weight"].abs().max() > 0
