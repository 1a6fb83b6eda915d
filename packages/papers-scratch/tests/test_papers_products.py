"""Linear layers with oneDNN's products against torch's own: values, gradients, and when they apply."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from papers_scratch import products
from papers_scratch.config.transformers_model import TransformersConfig
from papers_scratch.products import QuickLinear, pays, product, quicken
from papers_scratch.transformers_model import TransformersLM

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this PyTorch has no oneDNN operator for linear layers"
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "pays", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(640, 70), (5, 128, 70)])
@pytest.mark.parametrize("out", [50, 90])
def test_a_quick_layer_gives_what_torchs_own_gives(quick: None, bias: bool, shape: tuple[int, ...], out: int) -> None:
    torch.manual_seed(0)
    own = nn.Linear(shape[-1], out, bias=bias)
    layer = copy.deepcopy(own)
    quicken(layer)
    assert type(layer) is QuickLinear
    assert layer.state_dict().keys() == own.state_dict().keys()
    x, g = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], out)
    results = []
    for module in (layer, own):
        y = module(x)
        results.append((y, *torch.autograd.grad(y, [x, *module.parameters()], g)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert results[0][0].grad_fn is not None
    with torch.inference_mode():
        assert torch.equal(layer(x), results[0][0])  # with gradients and without: the same bits


def test_gradients_of_gradients() -> None:
    torch.manual_seed(0)
    inputs = tuple(torch.randn(*shape, requires_grad=True) for shape in ((7, 3), (5, 3), (5,)))
    along = tuple(torch.randn_like(t) for t in inputs)

    def cubes(f: Callable[..., Tensor]) -> Any:
        hvp: Any = torch.autograd.functional.hvp
        return hvp(lambda *t: f(*t).pow(3).sum(), inputs, along)[1]

    for found, expected in zip(cubes(product), cubes(nn.functional.linear), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_frozen_weights_get_no_gradient(quick: None) -> None:
    layer = nn.Linear(128, 128)
    quicken(layer)
    layer.requires_grad_(False)
    x = torch.randn(256, 128, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None


def test_small_products_and_other_precisions_are_torchs_own(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("this one is torch's")

    layer = nn.Linear(64, 64)
    quicken(layer)
    monkeypatch.setattr(products, "_multiply", refuse)
    layer(torch.randn(8, 64))
    with pytest.raises(AssertionError, match="torch's"):
        layer(torch.randn(8192, 64))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    layer(torch.randn(8192, 64))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(8192, 64)).dtype == torch.bfloat16
    layer.double()(torch.randn(8192, 64, dtype=torch.float64))


def test_only_plain_linear_layers_are_changed(quick: None) -> None:
    class Own(nn.Linear):
        pass

    model = nn.Sequential(Own(4, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    quicken(model)
    assert [type(module) for module in model] == [Own, QuickLinear, nn.LayerNorm]


def test_intels_processors_keep_torchs_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(products, "CPU_INFO", info)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    pays.cache_clear()
    try:
        assert not pays()  # nothing is known
        pays.cache_clear()
        info.write_text("vendor_id : GenuineIntel\n")
        assert not pays()
        pays.cache_clear()
        info.write_text("vendor_id : AuthenticAMD\n")
        assert pays() == torch.backends.mkl.is_available()
        pays.cache_clear()
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
        assert not pays()
    finally:
        pays.cache_clear()


def test_a_model_can_be_kept_to_torchs_own(quick: None) -> None:
    with pytest.raises(ValueError, match="products: got 'mkl'"):
        TransformersConfig(products="mkl")  # type: ignore[arg-type]
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 128, "max_length": 64}
    models = []
    for kind in ("auto", "torch"):
        torch.manual_seed(0)
        models.append(TransformersLM(TransformersConfig(products=kind, **sizes), vocab_size=90))  # type: ignore[arg-type]
    found = [{type(module) for module in model.modules()} for model in models]
    assert (QuickLinear in found[0], QuickLinear in found[1]) == (True, False)
    ids = torch.randint(0, 90, (8, 32))
    torch.testing.assert_close(models[0](ids), models[1](ids), rtol=1e-4, atol=1e-5)
