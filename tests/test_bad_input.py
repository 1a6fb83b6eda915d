"""Bad input through the real command with the real parts: one clear line, the right exit code, and nothing lost.

Every test says what the line must contain: what is wrong, where, and what to do. The parts are tiny.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from refusals import TINY, contents, nothing_was_written, refused

from scratch_cli.main import main

pytestmark = pytest.mark.usefixtures("empty_folder")
TEXT = [
    "run", "--tokenizer", "byte", "--model", "gpt", "--trainer", "pretrain", "--steps", "2",
    "--set", "model.n_layer=1", "--set", "model.n_head=2", "--set", "model.n_embd=16", "--set", "trainer.context=8",
]  # fmt: skip


# --- what is typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--tokenizer", "bep"], ["tokenizer 'bep'", "did you mean 'bpe'?", "byte, char"]),
        (["--model", "gptt"], ["model 'gptt'", "did you mean 'gpt'?", "bigram"]),
        (["--trainer", "gropo"], ["trainer 'gropo'", "did you mean 'grpo'?", "sft"]),
        (["--task", "sorted"], ["task 'sorted'", "did you mean 'sort'?", "add"]),
        (["--adapter", "lore"], ["adapter 'lore'", "did you mean 'lora'?"]),
        (["--tokeniser", "bpe"], ["--tokeniser", "--tokenizer", "scratch run --help"]),
        (["--set", "model.n_layers=2"], ["model.n_layers", "did you mean 'n_layer'?", "n_head"]),
        (["--set", "trainer.larning_rate=1"], ["trainer.larning_rate", "there is no such option", "lr"]),
        (["--set", "modle.n_layer=2"], ["section 'modle'", "did you mean 'model'?", "warm_start"]),
        (["--set", "n_layer=2"], ["'n_layer=2'", "kind.field=value", "model.n_layer=2"]),
    ],
)  # fmt: skip
def test_misspelt(capsys: pytest.CaptureFixture[str], arguments: list[str], texts: list[str]) -> None:
    line = refused(capsys, 2, "run", *arguments)
    for text in texts:
        assert text in line
    assert nothing_was_written()


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        ("model.n_layer=two", ["model.n_layer", "'two'", "must be a whole number"]),
        ("model.n_layer=2.5", ["model.n_layer", "2.5", "must be a whole number"]),
        ("model.bias=1", ["model.bias", "1", "must be true or false"]),
        ("trainer.lr=nan", ["trainer.lr", "'nan'", "must be a number"]),
        ("trainer.lr=[1]", ["trainer.lr", "[1]", "must be a number"]),
        ("trainer.group_size=true", ["trainer.group_size", "true", "must be a whole number"]),
        ("model.n_embd=63", ["model.n_embd", "63", "must be a multiple of n_head"]),
        ("run.seed=-1", ["run.seed", "-1", "must be in 0"]),
        ("trainer.steps=0", ["trainer.steps", "0", "must be"]),
        ("run.device=gpu", ["run.device", "'gpu'", "'cpu' or 'cuda'"]),
    ],
)
def test_wrong_type_or_value(capsys: pytest.CaptureFixture[str], setting: str, texts: list[str]) -> None:
    line = refused(capsys, 2, "run", "--set", setting)
    for text in texts:
        assert text in line
    assert nothing_was_written()


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"[model\nn_layer = 2\n", ["is not valid TOML", "line 1"]),
        (b"[model]\nn_layer = \n", ["is not valid TOML", "line 2"]),
        (b"\x80\x04\x95\x00 a pickle, say", ["line 1", "is not UTF-8", "must be a TOML file"]),
        (b"PK\x03\x04 an archive", ["is not valid TOML", "line 1"]),
        (b"n_layer = 2\n", ["'n_layer'", "outside of any section", "[model]"]),
        (b"[modell]\nn_layer = 2\n", ["section 'modell'", "did you mean 'model'?"]),
        (b"[model]\nn_layr = 2\n", ["model.n_layr", "did you mean 'n_layer'?"]),
        (b"[model]\nn_layer = '2'\n", ["model.n_layer", "the text '2'", "must be a whole number"]),
        (b"x = " + b"[" * 5000 + b"]" * 5000, ["nested too deeply"]),
        (b"#" * 2_000_000, ["is larger than 1 MiB"]),
    ],
)
def test_a_toml_file_that_is_none(capsys: pytest.CaptureFixture[str], content: bytes, texts: list[str]) -> None:
    Path("plan.toml").write_bytes(content)
    line = refused(capsys, 2, "run", "plan.toml")
    for text in texts:
        assert text in line
    assert "plan.toml" in line or "model.n_lay" in line
    assert nothing_was_written("plan.toml")


def test_a_toml_file_that_is_missing_or_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.toml: cannot be read: No such file" in refused(capsys, 2, "run", "none.toml")
    Path("folder").mkdir()
    assert "folder: is a directory, must be a TOML file" in refused(capsys, 2, "run", "folder")
    assert nothing_was_written("folder")


def test_parts_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, 2, "run", "--model", "skipgram")
    for text in ("trainer 'grpo'", "model 'skipgram'", "'causal-lm'", "models that fit grpo: bigram, gpt", "word2vec"):
        assert text in line
    assert nothing_was_written()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    for command in (["run"], ["generate", finished, "1 2 ="], ["eval", finished]):
        line = refused(capsys, 2, *command, "--device", "cuda")
        for text in ("run.device", "'cuda'", f"torch {torch.__version__}", "--device cpu"):
            assert text in line
    assert nothing_was_written()


# --- data and prompts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", ["byte 0", "empty"]),
        (b" \n\t\n", ["white space only"]),
        (b"text\x00and more\n" * 100, ["byte 4", "binary", "UTF-8 text file is needed"]),
        (b"caf\xe9 au lait\n" * 100, ["byte 3", "0xe9 is not UTF-8", "convert"]),
        ("text\n".encode("utf-16") * 100, ["byte 0", "UTF-16", "convert the file to UTF-8"]),
    ],
    ids=["empty", "blank", "binary", "latin-1", "utf-16"],
)
def test_data_that_is_no_text(capsys: pytest.CaptureFixture[str], content: bytes, texts: list[str]) -> None:
    Path("data.txt").write_bytes(content)
    line = refused(capsys, 3, *TEXT, "--data", "data.txt")
    for text in ["data.txt", *texts]:
        assert text in line
    assert nothing_was_written("data.txt")


def test_data_that_is_missing_or_a_directory_or_for_no_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.txt: cannot be read: No such file" in refused(capsys, 3, *TEXT, "--data", "none.txt")
    assert "is a directory, not a text file" in refused(capsys, 3, *TEXT, "--data", ".")
    Path("data.txt").write_text("words and more words\n" * 50)
    line = refused(capsys, 2, *TINY, "--data", "data.txt")
    assert "task 'sort'" in line
    assert "tasks that read data: choice, corpus, file, gsm8k" in line
    assert nothing_was_written("data.txt")


def test_data_that_is_too_short_leaves_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.txt").write_text("hi")
    line = refused(capsys, 3, *TEXT, "--data", "data.txt")
    for text in ("2 tokens", "one window needs 9", "use more text or a smaller context"):
        assert text in line
    assert nothing_was_written("data.txt")


def test_data_that_changed_since_the_run_began(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.txt").write_text("words and more words\n" * 50)
    assert main([*TEXT, "--data", "data.txt", "--out", "run"]) == 0
    (Path("run") / "result.json").unlink()  # as if it had been interrupted just before the end
    before = contents(Path("run/checkpoints"))
    Path("data.txt").write_text("other words\n" * 50)
    line = refused(capsys, 3, "run", "--resume", "run")
    for text in ("data.txt", "has changed", "its hash was", "restore the file"):
        assert text in line
    Path("data.txt").rename("elsewhere.txt")
    line = refused(capsys, 3, "run", "--resume", "run")
    assert "now there is no such file here" in line
    assert contents(Path("run/checkpoints")) == before


def test_a_prompt_longer_than_the_context(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    line = refused(capsys, 3, "generate", finished, "1 " * 100)
    for text in ("200 tokens", "128 at most", "shorten it"):
        assert text in line
    # One that leaves too little room says so, and gives what fits.
    assert main(["generate", str(finished), "1 " * 60, "--max-new-tokens", "50"]) == 0
    assert "8 are left to generate" in capsys.readouterr().err


def test_a_task_longer_than_the_context_leaves_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, 2, *TINY, "--set", "model.block_size=8", "--out", "run")
    for text in ("model: reads 8 tokens at most", "task's longest prompt", "enlarge the model's context"):
        assert text in line
    assert nothing_was_written()
