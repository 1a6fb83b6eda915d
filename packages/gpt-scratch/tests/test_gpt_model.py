"""The decoder against transformers' GPT-2, closed forms, and its own promises about causality and padding."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_scratch.bigram import Bigram
from gpt_scratch.config import BigramConfig, GPTConfig
from gpt_scratch.model import GPT, gelu_sigmoid, gelu_tanh

SMALL = GPTConfig(n_layer=3, n_head=4, n_embd=32, block_size=24)


def build(config: GPTConfig = SMALL, vocab_size: int = 37, seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT(config, vocab_size=vocab_size)


def excite(model: torch.nn.Module, scale: float = 0.3) -> None:
    """Weights far from their start, so that a wrong sign, order or missing bias shows."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def random_ids(rows: int, width: int, vocab_size: int = 37, seed: int = 1) -> torch.Tensor:
    return torch.randint(vocab_size, (rows, width), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tie", [True, False])
def test_logits_equal_those_of_transformers(tie: bool) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="GPT2LMHeadModel is the oracle")
    config = GPTConfig(n_layer=3, n_head=4, n_embd=32, block_size=24, tie_weights=tie)
    model = build(config).eval()
    excite(model)
    oracle = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=37,
            n_positions=24,
            n_embd=32,
            n_layer=3,
            n_head=4,
            tie_word_embeddings=tie,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    conv1d = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # transformers keeps these as (in, out)
    state = {
        (name if name == "lm_head.weight" else f"transformer.{name}"): tensor.t() if name.endswith(conv1d) else tensor
        for name, tensor in model.state_dict().items()
    }
    oracle.load_state_dict(state, strict=True)
    ids = random_ids(5, 24)
    with torch.no_grad():
        ours, theirs = model(ids), oracle(ids).logits
    assert ours.std() > 1  # else everything agrees
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@given(
    n_layer=st.integers(1, 3),
    n_head=st.sampled_from([1, 2, 4]),
    head_dim=st.integers(1, 9),
    block_size=st.integers(1, 40),
    vocab_size=st.integers(1, 50),
)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_number_of_parameters(n_layer: int, n_head: int, head_dim: int, block_size: int, vocab_size: int) -> None:
    d = n_head * head_dim
    config = GPTConfig(n_layer=n_layer, n_head=n_head, n_embd=d, block_size=block_size)
    count = sum(p.numel() for p in GPT(config, vocab_size=vocab_size).parameters())
    assert count == vocab_size * d + block_size * d + n_layer * (12 * d * d + 13 * d) + 2 * d


def test_number_of_parameters_of_gpt2_itself() -> None:
    with torch.device("meta"):
        model = GPT(GPTConfig(n_layer=12, n_head=12, n_embd=768, block_size=1024), vocab_size=50257)
        no_bias = GPT(GPTConfig(n_layer=12, n_head=12, n_embd=768, block_size=1024, bias=False), vocab_size=50304)
    assert sum(p.numel() for p in model.parameters()) == 124_439_808
    assert sum(p.numel() for p in no_bias.parameters()) == 124_373_760


@pytest.mark.parametrize(("n_embd", "std"), [(768, 0.02), (192, 0.04)])
def test_first_weights_have_the_spread_they_should(n_embd: int, std: float) -> None:
    model = build(GPTConfig(n_layer=2, n_head=4, n_embd=n_embd), vocab_size=512)
    for name, parameter in model.named_parameters():
        if name.endswith("c_proj.weight"):
            assert float(parameter.detach().std()) == pytest.approx(std / 2, rel=0.05), name
        elif parameter.dim() == 2:
            assert float(parameter.detach().std()) == pytest.approx(std, rel=0.05), name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, 1.0 if ".weight" in name else 0.0)), name


@pytest.mark.parametrize("vocab_size", [65, 512])
@pytest.mark.parametrize("n_embd", [16, 64, 256])
def test_first_loss_is_ln_v_plus_half_the_variance_of_the_logits(vocab_size: int, n_embd: int) -> None:
    """That variance is 768 x 0.02^2 = 0.31 at every width, because the features are normalised."""
    model = build(GPTConfig(n_embd=n_embd), vocab_size=vocab_size)
    ids, targets = random_ids(32, 64, vocab_size), random_ids(32, 64, vocab_size, seed=2)
    with torch.no_grad():
        logits = model(ids)
    loss = float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()))
    assert loss == pytest.approx(math.log(vocab_size) + float(logits.var(dim=-1).mean()) / 2, abs=0.03)
    assert loss == pytest.approx(math.log(vocab_size) + 0.15, abs=0.08)


@pytest.mark.parametrize("config", [SMALL, GPTConfig(n_head=2, n_embd=8, bias=False, tie_weights=False, block_size=9)])
def test_gradients_reach_every_parameter(config: GPTConfig) -> None:
    model = build(config)
    model(random_ids(8, config.block_size)).logsumexp(-1).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_head_of_features_is_the_model_and_tying_is_one_tensor() -> None:
    model, ids = build().eval(), random_ids(3, 7)
    features = model.features(ids)
    assert features.shape == (3, 7, 32)
    assert torch.equal(model.head(features), model(ids))
    assert model.lm_head.weight is model.wte.weight
    assert copy.deepcopy(model).lm_head.weight is not model.wte.weight
    twin = copy.deepcopy(model)
    assert twin.lm_head.weight is twin.wte.weight
    untied = build(GPTConfig(n_head=2, n_embd=8, tie_weights=False))
    assert untied.lm_head.weight is not untied.wte.weight


@given(width=st.integers(2, 24), at=st.integers(0, 23), new=st.integers(0, 36))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_no_position_sees_a_later_one(width: int, at: int, new: int) -> None:
    at = at % width
    model = build().eval()
    excite(model)
    ids = random_ids(3, width)
    changed = ids.clone()
    changed[:, at] = new
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :at], after[:, :at])
    different = (ids[:, at] != new).nonzero()[:, 0]
    assert bool((before[different, at:] != after[different, at:]).any(dim=-1).all())


@given(lengths=st.lists(st.integers(1, 24), min_size=1, max_size=6), pad=st.integers(0, 36))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_row_in_a_batch_equals_the_row_alone(lengths: list[int], pad: int) -> None:
    model = build().eval()
    excite(model, 0.1)
    ids = random_ids(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        ids[row, length:] = pad
    with torch.no_grad():
        together = model(ids, lengths=torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = model(ids[row : row + 1, :length])
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=1e-5)


def test_dropout_works_in_training_only_and_everywhere() -> None:
    model = build(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=24, dropout=0.5))
    ids = random_ids(2, 24)
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))
    plain = build(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=24)).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(ids), plain(ids))
    model.train()
    torch.manual_seed(0)
    first = model(ids)
    torch.manual_seed(0)
    assert torch.equal(first, model(ids))


def test_both_forms_of_gelu_are_the_same_function() -> None:
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-1e4, 0.0, 1e4])])
    expected = 0.5 * x.double() * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x.double() + 0.044715 * x.double() ** 3)))
    for form in (gelu_tanh, gelu_sigmoid):
        torch.testing.assert_close(form(x), expected.float(), atol=1e-6, rtol=1e-6)


def test_gradients_do_not_change_what_is_computed() -> None:
    model, ids = build().eval(), random_ids(3, 9)
    with torch.no_grad():
        without = model(ids)
    assert torch.equal(model(ids), without)


def test_every_matrix_is_a_linear_layer_that_can_be_replaced() -> None:
    """What an adapter does: swap a linear layer by name for a module that wraps it."""

    class Doubled(torch.nn.Module):
        def __init__(self, base: torch.nn.Module) -> None:
            super().__init__()
            self.base = base

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.base(x)

    ids = random_ids(2, 5)
    names = {name for name, module in build().named_modules() if isinstance(module, torch.nn.Linear)}
    assert {name.split(".")[-1] for name in names} == {"c_attn", "c_proj", "c_fc", "lm_head"}
    for name in names:
        model = build().eval()
        before = model(ids)
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], Doubled(model.get_submodule(name)))
        assert not torch.allclose(before, model(ids)), name
        cache = model.new_cache(2, 6)
        torch.testing.assert_close(model(ids, cache=cache), model(ids))


def test_peft_can_inject_lora_by_any_name() -> None:
    peft: Any = pytest.importorskip("peft", reason="a real adapter library")
    model = build().eval()
    ids = random_ids(2, 5)
    before = model(ids)
    config = peft.LoraConfig(r=2, target_modules=["c_attn", "c_proj", "c_fc"])
    wrapped = peft.inject_adapter_in_model(config, model)
    torch.testing.assert_close(wrapped(ids), before)
    assert sum("lora_A" in name for name, _ in wrapped.named_parameters()) == 3 * 4


@pytest.mark.parametrize("kind", ["gpt", "bigram"])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[0, 1], [2, 37]], "id 37 at row 1, position 1.*0 to 36"),
        ([[0, -1]], "id -1 at row 0, position 1"),
        ([[]], r"shape \(1, 0\)"),
        ([0, 1], r"shape \(2,\)"),
        ([[0.5, 1.0]], "float32"),
    ],
)
def test_bad_ids_are_refused_with_place_and_limit(kind: str, ids: Any, message: str) -> None:
    model = build() if kind == "gpt" else Bigram(BigramConfig(), vocab_size=37)
    with pytest.raises(ValueError, match=message):
        model(torch.tensor(ids))
    with pytest.raises(ValueError, match=message):
        model(torch.tensor(ids), cache=model.new_cache(len(ids), 8))


def test_too_long_rows_and_wrong_lengths_are_refused() -> None:
    model = build()
    with pytest.raises(ValueError, match=r"position 24 is beyond this model, .* 0 to 23"):
        model(random_ids(1, 25))
    with pytest.raises(ValueError, match="beyond this model"):
        model.new_cache(1, 25)
    with pytest.raises(ValueError, match="row 1 says 4, must be from 0 to 3"):
        model(random_ids(2, 3), lengths=torch.tensor([1, 4]))
    with pytest.raises(ValueError, match=r"must be \(2,\)"):
        model(random_ids(2, 3), lengths=torch.tensor([1]))
    with pytest.raises(ValueError, match="vocab_size"):
        GPT(SMALL, vocab_size=0)
