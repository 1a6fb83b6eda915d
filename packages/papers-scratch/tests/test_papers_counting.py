"""Published counts from shapes alone, and what the summary of a wrapped model says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from papers_scratch.config.frames import LoRAXSConfig, TinyLoRAConfig
from papers_scratch.config.lora import LoRAConfig
from papers_scratch.config.peft_tinylora import PeftTinyLoRAConfig
from papers_scratch.counting import adapted_shapes, adapter_numbers, count_trainable_params
from papers_scratch.errors import AdapterNotice, AdapterTargetError
from papers_scratch.lora import LoRA
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.peft_tinylora import PeftTinyLoRA
from papers_scratch.summary import adapter_summary, print_adapter_summary
from papers_scratch.tinylora import TinyLoRA

README = Path(__file__).parent.parent / "README.md"

# config.json of Qwen2.5: hidden, intermediate, layers, heads, key-value heads, vocabulary, tied head
QWEN = {
    "0.5B": (896, 4864, 24, 14, 2, 151_936, True),
    "1.5B": (1536, 8960, 28, 12, 2, 151_936, True),
    "3B": (2048, 11_008, 36, 16, 2, 151_936, True),
    "7B": (3584, 18_944, 28, 28, 4, 152_064, False),
}


@pytest.fixture(scope="module", params=QWEN)
def qwen(request: pytest.FixtureRequest) -> Any:
    """The size and the shapes of its layers: the whole architecture, without a single weight."""
    transformers = pytest.importorskip("transformers", reason="the architecture is that of transformers")
    hidden, inner, layers, heads, kv_heads, vocabulary, tied = QWEN[request.param]
    config = transformers.Qwen2Config(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    return request.param, adapted_shapes(model)


PUBLISHED = {
    "0.5B": {("lora", 1, 1, 1): 549_888},
    "1.5B": {("lora", 1, 1, 1): 1_154_048},
    "3B": {
        ("tinylora", 2, 1, 16): 16,
        ("tinylora", 2, 1, 4): 63,
        ("tinylora", 2, 1, 1): 252,
        ("tinylora", 2, 2, 1): 504,
        ("lora", 1, 1, 1): 1_870_848,
    },
    "7B": {
        ("tinylora", 2, 1, None): 1,
        ("tinylora", 2, 13, None): 13,
        ("tinylora", 2, 1, 16): 13,
        ("tinylora", 2, 1, 15): 14,  # rounding up; a count of 13 is rounding down
        ("tinylora", 2, 1, 4): 49,
        ("tinylora", 2, 1, 1): 196,
        ("lora-xs", 1, 1, 1): 196,
        ("lora-xs", 2, 1, 1): 784,
        ("lora", 1, 1, 1): 2_523_136,
    },
}


def test_published_counts_and_the_table_in_the_readme(qwen: Any) -> None:
    size, shapes = qwen
    assert len(shapes) == 7 * QWEN[size][2]
    text = README.read_text(encoding="utf-8")
    for (method, r, u, n_tie), expected in PUBLISHED[size].items():
        found = adapter_numbers(shapes, method, r=r, u=u, n_tie=n_tie)
        assert found == expected
        setting = f"r {r}" if method != "tinylora" else f"u {u}, " + (f"n_tie {n_tie}" if n_tie else "all tied")
        assert f"| Qwen2.5-{size} | {len(shapes)} | `{method}` {setting} | {found:,} |" in text
    peft_groups = adapter_numbers(shapes, "tinylora", tying="peft", weight_tying=1 - 1 / 16)
    assert peft_groups == round(len(shapes) / 16)


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3))


ADAPTERS = [
    (TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=2), "tinylora", 2, "3", 6),
    (LoRAXS, LoRAXSConfig(r=2), "lora-xs", 3, "4", 12),
    (LoRA, LoRAConfig(r=2), "lora", 3, "-", 2 * (6 + 6) * 2 + 2 * (6 + 3)),
    (PeftTinyLoRA, PeftTinyLoRAConfig(r=2, u=3, weight_tying=1.0), "peft-tinylora", 1, "3", 3),
]


@pytest.mark.parametrize(("cls", "config", "method", "groups", "u", "numbers"), ADAPTERS)
def test_summary_of_each_adapter(
    cls: Any, config: Any, method: str, groups: int, u: str, numbers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    model = mlp()
    base = sum(p.numel() for p in model.parameters())
    shapes = adapted_shapes(model)
    adapter = cls(config)
    adapter.wrap(model)
    print_adapter_summary(model)
    text = capsys.readouterr().out
    assert text == adapter_summary(model) + "\n"
    lines = text.splitlines()
    assert lines[0] == f"{method}: adapted 3 of 4 weight matrices; left alone: 0"
    assert re.split(r" {2,}", lines[1]) == ["layers", "number", "out x in", "r", "u", "groups", "trained"]
    assert [line.split()[0] for line in lines[2:5]] == ["1", "3", "4"]
    assert re.split(r" {2,}", lines[4])[2:5] == ["3 x 6", "2", u]
    assert f"3 layers, {groups} groups, {numbers:,} numbers" in lines[5]
    assert f"1 for {base / numbers:,.0f} of the model's {base:,}" in lines[5]
    assert lines[6] == str(count_trainable_params(model))
    assert f"{4 * numbers} bytes in fp32, {2 * numbers} in bf16" in lines[6]
    assert len(lines) == 7
    if method in ("tinylora", "lora-xs", "lora"):
        options = {"r": 2, "u": 3, "n_tie": 2} if method == "tinylora" else {"r": 2}
        assert adapter_numbers(shapes, method, **options) == numbers  # type: ignore[arg-type]
    adapter.merge()
    assert adapter_summary(model).splitlines()[:6] == lines[:6]


def test_summary_sees_experts_that_no_adapter_reaches_and_numbers_besides() -> None:
    model = mlp()
    model.register_parameter("experts", nn.Parameter(torch.zeros(5, 2, 2)))
    with pytest.warns(AdapterNotice, match="Sequential: experts: weights of several matrices each, as experts are"):
        LoRAXS(LoRAXSConfig(r=1)).wrap(model)
    model[0].requires_grad_(True)
    lines = adapter_summary(model).splitlines()
    assert lines[0] == "lora-xs: adapted 3 of 9 weight matrices; left alone: experts, 0"
    assert lines[-1] == "trained besides: 66 numbers outside of the adapter"
    with pytest.raises(AdapterTargetError, match="Sequential has no adapter"):
        adapter_summary(mlp())


def test_nothing_to_adapt_counts_nothing() -> None:
    assert adapter_numbers({}, "tinylora") == 0
    assert adapted_shapes(nn.Sequential(nn.Embedding(3, 3))) == {}
