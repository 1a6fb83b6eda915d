"""TinyLoRA and LoRA-XS against PEFT, against each other, and against their own definitions."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from papers_scratch.config.frames import LoRAXSConfig, TinyLoRAConfig
from papers_scratch.config.lora import LoRAConfig
from papers_scratch.config.peft_tinylora import PeftTinyLoRAConfig
from papers_scratch.errors import AdapterNotice
from papers_scratch.frame_layer import FrameLinear
from papers_scratch.lora import LoRA
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.peft_tinylora import PeftTinyLoRA
from papers_scratch.projections import projections
from papers_scratch.singular import fingerprint, has_fingerprint, leading_directions
from papers_scratch.tinylora import TinyLoRA
from papers_scratch.tying import groups

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
IDS = torch.arange(24).view(2, 12)


def llama() -> Any:
    transformers = pytest.importorskip("transformers", reason="the oracle is a transformers model")
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=False,
        )
    )


def mlp(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 5)).to(dtype)


def set_random(adapter: Any, seed: int = 1) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.copy_(torch.randn(parameter.shape))


@pytest.mark.parametrize(("weight_tying", "u"), [(0.0, 3), (0.4, 2), (1.0, 5)])
def test_same_weights_give_peft_tinylora(weight_tying: float, u: int) -> None:
    theirs = peft.get_peft_model(
        llama(), peft.TinyLoraConfig(r=2, u=u, weight_tying=weight_tying, target_modules="all-linear")
    )
    model = llama()
    adapter = TinyLoRA(
        TinyLoRAConfig(r=2, u=u, tying="peft", weight_tying=weight_tying, sigma="sqrt", projection="normal", seed=42)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdapterNotice)
        adapter.wrap(model)
    their_layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in theirs.named_modules()
        if isinstance(layer, peft.tuners.tinylora.layer.TinyLoraLayer)
    }
    assert list(their_layers) == list(adapter.layers)
    torch.manual_seed(3)
    drawn = [torch.randn(u) for _ in adapter.v]
    with torch.no_grad():
        for v, value in zip(adapter.v, drawn, strict=True):
            v.copy_(value)
    for name, ours in adapter.layers.items():
        layer = their_layers[name]
        assert torch.equal(layer.tinylora_P["default"], ours.P)
        key = layer._tinylora_v_key["default"]
        with torch.no_grad():
            layer.tinylora_v["default"][key].copy_(drawn[int(key)])
        assert ours.tinylora_v is adapter.v[int(key)]  # the groups are theirs
        # Signs are free in a singular value decomposition: ours are fixed, theirs are aligned here.
        sign = torch.sign((layer.tinylora_A["default"] * ours.A).sum(1))  # (r,)
        torch.testing.assert_close(sign[:, None] * layer.tinylora_A["default"], ours.A, rtol=0, atol=1e-6)
        layer.tinylora_A["default"] = ours.A.clone()
        layer.tinylora_B["default"] = ours.B.clone()
        assert torch.equal(layer.get_delta_weight("default"), adapter.delta_weight(name))
    torch.testing.assert_close(theirs(input_ids=IDS).logits, model(input_ids=IDS).logits, rtol=0, atol=1e-6)


def test_the_papers_form_maps_to_pefts_by_the_root_of_sigma() -> None:
    """P_i' = S^1/2 P_i S^-1/2 with half of the singular values on each side gives the same change."""
    model = mlp()
    paper = TinyLoRA(TinyLoRAConfig(r=3, u=4, sigma="left"))
    paper.wrap(model)
    set_random(paper)
    for layer in paper.layers.values():
        root = leading_directions(layer.weight, 3).s.sqrt()  # (r,)
        a, b = leading_directions(layer.weight, 3).frame("sqrt")
        mapped = root[:, None] * layer.P / root  # (u, r, r)
        theirs = b @ torch.einsum("u,ujk->jk", layer.tinylora_v, mapped) @ a
        torch.testing.assert_close(theirs, layer.delta_weight(), rtol=1e-5, atol=1e-6)


def test_r_squared_numbers_on_the_basis_are_lora_xs() -> None:
    tiny_model, xs_model = mlp(), mlp()
    tiny = TinyLoRA(TinyLoRAConfig(r=3, u=9, projection="basis", alpha=0.5))
    xs = LoRAXS(LoRAXSConfig(r=3, alpha=1.5))  # alpha / r = 0.5
    tiny.wrap(tiny_model)
    xs.wrap(xs_model)
    set_random(tiny, 5)
    with torch.no_grad():
        for name, layer in xs.layers.items():
            layer.lora_xs_r.copy_(tiny.layers[name].tinylora_v.view(3, 3))
    x = torch.randn(10, 6)
    for name in tiny.layers:
        assert torch.equal(tiny.delta_weight(name), xs.delta_weight(name))
    assert torch.equal(tiny_model(x), xs_model(x))
    for model in (tiny_model, xs_model):
        model(x).square().sum().backward()
    for name, layer in xs.layers.items():
        assert torch.equal(layer.lora_xs_r.grad.flatten(), tiny.layers[name].tinylora_v.grad)


def test_the_gradient_of_v_is_its_projections_product_with_the_gradient_of_the_weight() -> None:
    """dL/dv_i = sum over the layers of a group of alpha <P_i, B^T G A^T>, G the gradient of the weight's change."""
    model = mlp(dtype=torch.float64)
    adapter = TinyLoRA(TinyLoRAConfig(r=2, u=3, n_tie=2, alpha=0.7))
    adapter.wrap(model)
    for v in adapter.v:
        v.data = v.data.double()
    set_random(adapter)
    for layer in adapter.layers.values():
        layer.P = layer.P.double()
    x = torch.randn(8, 6, dtype=torch.float64)
    model(x).square().sum().backward()
    full = mlp(dtype=torch.float64)
    with torch.no_grad():
        for name, layer in adapter.layers.items():
            core = 0.7 * torch.einsum("u,ujk->jk", layer.tinylora_v, layer.P)
            full.get_submodule(name).weight += layer.B @ core @ layer.A
    full(x).square().sum().backward()
    expected: dict[int, Tensor] = {}
    for name, layer in adapter.layers.items():
        inner = layer.B.T @ full.get_submodule(name).weight.grad @ layer.A.T  # (r, r)
        product = 0.7 * torch.einsum("ujk,jk->u", layer.P, inner)
        expected[id(layer.tinylora_v)] = expected.get(id(layer.tinylora_v), 0) + product
    assert [len(v) for v in adapter.v] == [3, 3]  # three layers, tied by two
    for v in adapter.v:
        torch.testing.assert_close(v.grad, expected[id(v)], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cls", [TinyLoRA, LoRAXS])
def test_the_change_has_rank_r_at_most_and_lives_in_the_leading_directions(cls: Any) -> None:
    model = mlp()
    adapter = cls(TinyLoRAConfig(r=2, u=4) if cls is TinyLoRA else LoRAXSConfig(r=2))
    adapter.wrap(model)
    set_random(adapter)
    for name, layer in adapter.layers.items():
        values = torch.linalg.svdvals(adapter.delta_weight(name))
        assert values[1] > 1e-4
        assert float(values[2:].max()) < 1e-5
        u = torch.linalg.svd(layer.weight)[0]
        outside = u[:, 2:].T @ adapter.delta_weight(name)
        assert float(outside.abs().max()) < 1e-5


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 300),
    w=st.floats(0, 1),
    n_tie=st.integers(1, 400),
)
def test_groups_equal_pefts_formula_and_the_ceiling(n: int, w: float, n_tie: int) -> None:
    names = [f"blocks.{i // 3}.{'qkv'[i % 3]}" for i in range(n)]
    found = groups(names, tying="peft", n_tie=None, weight_tying=w)
    count = max(1, round(n * (1.0 - w)))
    assert found == [min(i // max(1, n // count), count - 1) for i in range(n)]
    tiled = groups(names, tying="tiled", n_tie=n_tie)
    assert max(tiled) + 1 == -(-n // n_tie)
    assert all(tiled.count(g) <= n_tie for g in range(max(tiled) + 1))
    structured = groups(names, tying="structured", n_tie=n_tie)
    for g in range(max(structured) + 1):
        members = [name for name, group in zip(names, structured, strict=True) if group == g]
        assert 1 <= len(members) <= n_tie
        assert len({name[-1] for name in members}) == 1


def test_published_group_sizes() -> None:
    names = [str(i) for i in range(196)]  # Qwen2.5-7B: 28 blocks of 7 layers
    sizes = {t: max(groups(names, tying="tiled", n_tie=t)) + 1 for t in (1, 4, 15, 16, 196)}
    assert sizes == {1: 196, 4: 49, 15: 14, 16: 13, 196: 1}
    assert max(groups([str(i) for i in range(252)], tying="tiled", n_tie=16)) + 1 == 16  # Qwen2.5-3B
    for w, sizes_of_groups in ((1 - 1 / 15, [15] * 12 + [16]), (1 - 1 / 16, [16] * 11 + [20])):
        found = groups(names, tying="peft", n_tie=None, weight_tying=w)
        assert [found.count(g) for g in range(max(found) + 1)] == sizes_of_groups


def test_projections_are_those_of_peft_and_of_their_seed() -> None:
    expected = torch.normal(0, 1 / 2**0.5, (3, 2, 2), generator=torch.Generator().manual_seed(42 + 5))
    torch.manual_seed(0)
    assert torch.equal(projections("normal", u=3, r=2, seed=42, layer=5), expected)
    unit = projections("unit", u=3, r=2, seed=42, layer=5)
    torch.testing.assert_close(unit.flatten(1).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(unit * expected.flatten(1).norm(dim=1)[:, None, None], expected)
    basis = projections("basis", u=4, r=2, seed=0, layer=0)
    assert torch.equal(basis.flatten(1), torch.eye(4))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(out=st.integers(1, 12), inner=st.integers(1, 12), r=st.integers(1, 14), seed=st.integers(0, 10**6))
def test_signs_are_fixed_and_a_flip_shows_in_the_fingerprint(out: int, inner: int, r: int, seed: int) -> None:
    weight = torch.randn(out, inner, generator=torch.Generator().manual_seed(seed))
    found = leading_directions(weight, r)
    assert found.r == min(r, out, inner)
    largest = found.u.abs().argmax(0)
    assert bool((found.u[largest, torch.arange(found.r)] > 0).all())
    if found.r == min(out, inner):
        torch.testing.assert_close((found.u * found.s) @ found.vh, weight, rtol=1e-4, atol=1e-5)
    for sigma in ("left", "sqrt"):
        a, b = found.frame(sigma)
        torch.testing.assert_close(b @ a, (found.u * found.s) @ found.vh, rtol=1e-4, atol=1e-5)
        assert has_fingerprint(a + 1e-6 * a, b, fingerprint(a, b))
        flipped_a, flipped_b = a.clone(), b.clone()
        flipped_a[0], flipped_b[:, 0] = -a[0], -b[:, 0]
        torch.testing.assert_close(flipped_b @ flipped_a, b @ a)  # a product cannot tell
        if max(abs(v) for i in (0, found.r) for v in [fingerprint(a, b)[i]]) > 0.05:
            assert not has_fingerprint(flipped_a, flipped_b, fingerprint(a, b))


@pytest.mark.parametrize("sigma", ["left", "sqrt"])
@pytest.mark.parametrize("strength", [1.0, 100.0, 5000.0])
def test_a_flip_of_a_weak_direction_shows_beside_a_strong_one(sigma: str, strength: float) -> None:
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(20, 2, generator=generator)).Q for _ in range(2))
    weight = (u * torch.tensor([strength, 0.5])) @ v.T
    a, b = leading_directions(weight, 2).frame(sigma)
    rounded = leading_directions(weight.double().float() * (1 + 1e-6), 2).frame(sigma)
    assert has_fingerprint(*rounded, fingerprint(a, b))
    a[1], b[:, 1] = -a[1], -b[:, 1]
    assert not has_fingerprint(a, b, fingerprint(*leading_directions(weight, 2).frame(sigma)))


@pytest.mark.parametrize(
    ("cls", "config"),
    [
        (TinyLoRA, TinyLoRAConfig(r=2, u=2, n_tie=2)),
        (TinyLoRA, TinyLoRAConfig(r=2, u=2, save_frames=True, projection="unit")),
        (LoRAXS, LoRAXSConfig(r=2, sigma="sqrt")),
        (LoRAXS, LoRAXSConfig(r=2, save_frames=True)),
    ],
)
def test_merging_is_exact_and_undone_to_the_bit(cls: Any, config: Any) -> None:
    model = mlp()
    before = {name: p.clone() for name, p in mlp().named_parameters()}
    adapter = cls(config)
    adapter.wrap(model)
    set_random(adapter)
    x = torch.randn(20, 6)
    expected = model(x).detach()
    adapter.merge()
    merged = model(x)
    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-5)
    adapter.merge()
    assert torch.equal(model(x), merged)
    with adapter.disabled():
        assert torch.equal(model(x), mlp()(x))
    assert torch.equal(model(x), merged)
    adapter.unmerge()
    assert torch.equal(model(x), expected)
    for name, layer in adapter.layers.items():
        assert torch.equal(layer.weight, before[f"{name}.weight"])


def test_only_v_is_trained_and_nothing_changes_at_first() -> None:
    model = llama()
    expected = model(input_ids=IDS).logits.detach()
    adapter = TinyLoRA(TinyLoRAConfig(r=2, u=1, n_tie=None))
    adapter.wrap(model)
    assert torch.equal(model(input_ids=IDS).logits, expected)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained.keys() == adapter.trainable_parameters().keys()
    assert sum(p.numel() for p in trained.values()) == 1  # 14 layers, all tied
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(bool((p.grad != 0).all()) for p in trained.values())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert not any(isinstance(module, FrameLinear) for name, module in model.named_modules() if name == "lm_head")


def test_the_moving_average_of_v_is_that_of_the_change() -> None:
    """What makes a self-distillation teacher cost u numbers a group: the change is linear in v."""
    model = mlp()
    adapter = TinyLoRA(TinyLoRAConfig(r=2, u=3, n_tie=2))
    adapter.wrap(model)
    tau, mean_v, mean_delta = 0.3, [torch.zeros(3) for _ in adapter.v], dict.fromkeys(adapter.layers, torch.zeros(()))
    for step in range(5):
        set_random(adapter, step)
        mean_v = [(1 - tau) * m + tau * v.detach() for m, v in zip(mean_v, adapter.v, strict=True)]
        mean_delta = {n: (1 - tau) * m + tau * adapter.delta_weight(n) for n, m in mean_delta.items()}
    with torch.no_grad():
        for v, m in zip(adapter.v, mean_v, strict=True):
            v.copy_(m)
    for name in adapter.layers:
        torch.testing.assert_close(adapter.delta_weight(name), mean_delta[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cls", "config"),
    [
        (TinyLoRA, TinyLoRAConfig(u=2)),
        (LoRAXS, LoRAXSConfig()),
        (LoRA, LoRAConfig(r=2)),
        (PeftTinyLoRA, PeftTinyLoRAConfig(r=2, u=2)),
    ],
)
def test_a_layer_that_stands_in_two_places_is_adapted_in_both(cls: Any, config: Any) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.between = nn.Linear(8, 8), nn.Linear(8, 8)
            self.again = self.first

        def forward(self, x: Tensor) -> Tensor:
            x = self.between(self.first(x))
            return self.again(x)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model, x = Twice(), torch.randn(5, 8)
    adapter = cls(config)
    adapter.wrap(model)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.normal_()
    assert list(adapter.layers) == ["first", "between"]
    assert model.again is model.first
    expected = model(x)
    adapter.merge()
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_gpt2_layers_that_store_their_weight_the_other_way_round() -> None:
    transformers = pytest.importorskip("transformers", reason="Conv1D is a layer of transformers")
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32)
    ).eval()
    expected = model(input_ids=IDS).logits.detach()
    adapter = LoRAXS(LoRAXSConfig(r=2, alpha=2.0))
    adapter.wrap(model)
    assert [name.rpartition(".")[2] for name in adapter.layers] == ["c_attn", "c_proj", "c_fc", "c_proj"] * 2
    assert torch.equal(model(input_ids=IDS).logits, expected)
    set_random(adapter)
    changed = model(input_ids=IDS).logits.detach()
    assert float((changed - expected).abs().max()) > 0.01
    adapter.merge()
    torch.testing.assert_close(model(input_ids=IDS).logits, changed, rtol=1e-4, atol=1e-4)
    adapter.unmerge()
    assert torch.equal(model(input_ids=IDS).logits, changed)


def test_notices_of_what_cannot_act() -> None:
    model = mlp()
    with torch.no_grad():
        model[2].weight.zero_()
    with pytest.warns(AdapterNotice) as notices:
        TinyLoRA(TinyLoRAConfig(r=6, u=100, n_tie=20)).wrap(copy.deepcopy(model))
    said = " | ".join(str(notice.message) for notice in notices)
    for part in ("n_tie: 20 is more than the 3 layers", "4: has 5 singular directions", "2: its weight is all zero"):
        assert part in said
    with pytest.warns(AdapterNotice, match="u: 5 numbers a group, but r 2 can express 4"):
        TinyLoRA(TinyLoRAConfig(r=2, u=5)).wrap(mlp())
