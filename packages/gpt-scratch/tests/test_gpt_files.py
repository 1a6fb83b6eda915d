"""Saved models: exact round trip, readable by transformers, and every kind of damage refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt_scratch.bigram import Bigram
from gpt_scratch.config import BigramConfig, GPTConfig
from gpt_scratch.errors import ModelFileError
from gpt_scratch.model import GPT

CONFIG = GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=12)
IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])


def build(config: GPTConfig = CONFIG) -> GPT:
    torch.manual_seed(0)
    model = GPT(config, vocab_size=11).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape))
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    build().save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_round_trip_is_exact(tmp_path: Path, tie: bool, bias: bool) -> None:
    model = build(GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=12, tie_weights=tie, bias=bias))
    model.save(tmp_path / "deep" / "model")
    random_state = torch.get_rng_state()
    again = GPT.load(tmp_path / "deep" / "model").eval()
    assert torch.equal(random_state, torch.get_rng_state())
    assert again.config == model.config
    assert again.vocab_size == 11
    assert (again.lm_head.weight is again.wte.weight) == tie
    assert all(p.requires_grad and p.is_contiguous() for p in again.parameters())
    assert list(again.state_dict()) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert torch.equal(model(IDS), again(IDS))
    again.save(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "deep" / "model" / name).read_bytes()


def test_precision_is_kept(tmp_path: Path) -> None:
    model = build().to(torch.bfloat16)
    model.save(tmp_path)
    assert GPT.load(tmp_path).wte.weight.dtype == torch.bfloat16


def test_a_tied_tensor_is_stored_once(saved: Path) -> None:
    names = load_file(saved / "model.safetensors").keys()
    assert "transformer.wte.weight" in names
    assert "lm_head.weight" not in names


@pytest.mark.parametrize("tie", [True, False])
def test_transformers_opens_the_directory(tmp_path: Path, tie: bool) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="GPT2LMHeadModel reads what we write")
    model = build(GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=12, tie_weights=tie))
    model.save(tmp_path)
    theirs, info = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        torch.testing.assert_close(model(IDS), theirs.eval()(IDS).logits, atol=1e-4, rtol=1e-4)


def test_what_gpt2_cannot_express_does_not_claim_to_be_gpt2(tmp_path: Path) -> None:
    build(GPTConfig(n_layer=1, n_head=2, n_embd=8, bias=False)).save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()).keys() == {"scratch"}


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((path / "config.json").read_text())
    change(document)
    (path / "config.json").write_text(json.dumps(document))


def resave(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Changed weights with a hash that fits them."""
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    edit(path, lambda document: document["scratch"].update(sha256=digest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("scratch"), "has no object `scratch`"),
        (lambda d: d["scratch"].update(flavour="mild"), "unknown field scratch.flavour"),
        (lambda d: d["scratch"]["config"].update(n_experts=2), "unknown field scratch.config.n_experts"),
        (lambda d: d["scratch"]["config"].pop("n_head"), "field scratch.config.n_head is missing"),
        (lambda d: d["scratch"]["config"].update(n_head=3), "scratch.config.n_embd: got 8, must be a multiple"),
        (lambda d: d["scratch"]["config"].update(n_head="2"), "scratch.config.n_head is '2', must be int"),
        (lambda d: d["scratch"]["config"].update(n_layer=True), "scratch.config.n_layer is True, must be int"),
        (lambda d: d["scratch"].update(vocab_size=0), "scratch.vocab_size is 0"),
        (lambda d: d["scratch"].update(config=[1]), "scratch.config is"),
        (lambda d: d["scratch"].update(format=2), "scratch.format is 2, this version reads 1"),
        (lambda d: d["scratch"].update(model="bigram"), "scratch.model is 'bigram', expected 'gpt'"),
        (lambda d: d.update(n_head=4), "n_head is 4, but 2 follows"),
        (lambda d: d.update(rope_theta=1e4), "unknown field rope_theta"),
        (lambda d: d.pop("n_positions"), "field n_positions is missing"),
        (lambda d: d["scratch"].update(sha256="0" * 64), "SHA-256 is .* but config.json says 000"),
    ],
)
def test_a_changed_config_is_refused(saved: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    edit(saved, change)
    with pytest.raises(ModelFileError, match=message) as caught:
        GPT.load(saved)
    assert str(saved) in str(caught.value)
    assert caught.value.exit_code == 5


def test_sizes_that_disagree_with_the_weights_are_refused_before_memory_is_taken(saved: Path) -> None:
    def enlarge(d: dict[str, Any], n_embd: int) -> None:
        d["scratch"]["config"].update(n_embd=n_embd, n_head=1)
        d.update(n_embd=n_embd, n_head=1)

    for n_embd, message in ((1 << 20, r"shape .* but config.json says"), (1 << 60, "no model has these sizes")):
        edit(saved, partial(enlarge, n_embd=n_embd))
        with pytest.raises(ModelFileError, match=message):
            GPT.load(saved)

    def deepen(d: dict[str, Any]) -> None:
        d["scratch"]["config"].update(n_embd=8, n_head=2, n_layer=10**9)
        d.update(n_embd=8, n_head=2, n_layer=10**9)

    edit(saved, deepen)
    with pytest.raises(ModelFileError, match="cannot hold the 1000000000 layers"):
        GPT.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("transformer.ln_f.bias"), "tensor transformer.ln_f.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "tensor extra is not part of this model"),
        (
            lambda t: t.update({"transformer.wpe.weight": torch.zeros(13, 8)}),
            r"transformer.wpe.weight has shape \(13, 8\), but config.json says \(12, 8\)",
        ),
    ],
)
def test_changed_weights_are_refused(saved: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    resave(saved, change)
    with pytest.raises(ModelFileError, match=message):
        GPT.load(saved)


def test_any_flipped_bit_and_any_cut_is_noticed(saved: Path) -> None:
    path = saved / "model.safetensors"
    data = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(len(data), (40,), generator=generator).tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        with pytest.raises(ModelFileError, match=r"model\.safetensors"):
            GPT.load(saved)
        path.write_bytes(data[:place])
        with pytest.raises(ModelFileError, match=r"model\.safetensors"):
            GPT.load(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no safetensors file"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "header of 1099511627776"),
        ((2).to_bytes(8, "little") + b"[]", "header is damaged"),
        ((9).to_bytes(8, "little") + b"{no json}", "header is damaged"),
        ((9).to_bytes(8, "little") + b'{"a":{}} ', "header is damaged"),
    ],
)
def test_a_bad_header_is_refused(saved: Path, content: bytes, message: str) -> None:
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        GPT.load(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(saved: Path, content: bytes) -> None:
    (saved / "config.json").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"config\.json"):
        GPT.load(saved)


def test_missing_files_and_other_models_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        GPT.load(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match="expected 'bigram'"):
        Bigram.load(saved)
    Bigram(BigramConfig(), vocab_size=3).save(tmp_path / "bigram")
    with pytest.raises(ModelFileError, match="expected 'gpt'"):
        GPT.load(tmp_path / "bigram")
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"model\.safetensors: no such file"):
        GPT.load(saved)
