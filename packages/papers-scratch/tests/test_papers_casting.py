"""Adapters on models that are cast after wrapping, or in fp64; training while merged; saving on a full disk."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from papers_scratch.config.frames import LoRAXSConfig, TinyLoRAConfig
from papers_scratch.config.lora import LoRAConfig
from papers_scratch.config.peft_tinylora import PeftTinyLoRAConfig
from papers_scratch.conversions import lora_xs_to_tinylora, tinylora_to_lora_xs
from papers_scratch.counting import count_trainable_params
from papers_scratch.errors import AdapterNotice
from papers_scratch.lora import LoRA
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.peft_conversions import from_peft, to_peft_lora, to_peft_tinylora
from papers_scratch.peft_tinylora import PeftTinyLoRA
from papers_scratch.tinylora import TinyLoRA

FRAMES: Any = [(TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=2)), (LoRAXS, LoRAXSConfig(r=2))]
ALL: Any = [*FRAMES, (LoRA, LoRAConfig(r=2)), (PeftTinyLoRA, PeftTinyLoRAConfig(r=2, u=2))]
x = torch.randn(20, 6, generator=torch.Generator().manual_seed(3))


def mlp(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 5)).to(dtype)


def wrapped(cls: Any, config: Any, dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, Any]:
    model, adapter = mlp(dtype), cls(config)
    adapter.wrap(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.copy_(torch.randn(parameter.shape) / 4)
    return model, adapter


# --- cast after wrapping


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("cls", "config"), FRAMES)
def test_a_cast_of_the_model_leaves_the_trained_numbers_in_fp32(cls: Any, config: Any, dtype: torch.dtype) -> None:
    model, adapter = wrapped(cls, config)
    expected, count = model(x).detach(), count_trainable_params(model)
    numbers = {name: (p, p.detach().clone()) for name, p in adapter.trainable_parameters().items()}
    optimizer = torch.optim.Adam([p for p, _ in numbers.values()], lr=1e-6)
    model.to(dtype)
    assert all(layer.weight.dtype == dtype for layer in adapter.layers.values())
    for name, parameter in adapter.trainable_parameters().items():
        assert parameter is numbers[name][0]  # so the optimizer goes on with it
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, numbers[name][1])
    assert count_trainable_params(model) == count
    found = model(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    found.float().square().sum().backward()
    optimizer.step()
    for parameter, before in numbers.values():
        assert bool((parameter != before).all())  # a step that half precision would have rounded away
    model.float()
    torch.testing.assert_close(model(x), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("cls", "config"), FRAMES)
def test_what_was_cast_is_saved_for_the_base_that_it_was_trained_on(tmp_path: Path, cls: Any, config: Any) -> None:
    model, adapter = wrapped(cls, config)
    expected = model(x).detach()
    model.bfloat16()
    adapter.save(tmp_path)
    again = mlp()
    cls.load(tmp_path).wrap(again)
    assert torch.equal(again(x), expected)


@pytest.mark.parametrize(("cls", "config"), FRAMES)
def test_a_file_with_its_frames_is_read_from_a_model_that_was_made_double(
    tmp_path: Path, cls: Any, config: Any
) -> None:
    model, adapter = wrapped(cls, replace(config, save_frames=True))
    expected = model(x).detach()
    model.double()
    adapter.save(tmp_path)
    again = mlp()
    cls.load(tmp_path).wrap(again)
    torch.testing.assert_close(again(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("cls", "config"), FRAMES)
def test_conversions_of_a_cast_model(tmp_path: Path, cls: Any, config: Any, dtype: torch.dtype) -> None:
    model, adapter = wrapped(cls, config)
    expected = model(x).detach()
    model.to(dtype)
    other = mlp()
    (tinylora_to_lora_xs if cls is TinyLoRA else lora_xs_to_tinylora)(adapter).wrap(other)
    torch.testing.assert_close(other(x), expected, rtol=1e-5, atol=1e-5)
    with pytest.warns(AdapterNotice, match="exported untied") if cls is TinyLoRA else nullcontext():
        to_peft_tinylora(adapter, model, tmp_path / "tinylora")
    to_peft_lora(adapter, model, tmp_path / "lora")
    for folder in ("tinylora", "lora"):
        other = mlp()
        from_peft(tmp_path / folder, other)
        torch.testing.assert_close(other(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("cls", "config"), ALL)
def test_a_model_that_is_cast_while_merged_is_cast_when_unmerged(cls: Any, config: Any) -> None:
    model, adapter = wrapped(cls, config)
    adapter.merge()
    model.bfloat16()
    adapter.unmerge()
    for name, parameter in mlp(torch.bfloat16).named_parameters():
        place, _, kind = name.rpartition(".")
        assert torch.equal(getattr(model.get_submodule(place).base_layer, kind), parameter)
    assert bool(model(x.bfloat16()).isfinite().all())


# --- float64


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("cls", "config"), ALL)
def test_double_precision_before_and_after_wrapping(cls: Any, config: Any, late: bool) -> None:
    model, adapter = wrapped(cls, config, torch.float32 if late else torch.float64)
    model.double()
    expected = model(x.double()).detach()
    assert expected.dtype == torch.float64
    adapter.merge()
    torch.testing.assert_close(model(x.double()), expected, rtol=1e-6, atol=1e-7)
    adapter.unmerge()
    assert torch.equal(model(x.double()), expected)


@pytest.mark.parametrize(("cls", "config"), FRAMES)
def test_merging_in_double_precision_rounds_no_weight_to_single(cls: Any, config: Any) -> None:
    model, adapter = mlp(torch.float64), cls(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-12)
    adapter.wrap(model)
    weights = {name: layer.weight.clone() for name, layer in adapter.layers.items()}
    adapter.merge()  # of no change
    for name, layer in adapter.layers.items():
        assert torch.equal(layer.weight, weights[name])


# --- merged


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize(("cls", "config"), ALL)
def test_training_while_merged_is_refused_with_what_to_do(cls: Any, config: Any, head: bool) -> None:
    """Also where something else is trained on top of it, and torch itself would say nothing."""
    model, adapter = wrapped(cls, config)
    on_top = nn.Linear(5, 1) if head else nn.Identity()
    adapter.merge()
    with pytest.raises(RuntimeError, match=r"the adapter is merged .* call adapter\.unmerge\(\) before the forward"):
        on_top(model(x)).sum().backward()
    with torch.no_grad():
        assert not model(x).requires_grad
    with torch.inference_mode():
        model(x)
    adapter.unmerge()
    on_top(model(x)).sum().backward()
    assert all(p.grad is not None for p in adapter.trainable_parameters().values())


@pytest.mark.parametrize(("cls", "config"), ALL)
def test_what_is_saved_while_merged_is_the_adapter(tmp_path: Path, cls: Any, config: Any) -> None:
    model, adapter = wrapped(cls, config)
    expected = model(x).detach()
    adapter.save(tmp_path / "before")
    adapter.merge()
    adapter.save(tmp_path / "merged")
    for file in (tmp_path / "before").iterdir():
        assert file.read_bytes() == (tmp_path / "merged" / file.name).read_bytes()
    again = mlp()
    cls.load(tmp_path / "merged").wrap(again)
    assert torch.equal(again(x), expected)


@pytest.mark.parametrize(("cls", "config"), ALL)
def test_a_second_adapter_of_any_kind_is_refused(cls: Any, config: Any) -> None:
    model, _ = wrapped(cls, config)
    for other, options in ALL:
        with pytest.raises(ValueError, match="has an adapter already; two on one layer are not supported"):
            other(options).wrap(model)


@pytest.mark.parametrize(("cls", "config"), ALL)
def test_a_rank_over_the_matrix_size_works_and_is_told(cls: Any, config: Any) -> None:
    model = mlp()
    with pytest.warns(AdapterNotice, match=r"^4: has 5 singular directions, so r") as said:
        cls(replace(config, r=6)).wrap(model)
    assert len([notice for notice in said if "singular directions" in str(notice.message)]) == 1
    assert torch.equal(model(x), mlp()(x))


@pytest.mark.parametrize(("cls", "config"), ALL)
def test_many_layers_are_told_in_one_notice(cls: Any, config: Any) -> None:
    model = nn.Sequential(*(nn.Linear(6, 6 - i % 2) if i % 2 else nn.Linear(5, 6) for i in range(2, 12)))
    with pytest.warns(AdapterNotice) as said:
        cls(replace(config, r=7)).wrap(model)
    told = [str(notice.message) for notice in said if "singular directions" in str(notice.message)]
    assert len(told) == 1
    assert told[0].startswith("10 layers (")
    assert "have 5 singular directions, so r" in told[0]


def test_all_that_is_odd_of_many_layers_is_told_once_each() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].weight.zero_()
        model[2].weight.zero_()
        model[4].weight.copy_(torch.eye(5, 7))
    with pytest.warns(AdapterNotice) as said:
        TinyLoRA(TinyLoRAConfig(r=6, u=1)).wrap(model)
    told = sorted(str(notice.message).partition(":")[0] for notice in said)
    assert told == ["2 layers (0, 2)", "4", "4"]


# --- files


@pytest.mark.parametrize(("cls", "config"), ALL)
def test_a_save_that_fails_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cls: Any, config: Any
) -> None:
    model, adapter = wrapped(cls, config)
    adapter.save(tmp_path)
    expected, files = model(x).detach(), {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.add_(1.0)

    def full(self: Path, *args: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)  # ours is the last file, and so all others are written by then
        with pytest.raises(OSError, match="No space left"):
            adapter.save(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files
    again = mlp()
    cls.load(tmp_path).wrap(again)
    assert torch.equal(again(x), expected)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(descriptor))
    adapter.save(tmp_path)
    assert len(synced) > len(files) - 1
    assert {file.name for file in tmp_path.iterdir()} == files.keys()
