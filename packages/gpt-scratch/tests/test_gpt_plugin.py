"""What is registered can be built, and listing it imports nothing heavy."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from typing import Any

from gpt_scratch import plugin


def registered() -> dict[str, tuple[str, dict[str, Any]]]:
    parts = {}

    def register(name: str, target: str, **rest: Any) -> None:
        parts[name] = (target, rest)

    plugin.register_models(register)
    plugin.register_trainers(register)
    return parts


def resolve(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def test_parts_resolve_and_smoke_options_are_options() -> None:
    parts = registered()
    assert parts.keys() == {"gpt", "bigram", "pretrain"}
    for target, rest in parts.values():
        assert isinstance(resolve(target), type)
        config = resolve(rest["config"])
        config(**rest.get("smoke", {}))
        assert rest.get("smoke", {}).keys() <= {field.name for field in dataclasses.fields(config)}


def test_listing_parts_imports_no_torch() -> None:
    code = (
        "import sys, gpt_scratch.plugin, gpt_scratch.config\n"
        "heavy = {'torch', 'numpy', 'safetensors', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
