"""Checkpoints: what goes in comes out to the bit, and every injury is found."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scratch_cli import checkpoint, durable, state_tree
from scratch_cli.errors import CheckpointError, RunFailed

META = {"tokenizer": "a" * 64, "config": "b" * 64}


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        as_bytes = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*as_bytes)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


def written(root: Path, *steps: int, **more: Any) -> list[Path]:
    paths = []
    for step in steps:
        state = {"weights": torch.arange(6.0).reshape(2, 3) + step, "rng": np.arange(4, dtype=np.uint64), "at": step}
        paths.append(checkpoint.write(root, step, state, META, **more))
    return paths


TORCH_DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
]  # fmt: skip


def test_every_type_comes_back_with_its_bits(tmp_path: Path) -> None:
    raw = torch.arange(48, dtype=torch.uint8)
    tensors = {str(dtype): raw[: 16 if dtype is torch.bool else 48].gt(7) if dtype is torch.bool else raw.view(dtype)
               for dtype in TORCH_DTYPES}  # fmt: skip
    state = {
        "tensors": tensors,
        "arrays": [np.arange(6, dtype=t).reshape(2, 3) for t in "bBhHiIlLqQefdFD"] + [np.array([True, False])],
        "long double": np.arange(3, dtype=np.longdouble),
        "scalars": [np.float32(0.1), np.int64(-1), np.float64(0.1), np.bool_(True)],
        "shapes": [
            torch.zeros(()),
            torch.zeros(0),
            torch.zeros(2, 0, 3),
            torch.ones(3, 2).T,
            np.zeros(()),
            np.zeros(0),
        ],
        "plain": [None, True, False, 0, -(2**130), 0.1, 1e-320, "text \x00 é 𝄞", float("nan"), float("inf"), -0.0],
        "nested": {"a": ({"b": [1, (2.5, "x")]}, []), "": {}},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}, 7: {}}, "param_groups": [{"betas": (0.9, 0.95)}]},
        "odd keys": {"$tensor": 1, "$dict": [2], "kind": "torch"},
    }
    path = checkpoint.write(tmp_path, 3, state, META)
    found = checkpoint.read(path)
    assert same(found.state, state)
    assert (found.step, found.prefix) == (3, "step")
    assert {k: found.meta[k] for k in META} == META


def test_views_and_tied_weights_are_saved_on_their_own(tmp_path: Path) -> None:
    base = torch.arange(1000.0)
    state = {"tied": [base, base], "view": base[10:12], "grad": torch.nn.Parameter(base[:3])}
    path = checkpoint.write(tmp_path, 0, state, {})
    found = checkpoint.read(path).state
    assert torch.equal(found["tied"][0], base)
    assert torch.equal(found["view"], base[10:12])
    assert torch.equal(found["grad"], base[:3])
    assert (path / "tensors.safetensors").stat().st_size < 5000


def test_numpy_alone_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, numpy; from scratch_cli import checkpoint as c\n"
        "p = c.write(pathlib.Path(sys.argv[1]), 1, {'a': numpy.arange(3.0)}, {})\n"
        "assert c.read(p).state['a'].tolist() == [0.0, 1.0, 2.0]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.parametrize("bad", [object(), {1.5: 2}, {"a": [{2, 3}]}, {"d": torch.zeros(2).to_sparse()}, b"bytes"])
def test_what_cannot_be_stored_is_named(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(RunFailed, match=r"state at state\.trainer"):
        checkpoint.write(tmp_path, 1, {"trainer": bad}, {})
    assert list(tmp_path.iterdir()) == []


def test_old_ones_are_pruned_and_stages_are_ordered(tmp_path: Path) -> None:
    written(tmp_path, 0, 50, 100, prefix="warm")
    assert [p.name for *_, p in checkpoint.listing(tmp_path)] == ["warm-000100", "warm-000050"]
    written(tmp_path, 0)
    assert [p.name for *_, p in checkpoint.listing(tmp_path)] == ["step-000000", "warm-000100"]
    written(tmp_path, 5, 9, 1_000_000, keep=3)
    assert [p.name for *_, p in checkpoint.listing(tmp_path)] == ["step-1000000", "step-000009", "step-000005"]
    written(tmp_path, 1_000_000, keep=1)  # replaced; never fewer than two
    assert [p.name for *_, p in checkpoint.listing(tmp_path)] == ["step-1000000", "step-000009"]
    assert not list(tmp_path.glob(".tmp*"))


def test_orphans_are_cleaned(tmp_path: Path) -> None:
    written(tmp_path, 1)
    (durable.temporary_directory(tmp_path) / "half").write_text("x")
    assert len(list(tmp_path.iterdir())) == 2
    durable.clean(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]


# --- injuries -------------------------------------------------------------------------------------------------------


def injure(newest: Path, older: Path, rng: random.Random) -> str:
    """Do one thing to a checkpoint, and return the name of the file it was done to."""
    name = rng.choice(["tensors.safetensors", "state.json", "manifest.json"])
    file = newest / name
    data = bytearray(file.read_bytes())
    kind = rng.choice(["flip", "flip", "truncate", "extend", "delete", "swap", "zero", "empty"])
    if kind == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[rng.randrange(len(data)) :]
    elif kind == "extend":
        data += rng.randbytes(rng.randrange(1, 9))
    elif kind == "swap":
        data = bytearray((older / name).read_bytes())
    elif kind == "zero":
        start = rng.randrange(len(data))
        while not any(data[start : start + 64]):
            start = rng.randrange(len(data))
        data[start : start + 64] = bytes(len(data[start : start + 64]))
    elif kind == "empty":
        data.clear()
    if kind == "delete":
        file.unlink()
    else:
        assert bytes(data) != file.read_bytes()
        file.write_bytes(data)
    return name


def test_a_hundred_injuries_are_all_found(tmp_path: Path) -> None:
    rng = random.Random(1)
    good = tmp_path / "good"
    rng_state = torch.get_rng_state()
    for step in (10, 20):
        state = {"w": torch.full((20, 20), float(step)), "rng": rng_state, "tree": [step] * 50, "loss": step / 7}
        checkpoint.write(good, step, state, META)
    for case in range(100):
        root = tmp_path / str(case)
        shutil.copytree(good, root)
        name = injure(root / "step-000020", root / "step-000010", rng)
        with pytest.raises(CheckpointError) as caught:
            checkpoint.read(root / "step-000020")
        assert name in str(caught.value), case
        warnings: list[str] = []
        found = checkpoint.newest_intact(root, warn=warnings.append)
        assert found is not None
        assert found.step == 10
        assert len(warnings) == 1
        assert f"step-000020/{name}" in warnings[0]
        shutil.rmtree(root)


def test_every_byte_of_the_manifest_counts(tmp_path: Path) -> None:
    (path,) = written(tmp_path, 1)
    manifest = path / "manifest.json"
    good = manifest.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        manifest.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            checkpoint.read(path)


def test_with_none_left_the_error_names_every_file(tmp_path: Path) -> None:
    first, second = written(tmp_path, 1, 2)
    (first / "state.json").unlink()
    (second / "tensors.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-000002/tensors\.safetensors.*step-000001/state\.json") as caught:
        checkpoint.newest_intact(tmp_path, warn=print)
    assert caught.value.exit_code == 5
    assert checkpoint.newest_intact(tmp_path / "none", warn=print) is None


def test_renamed_and_linked_checkpoints_are_found(tmp_path: Path) -> None:
    first, second = written(tmp_path, 1, 2)
    first.rename(tmp_path / "step-000009")
    with pytest.raises(CheckpointError, match=r"manifest\.json: belongs to step-000001"):
        checkpoint.read(tmp_path / "step-000009")
    with pytest.raises(CheckpointError, match="not a checkpoint's name"):
        checkpoint.read(tmp_path)
    if os.name != "nt":
        (second / "state.json").rename(tmp_path / "elsewhere")
        (second / "state.json").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(CheckpointError, match=r"state\.json: missing"):
            checkpoint.read(second)


def test_going_back_moves_the_damaged_ones_away(tmp_path: Path) -> None:
    first, second = written(tmp_path, 1, 2)
    (second / "state.json").unlink()
    found = checkpoint.newest_intact(tmp_path, warn=print)
    assert found is not None
    checkpoint.drop_newer(tmp_path, found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged-step-000002", first.name]


# --- hostile checkpoints: their hashes are right, what they claim is not --------------------------------------------


def reseal(path: Path, change: Any = None) -> None:
    """Make a manifest that fits the files as they are now, with one change of its own."""
    body = json.loads((path / "manifest.json").read_bytes())["manifest"]
    for name, entry in body["files"].items():
        if (path / name).is_file():
            entry.update(size=(path / name).stat().st_size, sha256=durable.file_hash(path / name))
    if change is not None:
        change(body)
    (path / "manifest.json").write_bytes(checkpoint._manifest_bytes(body))


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b["files"].update({"../../etc/passwd": {"size": 1, "sha256": "0" * 64}}),
        lambda b: b["files"]["state.json"].update(size=-1),
        lambda b: b["files"]["state.json"].update(size=10**30),
        lambda b: b["files"]["state.json"].update(size="many"),
        lambda b: b["files"]["state.json"].clear(),
        lambda b: b.update(files=[]),
        lambda b: b.update(files={}),
        lambda b: b.update(format=2),
        lambda b: b["meta"].update(step=True),
        lambda b: b["meta"].update(prefix="../x"),
        lambda b: b.pop("meta"),
    ],
)
def test_hostile_manifests_are_refused(tmp_path: Path, change: Any) -> None:
    (path,) = written(tmp_path, 1)
    reseal(path, change)
    with pytest.raises(CheckpointError):
        checkpoint.read(path)


def header(claims: Any) -> bytes:
    text = json.dumps(claims).encode() if not isinstance(claims, bytes) else claims
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "tensors",
    [
        (10**15).to_bytes(8, "little") + b"{}",
        header({str(i): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(100_001)}),
        header({"0": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}) + b"abcd",
        header({"0": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 10**12]}}) + b"abcd",
        header(b"[" * 100_000),
        b"",
    ],
)
def test_hostile_tensor_files_are_refused_before_anything_is_allocated(tmp_path: Path, tensors: bytes) -> None:
    (path,) = written(tmp_path, 1)
    (path / "tensors.safetensors").write_bytes(tensors)
    reseal(path)
    with pytest.raises(CheckpointError):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "tree",
    [
        {"torch": True, "state": {"$tensor": "99", "kind": "torch"}},
        {"torch": True, "state": {"$tensor": "0", "kind": "torch", "dtype": "load", "shape": [1]}},
        {"torch": True, "state": {"$tensor": "0", "kind": "torch", "dtype": "uint8", "shape": [10**18]}},
        {"torch": False, "state": {"$tensor": "1", "kind": "numpy", "dtype": "O", "shape": [1]}},
        {"torch": False, "state": {"$float": "__import__('os')"}},
        {"torch": False, "state": {"$dict": 5}},
        {"state": 1},
        [],
    ],
)
def test_hostile_trees_are_refused(tmp_path: Path, tree: Any) -> None:
    (path,) = written(tmp_path, 1)
    (path / "state.json").write_text(json.dumps(tree))
    reseal(path)
    with pytest.raises(CheckpointError):
        checkpoint.read(path)
    (path / "state.json").write_text("[" * 200_000)
    reseal(path)
    with pytest.raises(CheckpointError):
        checkpoint.read(path)


# --- full and read-only disks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["sync_file", "sync_directory", "save_tensors"])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    written(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, function, full)
        with pytest.raises(OSError, match="No space left"):
            written(tmp_path, 2)
    found = checkpoint.newest_intact(tmp_path, warn=print)
    assert found is not None
    assert found.step == 1
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]


def test_a_file_size_limit_is_an_oserror_also_inside_safetensors(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of processes are a POSIX matter")
    del resource
    code = (
        "import resource, sys, pathlib, numpy; from scratch_cli import checkpoint as c\n"
        "root = pathlib.Path(sys.argv[1]); c.write(root, 1, {'a': numpy.zeros(10)}, {})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: c.write(root, 2, {'a': numpy.zeros(100_000)}, {})\n"
        "except OSError as error: print(error.errno)\n"
        "assert c.newest_intact(root, warn=print).step == 1; assert len(list(root.iterdir())) == 1"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(errno.EFBIG)


def test_only_dense_json_types_and_names_are_known() -> None:
    assert state_tree.STATE == "state.json"
    with pytest.raises(state_tree.BadTree):
        state_tree.decode({"$tensor": "0", "kind": "torch"}, {})
