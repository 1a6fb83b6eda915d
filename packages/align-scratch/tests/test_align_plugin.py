"""What the host is told: every name resolves, tiny options are valid, and listing it all imports nothing heavy."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from typing import Any

from align_scratch import plugin


def registered() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}

    def register(name: str, target: str, **rest: Any) -> None:
        found[name] = {"target": target, **rest}

    plugin.register_tasks(register)
    plugin.register_trainers(register)
    return found


def test_every_part_resolves_and_is_tiny_when_told() -> None:
    parts = registered()
    assert {"corpus", "sort", "add", "reverse", "sft", "reward", "grpo"} <= parts.keys()
    for name, part in parts.items():
        assert isinstance(pkgutil.resolve_name(part["target"]), type), name
        options = pkgutil.resolve_name(part["config"])(**part["smoke"])
        assert options != type(options)(), name
        assert part["summary"]


def test_the_warm_start_is_a_trainer_with_valid_options() -> None:
    parts = registered()
    warm_start = parts["grpo"]["warm_start"]
    options = pkgutil.resolve_name(parts[warm_start["trainer"]]["config"])(**warm_start["options"])
    assert 0.3 <= options.stop_at <= 0.5
    assert parts["grpo"]["defaults"]["task"] == "sort"


def test_listing_parts_and_options_imports_neither_torch_nor_siblings() -> None:
    code = (
        "import sys, importlib, pkgutil, align_scratch.plugin, align_scratch.config, align_scratch.tasks;"
        "[importlib.import_module(found.name) for package in (align_scratch.config, align_scratch.tasks)"
        " for found in pkgutil.iter_modules(package.__path__, package.__name__ + '.')];"
        "print([name for name in ('torch', 'numpy', 'inference_scratch', 'scratch_cli') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
