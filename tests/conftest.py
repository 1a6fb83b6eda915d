"""What tests of refusals start from: a finished run and an empty folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from refusals import TINY

from scratch_cli.main import main


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run. Tests that injure it take a copy."""
    directory = tmp_path_factory.mktemp("finished") / "good"
    assert main([*TINY, "--steps", "3", "--set", "run.save_every=1", "--out", str(directory)]) == 0
    return directory


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test works in a folder of its own and with one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRATCH_HOME", raising=False)
    torch = pytest.importorskip("torch", reason="runs need torch")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
