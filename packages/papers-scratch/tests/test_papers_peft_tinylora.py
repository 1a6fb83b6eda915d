"""PEFT's TinyLoRA behind our contract, against PEFT by itself; and the arithmetic of our layer in every precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from papers_scratch.config.frames import LoRAXSConfig
from papers_scratch.config.peft_tinylora import PeftTinyLoRAConfig
from papers_scratch.config.transformers_model import TransformersConfig
from papers_scratch.errors import AdapterFileError, AdapterTargetError
from papers_scratch.frame_layer import FrameLinear
from papers_scratch.lora import LoRA
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.peft_tinylora import PeftTinyLoRA
from papers_scratch.transformers_model import TransformersLM

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
IDS = torch.arange(24).view(2, 12)


def bare(architecture: str = "llama", dtype: str = "float32") -> Any:
    torch.manual_seed(0)
    config: Any = TransformersConfig(
        architecture=architecture, n_layer=2, n_head=4, n_embd=32, max_length=32, dtype=dtype
    )  # type: ignore[arg-type]
    return TransformersLM(config, vocab_size=64).model.eval()  # no dropout


def train(model: nn.Module, steps: int = 3) -> Tensor:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    logits: Tensor = model(input_ids=IDS).logits.detach()
    return logits


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to")
def test_trains_as_with_get_peft_model(architecture: str) -> None:
    config = peft.TinyLoraConfig(r=2, u=3, weight_tying=0.5, target_modules="all-linear")
    theirs = peft.get_peft_model(bare(architecture), config)
    model = bare(architecture)
    before = model(input_ids=IDS).logits
    adapter = PeftTinyLoRA(PeftTinyLoRAConfig(r=2, u=3, weight_tying=0.5))
    adapter.wrap(model)
    assert torch.equal(model(input_ids=IDS).logits, before)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert named.keys() == adapter.trainable_parameters().keys()
    assert all(named[name] is p for name, p in adapter.trainable_parameters().items())
    assert len(named) == len(theirs.base_model.tinylora_v["default"])
    assert torch.equal(train(model), train(theirs))
    for name, layer in theirs.base_model.model.named_modules():
        if isinstance(layer, peft.tuners.tinylora.layer.TinyLoraLayer):
            delta = layer.get_delta_weight("default")
            assert torch.equal(adapter.delta_weight(name), delta.T if architecture == "gpt2" else delta)


def test_numbers_stay_in_fp32_on_a_half_precision_model(tmp_path: Path) -> None:
    model = bare(dtype="bfloat16")
    adapter = PeftTinyLoRA(PeftTinyLoRAConfig(r=2, u=2))
    adapter.wrap(model)
    assert {p.dtype for p in adapter.trainable_parameters().values()} == {torch.float32}
    logits = train(model)
    adapter.save(tmp_path)
    again = bare(dtype="bfloat16")
    PeftTinyLoRA.load(tmp_path).wrap(again)
    assert torch.equal(again(input_ids=IDS).logits, logits)


def test_refuses_another_base_another_method_and_a_second_adapter(tmp_path: Path) -> None:
    model = bare()
    adapter = PeftTinyLoRA(PeftTinyLoRAConfig())
    adapter.wrap(model)
    adapter.save(tmp_path)
    with pytest.raises(AdapterFileError, match="holds a peft-tinylora adapter, not lora"):
        LoRA.load(tmp_path)
    with pytest.raises(AdapterFileError, match="trained on base weights"):
        PeftTinyLoRA.load(tmp_path).wrap(bare("qwen2"))
    with pytest.raises(AdapterTargetError, match="has an adapter already"):
        LoRAXS(LoRAXSConfig()).wrap(model)
    second = bare()
    LoRAXS(LoRAXSConfig()).wrap(second)
    with pytest.raises(AdapterTargetError, match="has an adapter already"):
        PeftTinyLoRA(PeftTinyLoRAConfig()).wrap(second)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6), (0, 6), (2, 0, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_our_layer_computes_its_definition(shape: tuple[int, ...], dtype: torch.dtype, autocast: bool) -> None:
    if autocast and dtype == torch.float64:
        pytest.skip("autocast leaves float64 alone")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5)).to(dtype)
    adapter = LoRAXS(LoRAXSConfig(r=2))
    adapter.wrap(model)
    layer = model[0]
    assert isinstance(layer, FrameLinear)
    with torch.no_grad():
        next(layer.parameters(recurse=False)).normal_()
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = model(x)
    expected = x @ (layer.weight + layer.delta_weight().to(dtype)).T + layer.bias
    half = autocast or dtype == torch.bfloat16
    assert found.dtype == (torch.bfloat16 if half else dtype)
    tolerance = 0.05 if half else 1e-5
    torch.testing.assert_close(found.to(dtype), expected, rtol=tolerance, atol=tolerance)
    own, theirs = (torch.autograd.grad(y.float().square().sum(), x)[0] for y in (found, expected))
    torch.testing.assert_close(own, theirs, rtol=2 * tolerance, atol=4 * tolerance)
