"""LoRA on a transformers model, against PEFT's own way of doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from papers_scratch.config.lora import LoRAConfig
from papers_scratch.lora import LoRA

# PEFT's wrapper class, the oracle here, reads an attribute that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

IDS = torch.arange(24).view(2, 12)


def llama(*, tied: bool) -> Any:
    transformers = pytest.importorskip("transformers", reason="the oracle is a transformers model")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    return transformers.LlamaForCausalLM(config)


def train(model: nn.Module, steps: int = 3) -> torch.Tensor:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    return model(input_ids=IDS).logits.detach()


@pytest.mark.parametrize("tied", [False, True])
def test_llama_trains_as_with_get_peft_model(tied: bool):
    """`all-linear` is PEFT's own rule for "everything but the output head"."""
    theirs = peft.get_peft_model(llama(tied=tied), peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    expected_names = [n.removeprefix("base_model.model.") for n, p in theirs.named_parameters() if p.requires_grad]
    expected = train(theirs)
    model = llama(tied=tied)
    before = model(input_ids=IDS).logits
    adapter = LoRA(LoRAConfig(r=4, alpha=8.0))
    adapter.wrap(model)
    assert torch.equal(model(input_ids=IDS).logits, before)
    assert list(adapter.trainable_parameters()) == expected_names
    assert len(expected_names) == 2 * 2 * 7
    assert torch.equal(train(model), expected)
    for name, layer in theirs.base_model.model.named_modules():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            assert torch.equal(adapter.delta_weight(name), layer.get_delta_weight("default"))


def test_llama_saved_is_read_by_peft(tmp_path: Path):
    model = llama(tied=True)
    adapter = LoRA(LoRAConfig(r=4, alpha=8.0, target_modules=("q_proj", "v_proj")))
    adapter.wrap(model)
    logits = train(model)
    adapter.save(tmp_path)
    theirs = peft.PeftModel.from_pretrained(llama(tied=True), str(tmp_path))
    assert theirs.peft_config["default"].inference_mode
    torch.testing.assert_close(theirs(input_ids=IDS).logits, logits, rtol=0, atol=1e-6)
    again = llama(tied=True)
    LoRA.load(tmp_path).wrap(again)
    assert torch.equal(again(input_ids=IDS).logits, logits)


def test_llama_tied_head_is_adapted_only_by_name_and_merges_exactly():
    model = llama(tied=True)
    adapter = LoRA(LoRAConfig(r=4, target_modules=("lm_head",)))
    adapter.wrap(model)
    logits = train(model)
    embedding = model.get_input_embeddings().weight.clone()
    adapter.merge()
    torch.testing.assert_close(model(input_ids=IDS).logits, logits, rtol=0, atol=1e-5)
    adapter.unmerge()
    assert torch.equal(model(input_ids=IDS).logits, logits)
    assert torch.equal(model.get_input_embeddings().weight, embedding)
