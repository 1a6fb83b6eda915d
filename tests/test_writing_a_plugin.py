"""The plugin guide is a plugin: written to files, installed, used and broken as the page says."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

import pytest

from scratch_cli import contracts, hookspecs
from scratch_cli.registry import KINDS, Register

PAGE = Path(__file__).parent.parent / "docs" / "writing-a-plugin.md"
run_page = runpy.run_path(str(Path(__file__).with_name("docs_runner.py")))["run_page"]


def test_the_page_runs(tmp_path: Path) -> None:
    run_page(PAGE, tmp_path)


TEXT = PAGE.read_text(encoding="utf-8")
HOOKS = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("register_")]
ARGUMENTS = [name for name in inspect.signature(Register.__call__).parameters if name != "self"]
PROTOCOLS = {"tokenizer": "Tokenizer", "model": "Model", "sampler": "Sampler", "adapter": "Adapter",
             "task": "PreferenceTask", "trainer": "Trainer"}  # fmt: skip


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_explained(name: str) -> None:
    assert re.search(rf"^\| `{name}\(register\)` \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_of_register_is_explained(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_of_every_contract_is_mentioned(kind: str) -> None:
    protocol = getattr(contracts, PROTOCOLS[kind])
    names = {name for cls in protocol.__mro__ for name in vars(cls) if not name.startswith("_")}
    names |= {name for cls in protocol.__mro__ for name in getattr(cls, "__annotations__", {}) if name[0] != "_"}
    start = TEXT.index(f"**{kind.capitalize()}**")
    section = TEXT[start : TEXT.index("\n\n", start)]
    missing = {name for name in names if not re.search(rf"\b{name}\b", section)}
    assert not missing


def test_the_contract_kit_is_told_apart_from_the_host() -> None:
    """The plugin itself imports nothing of ours; its test does."""
    for block in runpy.run_path(str(Path(__file__).with_name("docs_runner.py")))["blocks"](TEXT):
        if block.title and "/src/" in block.title:
            assert "scratch_cli" not in block.body
