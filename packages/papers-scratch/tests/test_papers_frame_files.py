"""A saved TinyLoRA or LoRA-XS: the same model again, or a refusal that names what differs."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from papers_scratch.adapter_files import JSON_FILE, TENSOR_FILE
from papers_scratch.config.frames import LoRAXSConfig, TinyLoRAConfig
from papers_scratch.errors import AdapterFileError
from papers_scratch.fingerprint import file_sha256
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.tinylora import TinyLoRA

X = torch.linspace(-1, 1, 60).view(10, 6)


def base(order: tuple[str, ...] = ("a", "b", "c")) -> nn.Module:
    torch.manual_seed(0)
    made = {"a": nn.Linear(6, 9), "b": nn.Linear(9, 7), "c": nn.Linear(7, 5)}

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in order:
                self.add_module(name, made[name])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))

    return Chain()


def saved(directory: Path, cls: Any, config: Any) -> torch.Tensor:
    model = base()
    adapter = cls(config)
    adapter.wrap(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.copy_(torch.randn(parameter.shape))
    adapter.save(directory)
    output: torch.Tensor = model(X).detach()
    return output


CASES = [
    (TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=2)),
    (TinyLoRA, TinyLoRAConfig(r=2, u=2, save_frames=True)),
    (LoRAXS, LoRAXSConfig(r=2)),
    (LoRAXS, LoRAXSConfig(r=2, save_frames=True, sigma="sqrt")),
]


@pytest.mark.parametrize(("cls", "config"), CASES)
def test_loads_in_a_model_whose_layers_were_made_in_another_order(tmp_path: Path, cls: Any, config: Any) -> None:
    expected = saved(tmp_path, cls, config)
    for order in (("a", "b", "c"), ("c", "a", "b")):
        model = base(order)
        adapter = cls.load(tmp_path)
        assert adapter.config == config
        adapter.wrap(model)
        torch.testing.assert_close(model(X), expected, rtol=0, atol=1e-6)


def test_loads_in_a_new_process_with_other_threads(tmp_path: Path) -> None:
    expected = saved(tmp_path, TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=2))
    code = (
        "from __future__ import annotations\nimport torch\nfrom torch import nn\n"
        + inspect.getsource(base)
        + (
            "import sys, json; from pathlib import Path; from papers_scratch.tinylora import TinyLoRA\n"
            "torch.set_num_threads(2); model = base(); TinyLoRA.load(Path(sys.argv[1])).wrap(model)\n"
            "print(json.dumps(model(torch.linspace(-1, 1, 60).view(10, 6)).tolist()))"
        )
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), expected, rtol=0, atol=1e-6)


def test_the_file_is_as_small_as_its_numbers(tmp_path: Path) -> None:
    saved(tmp_path, TinyLoRA, TinyLoRAConfig(r=2, u=1, n_tie=None))
    tensors = safetensors.torch.load_file(tmp_path / TENSOR_FILE)
    assert {key: tuple(t.shape) for key, t in tensors.items()} == {"trained/v.0": (1,)}
    assert (tmp_path / TENSOR_FILE).stat().st_size < 200


def refused(directory: Path, model: nn.Module, cls: Any = TinyLoRA) -> str:
    untouched = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(AdapterFileError) as error:
        cls.load(directory).wrap(model)
    assert model.state_dict().keys() == untouched.keys()
    assert all(torch.equal(tensor, untouched[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert error.value.exit_code == 5
    return str(error.value)


@pytest.mark.parametrize(("cls", "config"), CASES)
def test_another_base_is_refused_by_the_name_of_the_layer(tmp_path: Path, cls: Any, config: Any) -> None:
    saved(tmp_path, cls, config)
    model = base()
    with torch.no_grad():
        model.b.weight[3, 4] += 1e-6
    assert " b: trained on a weight with SHA-256" in refused(tmp_path, model, cls)
    bigger = base()
    bigger.c = nn.Linear(7, 6)
    assert "'c': shape (5, 7) in the file, (6, 7) in the model" in refused(tmp_path, bigger, cls)
    fewer = base()
    fewer.c = nn.Identity()
    assert "first 'c'" in refused(tmp_path, fewer, cls)


def edit(directory: Path, change: Any) -> None:
    path = directory / JSON_FILE
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def rewrite(directory: Path, change: Any) -> None:
    """Other tensors, with a hash that fits them."""
    tensors = safetensors.torch.load_file(directory / TENSOR_FILE)
    change(tensors)
    safetensors.torch.save_file(tensors, directory / TENSOR_FILE)
    edit(directory, lambda d: d.update(adapter_sha256=file_sha256(directory / TENSOR_FILE)))


def test_a_flipped_sign_is_refused(tmp_path: Path) -> None:
    """What another LAPACK could do: the same weight, the same product of the frame, another meaning of v."""
    saved(tmp_path, TinyLoRA, TinyLoRAConfig(r=2, u=3, save_frames=True))

    def flip(tensors: Any) -> None:
        tensors["frozen/b.A"][1] *= -1
        tensors["frozen/b.B"][:, 1] *= -1

    rewrite(tmp_path, flip)
    assert ": b: this machine finds other singular directions" in refused(tmp_path, base())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["config"].update(seed=43), "a: other fixed matrices P"),
        (lambda d: d["config"].update(u=4), "other fixed matrices P"),
        (lambda d: d["config"].update(n_tie=1), "'v.2' has shape missing, expected (3,)"),
        (lambda d: d.update(adapter="lora-xs"), "holds a lora-xs adapter, not tinylora"),
        (lambda d: d.update(format=2), "format 2, but this version reads 1"),
        (lambda d: d["config"].update(rank=3), "damaged, or of another version"),
        (lambda d: d["config"].pop("alpha"), "damaged, or of another version"),
        (lambda d: d["modules"][0].pop("frame"), "damaged, or of another version"),
        (lambda d: d["modules"][0].update(frame=[float("nan")]), "fingerprint is not finite"),
        (lambda d: d["modules"][0].update(frame=["1.0"]), "damaged, or of another version"),
        (lambda d: d["modules"][0].update(frame=3), "damaged, or of another version"),
        (lambda d: d["modules"].pop(), "1 layers do not fit the model, first 'c': shape missing in the file"),
    ],
)
def test_a_description_that_was_changed_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    saved(tmp_path, TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=2))
    edit(tmp_path, change)
    assert said in refused(tmp_path, base())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update({"trained/v.0": torch.tensor([1.0, torch.nan, 0.0])}), "infinite or NaN values"),
        (lambda t: t.pop("trained/v.1"), "'v.1' has shape missing"),
        (lambda t: t.update({"trained/v.2": torch.zeros(3)}), "'v.2' has shape (3,), expected none"),
        (lambda t: t.update({"trained/v.0": torch.zeros(4)}), "'v.0' has shape (4,), expected (3,)"),
    ],
)
def test_tensors_that_were_changed_are_refused(tmp_path: Path, change: Any, said: str) -> None:
    saved(tmp_path, TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=2))
    rewrite(tmp_path, change)
    assert said in refused(tmp_path, base())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("frozen/b.B"), "b: frame B has shape missing, expected (7, 2)"),
        (lambda t: t.pop("frozen/b.A"), "b: frame A has shape missing, expected (2, 9)"),
        (lambda t: t.update({"frozen/b.A": torch.zeros(3, 9)}), "b: frame A has shape (3, 9), expected (2, 9)"),
        (lambda t: t.update({"trained/v.0": torch.zeros(3, dtype=torch.int64)}), "'trained/v.0' (torch.int64)"),
        (lambda t: t.update({"frozen/a.P": torch.zeros(3, 2, 2, dtype=torch.bool)}), "'frozen/a.P' (torch.bool)"),
    ],
)
def test_frames_that_were_changed_are_refused(tmp_path: Path, change: Any, said: str) -> None:
    saved(tmp_path, TinyLoRA, TinyLoRAConfig(r=2, u=3, save_frames=True))
    rewrite(tmp_path, change)
    assert said in refused(tmp_path, base())


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        (TinyLoRAConfig, {"tying": "peft", "n_tie": 4}, "n_tie: got 4"),
        (TinyLoRAConfig, {"tying": "peft", "n_tie": None}, "n_tie: got None"),
        (TinyLoRAConfig, {"weight_tying": 0.5}, "weight_tying: got 0.5"),
        (LoRAXSConfig, {"seed": 2**64}, "seed: got"),
    ],
)
def test_options_that_would_do_nothing_are_refused(config: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**options)


def test_damaged_missing_and_pickled_files_are_refused(tmp_path: Path) -> None:
    assert "not there, so this is no saved tinylora adapter" in refused(tmp_path, base())
    saved(tmp_path, TinyLoRA, TinyLoRAConfig(r=2, u=3, n_tie=2))
    tensors = (tmp_path / TENSOR_FILE).read_bytes()
    (tmp_path / TENSOR_FILE).write_bytes(tensors[:-1] + b"\1")
    assert "damaged: SHA-256" in refused(tmp_path, base())
    (tmp_path / TENSOR_FILE).write_bytes(pickle.dumps({"trained/v.0": [1.0]}))
    edit(tmp_path, lambda d: d.update(adapter_sha256=file_sha256(tmp_path / TENSOR_FILE)))
    assert "not a safetensors file" in refused(tmp_path, base())
    (tmp_path / JSON_FILE).write_text("[" * 100_000)
    assert "damaged, or of another version" in refused(tmp_path, base())
