"""What a saved part may consist of."""

from __future__ import annotations

from pathlib import Path

from scratch_cli.testing.outcome import require

_PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"}


def require_plain_files(directory: Path) -> None:
    """Something was saved, and nothing in it is a format that can hold a pickle."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    require(files, "save() wrote no file")
    for path in files:
        name = path.relative_to(directory)
        with path.open("rb") as file:
            start = file.read(8)
        pickled = path.suffix in _PICKLE_SUFFIXES or start.startswith(
            (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        )
        require(not pickled, f"save() wrote {name}, which can hold a pickle; use JSON and safetensors")
