"""What is offered resolves to what is promised, and importing it brings nothing heavy."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys

import pluggy
import pytest

import tokenizers_scratch
from tokenizers_scratch import plugin

MODULES = sorted(module.name for module in pkgutil.iter_modules(tokenizers_scratch.__path__, "tokenizers_scratch."))


def offered():
    parts = {}
    plugin.register_tokenizers(lambda name, target, **options: parts.setdefault(name, (target, options)))
    return parts


def test_the_entry_point_names_the_distribution():
    (point,) = (p for p in importlib.metadata.entry_points(group="scratch") if p.name == "tokenizers-scratch")
    assert point.value == "tokenizers_scratch.plugin"
    assert isinstance(plugin.hookimpl, pluggy.HookimplMarker)


@pytest.mark.parametrize("name", ["byte", "char", "bpe", "hf", "word", "wordpiece", "unigram", "sentencepiece"])
def test_parts_are_what_they_say(name):
    target, options = offered()[name]
    cls = pkgutil.resolve_name(target)
    config = pkgutil.resolve_name(options["config"])
    assert cls.kind == name
    assert ("lossless-unicode" in options["provides"]) == cls.lossless
    assert {"text", "eos"} <= set(options["provides"])
    tokenizer = cls.train(["some text, some text"], dataclasses.replace(config(), **options.get("smoke", {})))
    assert tokenizer.eos_id is not None
    assert tokenizer.decode(tokenizer.encode("some text")) == "some text"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_imported(module):
    importlib.import_module(module)


def test_no_module_imports_anything_heavy():
    code = (
        f"import sys, importlib\nfor name in {MODULES!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'numpy', 'numba', 'transformers', 'tokenizers', 'tiktoken', 'scratch_cli'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_plugin_itself_imports_only_pluggy():
    code = (
        "import sys, pluggy\nbefore = set(sys.modules)\nimport tokenizers_scratch.plugin\n"
        "print(sorted(set(sys.modules) - before - {'__future__', 'typing'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "['tokenizers_scratch', 'tokenizers_scratch.plugin']\n"
