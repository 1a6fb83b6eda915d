"""A package's own command, through the host: listed, run, and its errors in the host's one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def scratch(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scratch_cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_tokenizer_is_trained_and_data_made_of_it(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 9, encoding="utf-8")
    done = scratch("tokenize", "train", "text.txt", "--vocab-size", "270", "--out", "tok", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    done = scratch("tokenize", "prepare", "text.txt", "-t", "tok", "-o", "data", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"documents": 1' in done.stdout
    done = scratch("tokenize", "encode", "missing.txt", "-t", "tok", folder=tmp_path)
    assert (done.returncode, done.stderr) == (3, "error: missing.txt: No such file or directory\n")
    done = scratch("tokenize", "train", "text.txt", "-t", "klingon", "-o", "other", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no tokenizer 'klingon'; there are byte, ")
    assert "tokenize " in scratch("--help", folder=tmp_path).stdout
