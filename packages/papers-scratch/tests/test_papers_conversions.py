"""Adapters as other adapters, in memory and through PEFT's files, against PEFT itself."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from papers_scratch.config.frames import LoRAXSConfig, TinyLoRAConfig
from papers_scratch.config.lora import LoRAConfig
from papers_scratch.config.peft_tinylora import PeftTinyLoRAConfig
from papers_scratch.config.transformers_model import TransformersConfig
from papers_scratch.conversions import lora_xs_to_tinylora, project_lora, tinylora_to_lora_xs
from papers_scratch.errors import AdapterFileError, AdapterNotice
from papers_scratch.lora import LoRA
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.peft_conversions import from_peft, to_peft_lora, to_peft_tinylora
from papers_scratch.peft_tinylora import PeftTinyLoRA
from papers_scratch.tinylora import TinyLoRA
from papers_scratch.transformers_model import TransformersLM

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:u. .* numbers a group:papers_scratch.errors.AdapterNotice"),
]
IDS = torch.arange(24).view(2, 12)


def ours(architecture: str = "qwen2") -> TransformersLM:
    """A transformers model behind our contract: the bare model is `model.model`."""
    torch.manual_seed(0)
    config = TransformersConfig(architecture=architecture, n_layer=2, n_head=4, n_embd=32, max_length=32)
    return TransformersLM(config, vocab_size=64).eval()


def bare(architecture: str = "qwen2") -> Any:
    return ours(architecture).model


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(IDS) if isinstance(model, TransformersLM) else model(input_ids=IDS).logits
    return out


def set_random(adapter: Any, size: float = 0.3) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))


def wrapped(cls: Any, config: Any, model: nn.Module) -> Any:
    adapter = cls(config)
    adapter.wrap(model)
    set_random(adapter)
    return adapter


FORMS = [
    (TinyLoRA, TinyLoRAConfig(r=2, u=3)),
    (TinyLoRA, TinyLoRAConfig(r=3, u=4, projection="unit", alpha=0.7, n_tie=None)),
    (TinyLoRA, TinyLoRAConfig(r=2, u=2, sigma="sqrt", projection="basis", n_tie=2)),
    (TinyLoRA, TinyLoRAConfig(r=2, u=2, tying="peft", weight_tying=0.4)),
    (LoRAXS, LoRAXSConfig(r=2)),
    (LoRAXS, LoRAXSConfig(r=3, alpha=2.0, sigma="sqrt")),
]


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
@pytest.mark.parametrize(("cls", "config"), FORMS)
@pytest.mark.parametrize("write", [to_peft_tinylora, to_peft_lora])
def test_peft_reads_it_and_gives_the_same_logits(
    tmp_path: Path, cls: Any, config: Any, write: Callable[..., None], architecture: str
) -> None:
    model = ours(architecture)
    base = logits(model)
    adapter = wrapped(cls, config, model)
    write(adapter, model, tmp_path, base_model="somewhere/base")
    expected = logits(model)
    assert float((expected - base).abs().max()) > 1e-3
    theirs = peft.PeftModel.from_pretrained(bare(architecture), str(tmp_path)).eval()
    torch.testing.assert_close(logits(theirs), expected, rtol=0, atol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "somewhere/base"
    back = ours(architecture)  # and ours reads it back
    found = from_peft(tmp_path, back)
    torch.testing.assert_close(logits(back), expected, rtol=0, atol=1e-6)
    assert isinstance(found, TinyLoRA if write is to_peft_tinylora else LoRA)


def test_the_file_has_pefts_keys_roots_of_sigma_and_groups(tmp_path: Path) -> None:
    model = ours()
    adapter = wrapped(TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=7), model)
    to_peft_tinylora(adapter, model, tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    names = [name.removeprefix("model.") for name in adapter.layers]
    parts = {f"base_model.model.{name}.tinylora_{part}" for name in names for part in "ABP"}
    assert set(tensors) == parts | {"base_model.tinylora_v.0", "base_model.tinylora_v.1"}
    options = json.loads((tmp_path / "adapter_config.json").read_text())
    assert options["weight_tying"] == 1 - 2 / 14
    assert options["save_projection"] is True
    theirs = peft.get_peft_model(bare(), peft.TinyLoraConfig(r=2, u=3, target_modules=names))
    for name in names:
        layer = theirs.base_model.model.get_submodule(name)
        sign = torch.sign((layer.tinylora_A["default"] * tensors[f"base_model.model.{name}.tinylora_A"]).sum(1))
        for part, there in (
            ("A", sign[:, None] * layer.tinylora_A["default"]),
            ("B", layer.tinylora_B["default"] * sign),
        ):
            torch.testing.assert_close(tensors[f"base_model.model.{name}.tinylora_{part}"], there, rtol=0, atol=1e-6)


def test_groups_that_peft_cannot_say_are_untied_or_refused(tmp_path: Path) -> None:
    model = ours()
    adapter = wrapped(TinyLoRA, TinyLoRAConfig(r=2, u=2, tying="structured", n_tie=2), model)
    with pytest.raises(ValueError, match="7 groups of 14 layers"):
        to_peft_tinylora(adapter, model, tmp_path, untie=False)
    assert not list(tmp_path.iterdir())
    with pytest.warns(AdapterNotice, match="untied, as 28 numbers instead of 14"):
        to_peft_tinylora(adapter, model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(bare(), str(tmp_path)).eval()
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"u": 3}, {"u": 2, "weight_tying": 0.4}, {"u": 5, "save_projection": False}])
@pytest.mark.parametrize("own", [True, False])
def test_a_folder_that_peft_wrote(tmp_path: Path, options: dict[str, Any], own: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of projections that it does not save
        config = peft.TinyLoraConfig(r=2, target_modules="all-linear", **options)
        theirs = peft.get_peft_model(bare(), config).eval()
        with torch.no_grad():
            for v in theirs.base_model.tinylora_v["default"].values():
                v.normal_(generator=torch.Generator().manual_seed(len(v)))
        theirs.save_pretrained(str(tmp_path))
    model = ours()
    adapter = from_peft(tmp_path, model, own_tinylora=own)
    assert isinstance(adapter, TinyLoRA if own else PeftTinyLoRA)
    torch.testing.assert_close(logits(model), logits(theirs), rtol=0, atol=1e-6)
    adapter.save(tmp_path / "ours")  # from now on with fingerprints of its base model
    again = ours()
    type(adapter).load(tmp_path / "ours").wrap(again)
    assert torch.equal(logits(again), logits(model))


def test_there_and_back_is_the_same_to_the_bit(tmp_path: Path) -> None:
    model = ours()
    adapter = wrapped(PeftTinyLoRA, PeftTinyLoRAConfig(r=2, u=3, weight_tying=0.4), model)
    adapter.save(tmp_path / "theirs")
    back = ours()
    to_peft_tinylora(from_peft(tmp_path / "theirs", back), back, tmp_path / "again")
    first, second = (
        safetensors.torch.load_file(tmp_path / d / "adapter_model.safetensors") for d in ("theirs", "again")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("cls", [LoRA, PeftTinyLoRA])
def test_saved_adapters_of_peft_have_the_names_of_the_bare_model(tmp_path: Path, cls: Any) -> None:
    model = ours()
    adapter = wrapped(cls, LoRAConfig(r=2) if cls is LoRA else PeftTinyLoRAConfig(r=2, u=2), model)
    adapter.save(tmp_path)
    theirs = peft.PeftModel.from_pretrained(bare(), str(tmp_path)).eval()
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=1e-6)
    again = ours()
    cls.load(tmp_path).wrap(again)
    assert torch.equal(logits(again), logits(model))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 2), nn.Tanh(), nn.Linear(2, 5))


X = torch.linspace(-1, 1, 60).view(10, 6)


@pytest.mark.filterwarnings("ignore:.* singular directions, so r is:papers_scratch.errors.AdapterNotice")
@pytest.mark.parametrize("sigma", ["left", "sqrt"])
def test_lora_xs_is_tinylora_and_back(tmp_path: Path, sigma: Any) -> None:
    """Also where layers have fewer directions than r."""
    model = mlp()
    xs = wrapped(LoRAXS, LoRAXSConfig(r=3, alpha=1.3, sigma=sigma), model)
    tiny_model, back_model = mlp(), mlp()
    tiny = lora_xs_to_tinylora(xs)
    tiny.wrap(tiny_model)
    assert torch.equal(tiny_model(X), model(X))
    assert [len(v) for v in tiny.v] == [9, 9, 9]
    back = tinylora_to_lora_xs(tiny)
    back.wrap(back_model)
    torch.testing.assert_close(back_model(X), model(X), rtol=0, atol=1e-6)
    for name, layer in xs.layers.items():
        assert torch.equal(back.layers[name].lora_xs_r, layer.lora_xs_r)  # type: ignore[arg-type]
    tiny.save(tmp_path / "saved")
    loaded = mlp()
    TinyLoRA.load(tmp_path / "saved").wrap(loaded)
    torch.testing.assert_close(loaded(X), model(X), rtol=0, atol=1e-6)
    to_peft_tinylora(xs, model, tmp_path / "peft")
    theirs = peft.PeftModel.from_pretrained(mlp(), str(tmp_path / "peft"))
    torch.testing.assert_close(theirs(X), model(X), rtol=0, atol=1e-6)
    to_peft_lora(xs, model, tmp_path / "lora")
    theirs = peft.PeftModel.from_pretrained(mlp(), str(tmp_path / "lora"))
    torch.testing.assert_close(theirs(X), model(X), rtol=0, atol=1e-6)


def test_tied_tinylora_as_lora_xs_and_never_on_another_base() -> None:
    model, other = mlp(), mlp()
    xs = tinylora_to_lora_xs(wrapped(TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=2, alpha=0.6), model))
    with torch.no_grad():
        other[2].weight[0, 0] += 1e-6
    with pytest.raises(AdapterFileError, match="the converted adapter: 2: trained on a weight"):
        xs.wrap(other)
    same = mlp()
    xs.wrap(same)
    torch.testing.assert_close(same(X), model(X), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.* singular directions, so r is:papers_scratch.errors.AdapterNotice")
def test_a_lora_is_projected_on_the_frame() -> None:
    model = mlp()
    lora = wrapped(LoRA, LoRAConfig(r=2), model)
    loss: dict[int, float] = {}
    for r in (1, 2, 9):
        projected = project_lora(lora, LoRAXSConfig(r=r, sigma="sqrt" if r == 2 else "left"))
        loss[r] = projected.residual
        copy = mlp()
        projected.adapter.wrap(copy)
        total = 0.0
        for name in lora.layers:
            u, _, vh = torch.linalg.svd(copy.get_submodule(name).weight.double(), full_matrices=False)
            u, vh, delta = u[:, :r], vh[:r], lora.delta_weight(name).double()
            best = u @ (u.T @ delta @ vh.T) @ vh
            torch.testing.assert_close(projected.adapter.delta_weight(name).double(), best, rtol=0, atol=1e-5)
            own = float((delta - best).norm() / delta.norm())
            assert math.isclose(projected.residuals[name], own, abs_tol=1e-5)
            total += float((delta - best).square().sum())
        size = sum(float(lora.delta_weight(name).double().square().sum()) for name in lora.layers)
        assert math.isclose(projected.residual, math.sqrt(total / size), abs_tol=1e-5)
    assert 1 > loss[1] > loss[2] > loss[9] > 0


def test_what_tinylora_can_say_is_found_again() -> None:
    """The change of a TinyLoRA, as a LoRA of the same rank, projected on its own form: the same v, nothing lost."""
    config = TinyLoRAConfig(r=2, u=3, n_tie=2, alpha=0.8)
    tiny = wrapped(TinyLoRA, config, mlp())
    lora = wrapped(LoRA, LoRAConfig(r=2, alpha=2.0), mlp())
    with torch.no_grad():
        for name, layer in lora.layers.items():
            source = tiny.layers[name]
            layer.lora_A["default"].weight.copy_(source.A)
            layer.lora_B["default"].weight.copy_(source.B @ (source.scale * source.core()))
    projected = project_lora(lora, config)
    assert projected.residual < 1e-5
    projected.adapter.wrap(mlp())
    for found, v in zip(projected.adapter.v, tiny.v, strict=True):  # type: ignore[union-attr]
        torch.testing.assert_close(found, v, rtol=1e-4, atol=1e-5)
    fewer = project_lora(lora, TinyLoRAConfig(r=2, u=1, n_tie=None))
    assert 0 < fewer.residual <= 1
    lora.merge()
    with pytest.raises(ValueError, match="unmerge it"):
        project_lora(lora, config)


def test_a_lora_that_changes_nothing_loses_nothing() -> None:
    lora = LoRA(LoRAConfig(r=2))
    lora.wrap(mlp())
    projected = project_lora(lora, LoRAXSConfig(r=1))
    assert projected.residual == 0
    assert set(projected.residuals.values()) == {0.0}


# --- bad files


@pytest.fixture(params=["tinylora", "lora"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    model = mlp()
    write = to_peft_tinylora if request.param == "tinylora" else to_peft_lora
    write(wrapped(TinyLoRA, TinyLoRAConfig(r=2, u=2), model), model, tmp_path)
    return tmp_path


def edit_tensors(directory: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    path = directory / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path)


def edit_options(directory: Path, **options: Any) -> None:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))


def refused(directory: Path, model: nn.Module | None = None) -> str:
    model = mlp() if model is None else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(AdapterFileError) as error:
        from_peft(directory, model)
    assert model.state_dict().keys() == before.keys()
    assert all(p.requires_grad for p in model.parameters())
    assert error.value.exit_code == 5
    return str(error.value)


def test_folders_that_do_not_fit_are_refused_and_nothing_is_changed(folder: Path) -> None:
    keep = folder.parent / f"{folder.name}-copy"
    shutil.copytree(folder, keep)

    def again() -> None:
        shutil.copytree(keep, folder, dirs_exist_ok=True)

    some = sorted(safetensors.torch.load_file(folder / "adapter_model.safetensors"))
    for key in (some[0], some[-1]):
        for change, said in (
            (lambda t, key=key: t.pop(key), "missing"),
            (lambda t, key=key: t.update({key: torch.full_like(t[key], math.nan)}), "infinite or NaN"),
            (lambda t, key=key: t.update({key: t[key].int()}), "torch.int32"),
            (lambda t, key=key: t.update({key: t[key].repeat(*[2] * t[key].dim())}), "expected"),
            (lambda t, key=key: t.update({f"{key}.more": t[key].clone()}), "expected none"),
        ):
            edit_tensors(folder, change)
            message = refused(folder)
            assert said in message or "no linear layer" in message
            again()
    for options, said in (
        ({"peft_type": "VERA"}, "'VERA'"),
        ({"r": "many"}, "damaged"),
        ({"r": 3}, "expected"),
        ({"modules_to_save": ["4"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
    ):
        edit_options(folder, **options)
        assert said in refused(folder)
        again()
    torch.manual_seed(0)
    assert "no linear layer" in refused(folder, nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 2)))
    assert "expected" in refused(
        folder, nn.Sequential(*[nn.Linear(6, 6) if i % 2 == 0 else nn.Tanh() for i in range(5)])
    )
    torch.save({"a": torch.zeros(1)}, folder / "adapter_model.safetensors")
    assert "not a safetensors file" in refused(folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "not found" in refused(folder)
    (folder / "adapter_config.json").write_text("[" * 100_000)
    assert "damaged" in refused(folder)


@pytest.mark.parametrize(
    "options",
    [{"use_dora": True}, {"rank_pattern": {"0": 3}}, {"alpha_pattern": {"0": 3}}, {"init_lora_weights": "pissa"}],
)
def test_variants_of_lora_without_a_counterpart_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    model = mlp()
    to_peft_lora(wrapped(TinyLoRA, TinyLoRAConfig(r=2), model), model, tmp_path)
    edit_options(tmp_path, **options)
    assert next(iter(options)) in refused(tmp_path)


def test_a_lora_that_peft_wrote_with_rslora(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "down_proj"])
    theirs = peft.get_peft_model(bare(), config).eval()
    for module in theirs.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            nn.init.normal_(module.lora_B["default"].weight)
    theirs.save_pretrained(str(tmp_path))
    model = ours()
    adapter = from_peft(tmp_path, model)
    assert isinstance(adapter, LoRA)
    assert adapter.config.scale == 4.0
    torch.testing.assert_close(logits(model), logits(theirs), rtol=0, atol=1e-6)
