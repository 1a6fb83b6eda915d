"""Saved adapters: equal after loading, readable by PEFT, and refused when damaged or on another base model."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import peft
import pytest
import safetensors.torch
import torch
from torch import nn

from papers_scratch.config.lora import LoRAConfig
from papers_scratch.errors import AdapterFileError
from papers_scratch.fingerprint import weights_fingerprint
from papers_scratch.lora import LoRA

X = torch.linspace(-1, 1, 15).view(3, 5)


def base_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 5), nn.LayerNorm(5))


def saved(directory: Path, **options: object) -> tuple[nn.Module, LoRA]:
    model = base_model()
    adapter = LoRA(LoRAConfig(**{"r": 2, "alpha": 5.0, **options}))
    adapter.wrap(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    adapter.save(directory)
    return model, adapter


@pytest.mark.parametrize("options", [{}, {"rslora": True, "dropout": 0.1, "target_modules": ("2",)}])
def test_saved_and_loaded_compute_the_same(tmp_path: Path, options: dict[str, object]):
    model, adapter = saved(tmp_path, **options)
    loaded = LoRA.load(tmp_path)
    assert loaded.config == adapter.config
    other = base_model()
    loaded.wrap(other)
    assert torch.equal(other.eval()(X), model.eval()(X))
    for name, parameter in adapter.trainable_parameters().items():
        assert torch.equal(loaded.trainable_parameters()[name], parameter)
        assert loaded.trainable_parameters()[name].requires_grad
    loaded.merge()
    loaded.unmerge()
    assert torch.equal(other(X), model(X))


def test_saves_only_the_adapter_and_the_same_while_merged(tmp_path: Path):
    _, adapter = saved(tmp_path / "unmerged")
    adapter.merge()
    adapter.save(tmp_path / "merged")
    names = {"adapter_config.json", "adapter_model.safetensors", "scratch_adapter.json"}
    for directory in (tmp_path / "unmerged", tmp_path / "merged"):
        assert {path.name for path in directory.iterdir()} == names
    tensors = [safetensors.torch.load_file(tmp_path / d / "adapter_model.safetensors") for d in ("unmerged", "merged")]
    assert set(tensors[0]) == {f"base_model.model.{i}.lora_{part}.weight" for i in (0, 2) for part in "AB"}
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])


def test_files_do_not_depend_on_the_hash_seed(tmp_path: Path):
    """PEFT keeps the names of layers in a set."""
    torch.manual_seed(0)
    adapter = LoRA(LoRAConfig(r=1))
    adapter.wrap(nn.ModuleDict({name: nn.Linear(3, 3) for name in "hgfedcba"}))
    adapter.save(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == sorted("abcdefgh")


def test_peft_reads_it(tmp_path: Path):
    model, adapter = saved(tmp_path)
    theirs = peft.PeftModel.from_pretrained(base_model(), str(tmp_path))
    torch.testing.assert_close(theirs(X), model(X), rtol=0, atol=1e-6)
    assert theirs.base_model.model[0].scaling["default"] == 2.5
    assert torch.equal(theirs.base_model.model[0].get_delta_weight("default"), adapter.delta_weight("0"))


def test_peft_reads_exactly_the_adapted_layers_where_names_end_alike(tmp_path: Path):
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleDict({"fc": nn.Linear(3, 3), "head": nn.ModuleDict({"fc": nn.Linear(3, 3)})})

    model = build()
    adapter = LoRA(LoRAConfig(r=1, target_modules=("head.fc",)))
    adapter.wrap(model)
    adapter.save(tmp_path)
    theirs = peft.PeftModel.from_pretrained(build(), str(tmp_path))
    assert [n for n, m in theirs.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)] == [
        "base_model.model.head.fc"
    ]


def test_another_base_model_is_refused_with_both_hashes_and_left_alone(tmp_path: Path):
    saved(tmp_path)
    other = base_model()
    with torch.no_grad():
        other[3].weight[0] = math.nextafter(1.0, 2.0) + 1e-7  # a weight that is not even adapted
    found, expected = weights_fingerprint(other), weights_fingerprint(base_model())
    before = [name for name, _ in other.named_parameters()]
    with pytest.raises(AdapterFileError, match=f"{expected}.*{found}"):
        LoRA.load(tmp_path).wrap(other)
    assert [name for name, _ in other.named_parameters()] == before
    assert all(p.requires_grad for p in other.parameters())
    assert AdapterFileError.exit_code == 5


def test_fingerprint_sees_bits_names_shapes_and_precision_and_nothing_else():
    model = base_model()
    fingerprint = weights_fingerprint(model)
    assert weights_fingerprint(base_model().requires_grad_(False)) == fingerprint
    assert weights_fingerprint(base_model(1)) != fingerprint
    assert weights_fingerprint(base_model().to(torch.float64)) != fingerprint
    assert weights_fingerprint(nn.Sequential(nn.Identity(), *base_model())) != fingerprint
    flat = nn.ParameterDict({"w": nn.Parameter(torch.arange(6.0))})
    square = nn.ParameterDict({"w": nn.Parameter(torch.arange(6.0).view(2, 3))})
    assert weights_fingerprint(flat) != weights_fingerprint(square)
    scalar = nn.ParameterDict({"w": nn.Parameter(torch.tensor(1.0, dtype=torch.bfloat16))})
    assert len(weights_fingerprint(scalar)) == 64


def test_every_flipped_bit_of_the_weights_is_found(tmp_path: Path):
    saved(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    good = path.read_bytes()
    rng = random.Random(0)
    for _ in range(50):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(AdapterFileError, match=r"adapter_model\.safetensors: damaged"):
            LoRA.load(tmp_path)


@pytest.mark.parametrize("name", ["scratch_adapter.json", "adapter_model.safetensors"])
def test_missing_file_is_named(tmp_path: Path, name: str):
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(AdapterFileError, match=rf"{name}: not found"):
        LoRA.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"config": {"r": 2}}', '{"config": {"r": 2, "target_modules": [], "spam": 1}}', "\udcff"],
)
def test_damaged_description_is_named(tmp_path: Path, text: str):
    saved(tmp_path)
    (tmp_path / "scratch_adapter.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AdapterFileError, match=r"scratch_adapter\.json: damaged"):
        LoRA.load(tmp_path)


def rewrite(directory: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Other tensors with a hash that fits: what a wrong writer, not a damaged disk, would leave."""
    from papers_scratch.fingerprint import file_sha256

    safetensors.torch.save_file(tensors, directory / "adapter_model.safetensors")
    path = directory / "scratch_adapter.json"
    description = json.loads(path.read_text())
    description["adapter_sha256"] = file_sha256(directory / "adapter_model.safetensors")
    path.write_text(json.dumps(description))


def test_missing_extra_and_misshapen_tensors_are_refused(tmp_path: Path):
    saved(tmp_path)
    good = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    key = "base_model.model.2.lora_B.weight"
    for tensors, message in (
        ({k: v for k, v in good.items() if k != key}, "missing"),
        ({**good, "base_model.model.9.lora_B.weight": torch.zeros(2, 2)}, "expected none"),
        ({**good, key: torch.zeros(2, 5)}, r"\(2, 5\), expected \(5, 2\)"),
    ):
        rewrite(tmp_path, tensors)
        model = base_model()
        with pytest.raises(AdapterFileError, match=message):
            LoRA.load(tmp_path).wrap(model)
        assert not any("lora" in name for name, _ in model.named_parameters())
    rewrite(tmp_path, {**good, key: torch.full((5, 2), math.nan)})
    with pytest.raises(AdapterFileError, match="NaN"):
        LoRA.load(tmp_path)


def test_a_pickle_in_place_of_the_weights_is_never_read(tmp_path: Path):
    saved(tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterFileError, match="not found"):
        LoRA.load(tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterFileError, match="damaged"):
        LoRA.load(tmp_path)
    description = json.loads((tmp_path / "scratch_adapter.json").read_text())
    from papers_scratch.fingerprint import file_sha256

    description["adapter_sha256"] = file_sha256(tmp_path / "adapter_model.safetensors")
    (tmp_path / "scratch_adapter.json").write_text(json.dumps(description))
    with pytest.raises(AdapterFileError, match="not a safetensors file"):
        LoRA.load(tmp_path)
