"""The LoRA adapter on a small module of its own: what it computes, merging, switching off, dropout, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable

import peft
import pytest
import torch
from torch import Tensor, nn

from papers_scratch.config.lora import LoRAConfig
from papers_scratch.counting import count_trainable_params
from papers_scratch.errors import AdapterTargetError
from papers_scratch.lora import LoRA


class TinyModel(nn.Module):
    """Has the methods that a model part has, with an untied head whose name says nothing."""

    def __init__(self, *, vocab_size: int = 11, width: int = 6, n_layer: int = 2, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.vocab_size = vocab_size
        self.embed = nn.Embedding(vocab_size, width, dtype=dtype)
        self.blocks = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(width, 8, dtype=dtype)}) for _ in range(n_layer))
        for block in self.blocks:
            block["down"] = nn.Linear(8, width, bias=False, dtype=dtype)
        self.to_ids = nn.Linear(width, vocab_size, bias=False, dtype=dtype)

    def features(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)  # (B, T, D)
        for block in self.blocks:
            x = x + block["down"](torch.tanh(block["up"](x)))
        return x

    def head(self, features: Tensor) -> Tensor:
        return self.to_ids(features)  # (..., V)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.features(ids))


TARGETS = ["blocks.0.up", "blocks.0.down", "blocks.1.up", "blocks.1.down"]
IDS = torch.arange(10).view(2, 5)


def wrapped(dtype: torch.dtype = torch.float32, **options: object) -> tuple[TinyModel, LoRA]:
    torch.manual_seed(0)
    model = TinyModel(dtype=dtype)
    adapter = LoRA(LoRAConfig(**{"r": 3, **options}))
    adapter.wrap(model)
    return model, adapter


def shake(adapter: LoRA, seed: int = 1) -> None:
    """Give A and B values as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def weight_bytes(model: nn.Module) -> dict[str, bytes]:
    return {
        name: p.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, p in model.named_parameters()
        if "lora_" not in name
    }


def test_has_no_effect_at_the_start_and_keeps_the_model_what_it_was():
    torch.manual_seed(0)
    model = TinyModel()
    before = model(IDS)
    features = model.features(IDS)
    LoRA(LoRAConfig(r=3)).wrap(model)
    assert type(model) is TinyModel
    assert torch.equal(model(IDS), before)
    assert torch.equal(model.features(IDS), features)
    assert torch.equal(model.head(model.features(IDS)), before)


def test_wrapping_changes_no_base_weight_and_freezes_all_of_them():
    torch.manual_seed(0)
    before = {name.replace(".base_layer", ""): raw for name, raw in weight_bytes(TinyModel()).items()}
    model, adapter = wrapped()
    assert {name.replace(".base_layer", ""): raw for name, raw in weight_bytes(model).items()} == before
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == set(adapter.trainable_parameters())
    assert all(model.get_parameter(name) is p for name, p in adapter.trainable_parameters().items())
    assert len(trained) == 2 * len(TARGETS)


def test_change_is_scale_times_b_times_a():
    model, adapter = wrapped(alpha=7.0)
    shake(adapter)
    for name in TARGETS:
        layer = model.get_submodule(name)
        a = adapter.trainable_parameters()[f"{name}.lora_A.default.weight"]
        b = adapter.trainable_parameters()[f"{name}.lora_B.default.weight"]
        assert torch.equal(adapter.delta_weight(name), b @ a * (7.0 / 3))
        x = torch.randn(4, layer.in_features)
        want = nn.functional.linear(x, layer.base_layer.weight + b @ a * (7.0 / 3), layer.base_layer.bias)
        torch.testing.assert_close(layer(x), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 2.0), (True, 4.0)])
def test_scale_is_alpha_over_r_or_over_its_root(rslora: bool, scale: float):
    config = LoRAConfig(r=4, alpha=8.0, rslora=rslora)
    assert config.scale == scale
    model = TinyModel()
    LoRA(config).wrap(model)
    assert model.blocks[0]["up"].scaling["default"] == scale


def test_gradients_are_those_of_the_weight_change():
    """With G the gradient of W, those of A and B are scale * B^T G and scale * G A^T."""
    model, adapter = wrapped(dtype=torch.float64, alpha=6.0)
    shake(adapter)
    model(IDS).square().sum().backward()
    plain = TinyModel(dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            layer, _, kind = name.rpartition(".")
            wrapped_layer = model.get_submodule(layer)
            source = wrapped_layer.get_base_layer() if layer in TARGETS else wrapped_layer
            parameter.copy_(getattr(source, kind))
            if layer in TARGETS and kind == "weight":
                parameter += adapter.delta_weight(layer)
    plain(IDS).square().sum().backward()
    for name in TARGETS:
        grad = plain.get_parameter(f"{name}.weight").grad
        a, b = (adapter.trainable_parameters()[f"{name}.lora_{k}.default.weight"] for k in "AB")
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad.double(), 2.0 * b.double().T @ grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(b.grad.double(), 2.0 * grad @ a.double().T, rtol=1e-5, atol=1e-6)


def test_same_as_get_peft_model():
    """The same random draws and the same training steps as PEFT's usual way, on the same layers."""

    def train(model: nn.Module, parameters: list[nn.Parameter]) -> Tensor:
        optimizer = torch.optim.AdamW(parameters, lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(IDS).flatten(0, 1), IDS.roll(1, 1).flatten()).backward()
            optimizer.step()
        return model(IDS).detach()

    torch.manual_seed(0)
    base = TinyModel()
    theirs = peft.get_peft_model(base, peft.LoraConfig(r=3, lora_alpha=16, target_modules=["up", "down"]))
    expected = train(theirs, [p for p in theirs.parameters() if p.requires_grad])
    model, adapter = wrapped()
    assert torch.equal(train(model, list(adapter.trainable_parameters().values())), expected)


# --- which layers --------------------------------------------------------------------------------------------------


def adapted(model: nn.Module, *targets: str) -> list[str]:
    adapter = LoRA(LoRAConfig(r=2, target_modules=targets))
    adapter.wrap(model)
    names = [name.split(".lora_A")[0] for name in adapter.trainable_parameters() if "lora_A" in name]
    assert names == [n for n, m in model.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    return names


def test_default_leaves_the_head_out_whatever_its_name():
    assert adapted(TinyModel()) == TARGETS


def test_asking_for_the_head_leaves_no_trace():
    model = TinyModel()
    model.blocks[0].eval()
    modes = [m.training for m in model.modules()]
    torch.manual_seed(5)
    expected = torch.randn(1)
    torch.manual_seed(5)
    from papers_scratch.targets import head_layers

    assert head_layers(model) == {"to_ids"}
    assert torch.equal(torch.randn(1), expected)
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_default_leaves_a_head_module_out():
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
            self.head = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2))

    assert adapted(Classifier()) == ["body.0", "body.1"]


def test_default_leaves_tied_weights_out():
    class Tied(TinyModel):
        head = None  # type: ignore[assignment]  # does not tell what its head is

        def __init__(self) -> None:
            super().__init__()
            self.to_ids.weight = self.embed.weight

    assert adapted(Tied()) == TARGETS


def test_default_leaves_layers_out_that_attention_reads_past_their_forward():
    model = nn.Sequential(nn.MultiheadAttention(4, 1), nn.Linear(4, 4))
    assert adapted(model) == ["1"]


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (("up",), ["blocks.0.up", "blocks.1.up"]),
        (("0.up",), ["blocks.0.up"]),
        (("blocks.1.down", "to_ids"), ["blocks.1.down", "to_ids"]),
    ],
)
def test_targets_are_names_or_last_parts_of_names(targets: tuple[str, ...], names: list[str]):
    assert adapted(TinyModel(), *targets) == names


def test_a_name_that_ends_another_name_adapts_only_itself():
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.head = nn.ModuleDict({"fc": nn.Linear(4, 2)})

    assert adapted(Nested()) == ["fc"]


def test_target_that_matches_nothing_lists_what_there_is():
    with pytest.raises(
        AdapterTargetError, match=r"'q_proj' names no.*TinyModel; it has blocks\.\*\.up \(x2\), .*to_ids"
    ):
        adapted(TinyModel(), "up", "q_proj")
    assert AdapterTargetError.exit_code == 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Sequential(nn.Embedding(3, 2)), "no nn.Linear"),
        (lambda: TinyModel(n_layer=0), "besides its output head.*to_ids"),
        (lambda: TinyModel().to("meta"), "meta device"),
        (lambda: _with_nan(TinyModel()), r"blocks\.1\.up.*NaN"),
    ],
)
def test_models_that_cannot_be_adapted_are_refused_untouched(build: Callable[[], nn.Module], message: str):
    model = build()
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises((AdapterTargetError, NotImplementedError), match=message):
        LoRA(LoRAConfig()).wrap(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert all(p.requires_grad for p in model.parameters())


def _with_nan(model: TinyModel) -> TinyModel:
    with torch.no_grad():
        model.blocks[1]["up"].weight[0, 0] = math.nan
    return model


def test_one_adapter_wraps_one_model_once():
    model, adapter = wrapped()
    with pytest.raises(RuntimeError, match="wraps a model already"):
        adapter.wrap(TinyModel())
    with pytest.raises(AdapterTargetError, match="has an adapter already"):
        LoRA(LoRAConfig()).wrap(model)


def test_nothing_works_before_wrap(tmp_path):
    adapter = LoRA(LoRAConfig())
    for call in (adapter.trainable_parameters, adapter.merge, adapter.unmerge, lambda: adapter.save(tmp_path)):
        with pytest.raises(RuntimeError, match="wrap"):
            call()
    with pytest.raises(RuntimeError, match="wrap"), adapter.disabled():
        pass


# --- merging -------------------------------------------------------------------------------------------------------


def test_merged_equals_unmerged_and_twice_is_once():
    model, adapter = wrapped()
    shake(adapter)
    expected = model(IDS)
    adapter.merge()
    assert adapter.merged
    once = model(IDS)
    torch.testing.assert_close(once, expected, rtol=0, atol=1e-5)
    adapter.merge()
    assert torch.equal(model(IDS), once)
    adapter.unmerge()
    assert not adapter.merged
    assert torch.equal(model(IDS), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unmerge_gives_the_base_weights_back_bit_for_bit(dtype: torch.dtype):
    model, adapter = wrapped(dtype)
    shake(adapter)
    weights = weight_bytes(model)
    expected = model(IDS)
    for _ in range(3):
        adapter.merge()
        assert weight_bytes(model) != weights
        adapter.unmerge()
        assert weight_bytes(model) == weights
        assert torch.equal(model(IDS), expected)
    adapter.unmerge()  # nothing to do, and no complaint
    assert weight_bytes(model) == weights


def test_adapter_weights_are_float32_on_a_bfloat16_model():
    _, adapter = wrapped(torch.bfloat16)
    assert {p.dtype for p in adapter.trainable_parameters().values()} == {torch.float32}


def test_merge_follows_the_training_since_the_last_one():
    model, adapter = wrapped()
    shake(adapter, seed=1)
    adapter.merge()
    adapter.unmerge()
    shake(adapter, seed=2)
    expected = model(IDS)
    adapter.merge()
    torch.testing.assert_close(model(IDS), expected, rtol=0, atol=1e-5)


def test_merge_of_a_broken_adapter_is_refused_with_nothing_merged():
    model, adapter = wrapped()
    shake(adapter)
    weights = weight_bytes(model)
    with torch.no_grad():
        adapter.trainable_parameters()["blocks.1.up.lora_B.default.weight"][0, 0] = math.inf
    with pytest.raises(ValueError, match=r"blocks\.1\.up.*not finite"):
        adapter.merge()
    assert not adapter.merged
    assert weight_bytes(model) == weights
    assert not any(layer.merged for layer in model.modules() if isinstance(layer, peft.tuners.lora.LoraLayer))


def test_a_tied_head_that_the_user_names_is_untied_while_merged():
    torch.manual_seed(0)
    model = TinyModel()
    model.to_ids.weight = model.embed.weight
    adapter = LoRA(LoRAConfig(r=2, target_modules=("to_ids",)))
    adapter.wrap(model)
    shake(adapter)
    expected, weights = model(IDS), weight_bytes(model)
    adapter.merge()
    torch.testing.assert_close(model(IDS), expected, rtol=0, atol=1e-5)
    adapter.unmerge()
    assert model.to_ids.base_layer.weight is model.embed.weight
    assert weight_bytes(model) == weights


# --- switching off -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merged", [False, True])
def test_disabled_is_the_base_model_to_the_bit(merged: bool):
    model, adapter = wrapped()
    base = model(IDS)
    shake(adapter)
    if merged:
        adapter.merge()
    weights, changed = weight_bytes(model), model(IDS)
    assert not torch.equal(changed, base)
    with adapter.disabled():
        assert torch.equal(model(IDS), base)
        with adapter.disabled():
            assert torch.equal(model(IDS), base)
        assert torch.equal(model(IDS), base)
        with pytest.raises(RuntimeError, match="leave the block"):
            adapter.merge()
    assert adapter.merged == merged
    assert torch.equal(model(IDS), changed)
    assert weight_bytes(model) == weights


def test_disabled_ends_when_the_block_raises():
    model, adapter = wrapped()
    shake(adapter)
    changed = model(IDS)
    with pytest.raises(KeyError), adapter.disabled():
        raise KeyError
    assert torch.equal(model(IDS), changed)


def test_disabled_between_forward_and_backward_changes_no_gradient_and_no_flag():
    def gradients(reference: bool) -> dict[str, Tensor | None]:
        model, adapter = wrapped()
        shake(adapter)
        parameters = adapter.trainable_parameters()
        parameters["blocks.0.up.lora_A.default.weight"].requires_grad_(False)
        loss = model(IDS).square().sum()
        if reference:
            with adapter.disabled(), torch.no_grad():
                model(IDS)
        assert not parameters["blocks.0.up.lora_A.default.weight"].requires_grad
        loss.backward()
        return {name: p.grad for name, p in parameters.items()}

    plain, with_reference = gradients(False), gradients(True)
    for name, grad in plain.items():
        other = with_reference[name]
        assert (grad is None and other is None) or torch.equal(grad, other)


# --- dropout, numbers ----------------------------------------------------------------------------------------------


def test_dropout_acts_in_training_mode_only():
    model, adapter = wrapped(dropout=0.5)
    shake(adapter)
    assert not torch.equal(model(IDS), model(IDS))
    model.eval()
    assert torch.equal(model(IDS), model(IDS))


def test_dropout_does_not_act_in_a_model_that_was_in_evaluation_mode():
    model = TinyModel().eval()
    adapter = LoRA(LoRAConfig(r=3, dropout=0.5))
    adapter.wrap(model)
    shake(adapter)
    assert not any(m.training for m in model.modules())
    assert torch.equal(model(IDS), model(IDS))


def test_counts_what_is_trained():
    model = TinyModel()
    total = sum(p.numel() for p in model.parameters())
    count = count_trainable_params(model)
    assert (count.trainable, count.frozen) == (total, 0)
    LoRA(LoRAConfig(r=3)).wrap(model)
    count = count_trainable_params(model)
    assert count.trainable == 4 * 3 * (6 + 8)  # four layers, r (in + out) each
    assert count.frozen == total
    assert count.total == total + count.trainable
    assert count.bytes_fp32 == 4 * count.trainable
    assert count.bytes_bf16 == 2 * count.trainable
    assert (
        str(count)
        == f"168 of {total + 168:,} numbers trained ({168 / (total + 168):.2%}): 672 bytes in fp32, 336 in bf16"
    )
    assert count_trainable_params(nn.Identity()).fraction == 0.0


def test_counts_a_tied_weight_once():
    model = TinyModel()
    model.to_ids.weight = model.embed.weight
    assert count_trainable_params(model).total == sum(p.numel() for p in TinyModel().parameters()) - 11 * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "r: got 0, must be"),
        ({"alpha": 0.0}, "alpha: got 0.0, must be"),
        ({"alpha": math.nan}, "alpha: got nan, must be"),
        ({"dropout": 1.0}, "dropout: got 1.0, must be"),
        ({"dropout": -0.1}, "dropout: got -0.1, must be"),
        ({"target_modules": "up"}, "target_modules: got 'up', must be"),
        ({"target_modules": ("up", "")}, "target_modules: got .*, must be"),
    ],
)
def test_config_refuses_what_makes_no_sense(options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        LoRAConfig(**options)
