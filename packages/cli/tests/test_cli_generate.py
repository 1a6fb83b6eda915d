"""The command `generate`: streams what the model of a run says."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import scratch

pytest.importorskip("torch", reason="generation needs a model with a cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    assert scratch("run", "--out", path, "--trainer", "count", "--steps", 5, "-q") == 0
    return path


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


def test_the_same_seed_gives_the_same_text(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    texts = []
    for seed in (3, 3, 4):
        assert scratch("generate", run, "abc", "--seed", seed, "--set", "sampler.temperature=5.0", "-n", 5) == 0
        texts.append(capfd.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    parts = texts[0].removesuffix("\n").split("\n---\n")
    assert len(parts) == 5
    assert set("".join(parts)) <= set("abc")


def test_the_prompt_may_come_from_stdin(
    run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scratch("generate", run, "ab") == 0
    expected = capfd.readouterr().out
    stdin(monkeypatch, b"ab\n")
    assert scratch("generate", run) == 0
    assert capfd.readouterr().out == expected


def test_an_empty_prompt_begins_with_the_end_mark(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert scratch("generate", run, "", "--max-new-tokens", 9) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("code", "text", "prompt", "args"),
    [
        (3, "the prompt has 64 tokens, but the model reads 64 at most", b"a" * 64, []),
        (3, "byte 1 is not UTF-8", b"a\xff", []),
        (3, "longer than", b"a" * (1 << 20) + b"a", []),
        (2, "only options of the sampler", b"a", ["--set", "model.width=1"]),
        (2, "there is no sampler 'drow', did you mean 'draw'", b"a", ["--sampler", "drow"]),
        (2, "sampler.temperatur", b"a", ["--set", "sampler.temperatur=1"]),
        (2, "--max-new-tokens", b"a", ["--max-new-tokens", 0]),
    ],
)
def test_bad_input_is_one_line(
    run: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    text: str,
    prompt: bytes,
    args: list[str],
) -> None:
    stdin(monkeypatch, prompt)
    assert scratch("generate", run, *args) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert text in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_long_completion_is_cut_where_the_context_ends_and_says_so(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert scratch("generate", run, "ab", "--max-new-tokens", 1000) == 0
    out, err = capfd.readouterr()
    assert "62 are left to generate" in err
    assert len(out) <= 63


def test_unfinished_runs_generate_from_their_newest_checkpoint(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    assert scratch("generate", run, "abc") == 0
    expected = capfd.readouterr().out
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/result.json").unlink()
    shutil.rmtree(tmp_path / "run/model")
    assert scratch("generate", tmp_path / "run", "abc") == 0
    out, err = capfd.readouterr()
    assert "is not finished; using step-000005" in err
    assert out == expected
    shutil.rmtree(tmp_path / "run/checkpoints")
    assert scratch("generate", tmp_path / "run", "abc") == 2
    assert "scratch run --resume" in capfd.readouterr().err


def test_models_that_cannot_generate_say_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert scratch("run", "--out", tmp_path / "run", "--trainer", "climb", "-q") == 0
    assert scratch("generate", tmp_path / "run", "abc") == 2
    assert "model 'table' (scratch-fakes 0.1) cannot continue a prompt" in capfd.readouterr().err
    assert scratch("generate", tmp_path, "abc") == 2
    assert "is not the directory of a run" in capfd.readouterr().err


def test_changed_files_are_refused(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import shutil

    shutil.copytree(run, tmp_path / "run")
    model = tmp_path / "run/model/p"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    assert scratch("generate", tmp_path / "run", "abc") == 5
    assert "is not the model of this run" in capfd.readouterr().err
