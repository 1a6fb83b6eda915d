"""Kernels are loaded when they are worth it, kept on disk in a place of their own, and missed by nobody."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from tokenizers_scratch.kernels import compiling, disk, loading, machine_code
from tokenizers_scratch.kernels.loading import COMPILE_SECONDS, LOAD_SECONDS, START_SECONDS, VARIABLE, Loader

TRAIN_AND_ENCODE = """
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig
text = "the cat sat on the mat and the hat " * 100
tokenizer = BPETokenizer.train([text], BPEConfig(vocab_size=290))
print(tokenizer.encode(text)[:9], tokenizer.encode_to_numpy(text)[:9].tolist(), tokenizer.encode_batch([text])[0][:9])
"""


TRAIN_SUBWORDS = """
from tokenizers_scratch.config_subword import SentencePieceConfig, UnigramConfig, WordPieceConfig
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.wordpiece import WordPieceTokenizer
text = "the cat sat on the mat and the hat " * 70_000
wordpiece = WordPieceTokenizer.train([text], WordPieceConfig(vocab_size=40))
bpe = SentencePieceTokenizer.train([text], SentencePieceConfig(model="bpe", vocab_size=290))
unigram = UnigramTokenizer.train([text[:999]], UnigramConfig(vocab_size=290))
print([tokenizer.tokenize(text[:99]) for tokenizer in (wordpiece, bpe, unigram)])
"""


def run(code, **environment):
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE} | environment
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=environment
    )


@pytest.mark.parametrize("missing", ["numba", "llvmlite"])
def test_without_numba_plain_python_does_it_and_one_warning_says_so(missing, tmp_path):
    expected = run(TRAIN_AND_ENCODE, **{VARIABLE: "never"})
    assert expected.stderr == ""
    code = f"import sys; sys.modules[{missing!r}] = None; import warnings; warnings.simplefilter('always')\n"
    done = run(code + TRAIN_AND_ENCODE, **{VARIABLE: "always", "NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.stdout == expected.stdout
    assert done.stderr.count("RuntimeWarning") == 1
    assert "RuntimeWarning: numba does not work here (ModuleNotFoundError: " in done.stderr
    assert missing in done.stderr


def test_a_compiler_that_fails_is_like_none(monkeypatch):
    monkeypatch.setenv(VARIABLE, "always")
    monkeypatch.setattr(loading.importlib, "import_module", lambda name: (_ for _ in ()).throw(OSError("no\nLLVM")))
    loader = Loader()
    with pytest.warns(RuntimeWarning, match=r"^numba does not work here \(OSError: no\)"):
        assert loader.encoder(1e9) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loader.trainer(1e9) is None


@pytest.fixture
def imported(monkeypatch):
    """The names of the kernels that are loaded, without loading them."""
    names = []

    class Module:
        Encoder = Trainer = object

        def __init__(self, name):
            self._name = name

        def prepare(self):
            names.append(self._name)

    def import_module(name):
        return Module(name.rpartition(".")[2])

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(loading.importlib, "import_module", import_module)
    return names


@pytest.mark.parametrize(
    ("mode", "compiled", "seconds", "loads"),
    [
        ("auto", True, LOAD_SECONDS * 0.9, False),
        ("auto", True, LOAD_SECONDS * 1.1, True),
        ("auto", False, LOAD_SECONDS * 1.1, False),
        ("auto", False, COMPILE_SECONDS, True),
        ("always", False, 0.0, True),
        ("never", True, 1e9, False),
    ],
)
def test_kernels_are_loaded_if_they_are_worth_it(monkeypatch, imported, mode, compiled, seconds, loads):
    monkeypatch.setenv(VARIABLE, mode)
    monkeypatch.setattr(loading, "is_compiled", lambda name: compiled)
    assert (Loader().trainer(seconds) is not None) == loads
    assert imported == ["trainer"] * loads


def test_loaded_kernels_do_smaller_jobs_too_but_not_the_smallest(monkeypatch, imported):
    monkeypatch.setattr(loading, "is_compiled", lambda name: True)
    loader = Loader()
    assert loader.encoder(1.0) is not None
    assert loader.encoder(START_SECONDS * 2) is not None
    assert loader.encoder(START_SECONDS / 2) is None
    assert loader.trainer(START_SECONDS * 2) is None
    assert imported == ["encoder"]


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "sometimes")
    with pytest.raises(
        ValueError, match=r"^TOKENIZERS_SCRATCH_KERNELS: got 'sometimes', must be auto, always or never"
    ):
        Loader().encoder(1.0)


def test_small_jobs_import_neither_numba_nor_numpy():
    code = (
        "import sys\nfrom tokenizers_scratch.bpe import BPETokenizer\n"
        "from tokenizers_scratch.config import BPEConfig\n"
        "texts = [' '.join(str(i * 7919 + k)) + ' =' for i in range(10_000) for k in range(5)]\n"
        "tokenizer = BPETokenizer.train(texts, BPEConfig())\ntokenizer.encode_batch(texts[:2000])\n"
        "print(sorted({'numba', 'numpy', 'llvmlite'} & set(sys.modules)))"
    )
    assert run(code).stdout == "[]\n"


@pytest.fixture
def fresh_disk(monkeypatch, tmp_path):
    disk.cache_directory.cache_clear()
    monkeypatch.setattr(disk, "__file__", str(tmp_path / "package" / "disk.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "package").mkdir()
    yield tmp_path
    disk.cache_directory.cache_clear()


def test_machine_code_is_kept_beside_the_package(fresh_disk):
    directory = disk.cache_directory()
    assert directory.parent == fresh_disk / "package" / "__pycache__"
    assert list(directory.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
def test_machine_code_is_kept_with_the_user_if_the_package_cannot_be_written_to(fresh_disk):
    (fresh_disk / "package" / "__pycache__").touch()  # no folder; rights alone do not stop a superuser
    assert disk.cache_directory().parent == fresh_disk / "user"


def test_machine_code_is_kept_where_numba_is_told_to(fresh_disk, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(fresh_disk / "mine"))
    assert disk.cache_directory().parent == fresh_disk / "mine"


@pytest.mark.parametrize("job", [TRAIN_AND_ENCODE, TRAIN_SUBWORDS])
def test_compiled_kernels_run_without_numba(job):
    run(job, **{VARIABLE: "always"})
    code = "import sys; sys.modules['numba'] = None\n"
    done = run(code + job, **{VARIABLE: "always"})
    assert done.stderr == ""
    assert done.stdout == run(job, **{VARIABLE: "never"}).stdout


def dot(left, right, start):
    for i in range(left.shape[0]):
        start += left[i] * right[i]
    return start


def add(left, right):
    return left + right


LEFT, RIGHT = np.arange(4.0), np.arange(4)


def new_kernel(monkeypatch, may_compile):
    def refuse(function):
        raise AssertionError("compiled again")

    if not may_compile:
        monkeypatch.setattr(compiling, "_for_numba", refuse)
    return compiling.entry(dot)


def test_machine_code_is_loaded_from_disk(fresh_disk, monkeypatch):
    assert new_kernel(monkeypatch, may_compile=True)(LEFT, RIGHT, 0.5) == 14.5
    assert new_kernel(monkeypatch, may_compile=False)(LEFT, RIGHT, 1.5) == 15.5


def test_damaged_machine_code_is_compiled_again(fresh_disk, monkeypatch):
    assert new_kernel(monkeypatch, may_compile=True)(LEFT, RIGHT, 0.5) == 14.5
    (code,) = disk.cache_directory().glob("*.o")
    whole = code.read_bytes()
    code.write_bytes(whole[:-1])
    assert new_kernel(monkeypatch, may_compile=True)(LEFT, RIGHT, 0.5) == 14.5
    assert len(code.read_bytes()) == len(whole)
    for damaged in ("{", "[]", "{}"):
        code.with_suffix(".json").write_text(damaged)
        assert new_kernel(monkeypatch, may_compile=True)(LEFT, RIGHT, 0.5) == 14.5


def test_without_any_place_kernels_still_work(fresh_disk, monkeypatch):
    monkeypatch.setattr(disk, "_parents", lambda: iter(()))
    assert disk.cache_directory() is None
    assert not disk.is_compiled("encoder")
    disk.say_compiled("encoder")
    assert new_kernel(monkeypatch, may_compile=True)(LEFT, RIGHT, 0.5) == 14.5


def test_a_kernel_takes_only_what_it_was_compiled_for(fresh_disk, monkeypatch):
    kernel = new_kernel(monkeypatch, may_compile=True)
    kernel(LEFT, RIGHT, 0.5)
    for arguments in [
        (RIGHT, RIGHT, 0.5),
        (LEFT, RIGHT, 1),
        (LEFT, RIGHT),
        (LEFT[::2], RIGHT, 0.5),
        (LEFT, RIGHT, "1"),
    ]:
        with pytest.raises(TypeError, match="was called with"):
            kernel(*arguments)
    with pytest.raises(TypeError, match="pass 0 or 1"):
        kernel(LEFT, RIGHT, True)


def test_a_numba_that_passes_arguments_otherwise_is_not_trusted(fresh_disk, monkeypatch):
    monkeypatch.setattr(machine_code, "_words", lambda kind: ["i64"])
    with pytest.raises(NotImplementedError, match="this numba passes arguments in another way"):
        new_kernel(monkeypatch, may_compile=True)(LEFT, RIGHT, 0.5)


def test_a_copy_of_a_fixed_argument_has_its_own_address(fresh_disk, monkeypatch):
    kernel = new_kernel(monkeypatch, may_compile=True)
    left = np.ones(4)
    fixed = machine_code.fixed((left, RIGHT))
    duplicate = copy.deepcopy(fixed)
    left[:] = 7.0
    assert compiling.entry(dot)(left, RIGHT, 0.0) == kernel(*fixed.value, 0.0) == 42.0
    assert fixed.numbers != duplicate.numbers
    assert duplicate.value[0].tolist() == [1.0] * 4


def test_an_edit_of_any_kernel_leads_to_another_folder(fresh_disk):
    (fresh_disk / "package" / "one.py").write_text("1")
    before = disk._fingerprint()
    (fresh_disk / "package" / "one.py").write_text("2")
    assert disk._fingerprint() != before


def test_compiling_is_announced_once(fresh_disk, monkeypatch, capsys):
    monkeypatch.setattr(compiling, "_announced", set())
    for _ in range(2):
        with compiling.compilation("encoder", "the kernels that encode"):
            compiling.entry(dot)(LEFT, RIGHT, 0.5)
            compiling.entry(add)(1, 2)
    assert (
        capsys.readouterr().err == "tokenizers-scratch: compiling the kernels that encode, once for this machine ...\n"
    )
    assert disk.is_compiled("encoder")


def test_nothing_is_announced_if_nothing_is_compiled(fresh_disk, monkeypatch, capsys):
    monkeypatch.setattr(compiling, "_announced", set())
    compiling.entry(add)(1, 2)
    assert "compiling a kernel," in capsys.readouterr().err
    with compiling.compilation("encoder", "the kernels that encode"):
        assert compiling.entry(add)(1, 2) == 3
    assert capsys.readouterr().err == ""


def test_a_failed_compilation_is_not_remembered(fresh_disk):
    with pytest.raises(OSError), compiling.compilation("encoder", "the kernels that encode"):
        raise OSError
    assert not disk.is_compiled("encoder")
