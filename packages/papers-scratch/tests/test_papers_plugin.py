"""What the package tells the host, and what telling it costs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pkgutil import resolve_name

import pluggy

from papers_scratch import plugin


def registered() -> dict[str, tuple[str, dict[str, object]]]:
    calls: dict[str, tuple[str, dict[str, object]]] = {}
    plugin.register_adapters(lambda name, target, **rest: calls.update({name: (target, rest)}))
    return calls


def test_registers_adapters_with_strings_that_resolve():
    for target, rest in registered().values():
        assert rest["needs"] == {"model": ["linear-layers"]}
        assert rest["provides"] == ("adapter",)
        adapter, config = resolve_name(target), resolve_name(str(rest["config"]))
        assert dataclasses.is_dataclass(config)
        for options in ({}, rest["smoke"]):
            assert adapter(config(**options)).config == config(**options)
        assert all(field.metadata.get("help") for field in dataclasses.fields(config))


def test_hook_is_marked_for_the_host():
    manager = pluggy.PluginManager("scratch")
    assert manager.parse_hookimpl_opts(plugin, "register_adapters") is not None


def test_plugin_and_config_import_nothing_heavy():
    code = (
        "import sys, papers_scratch.plugin, papers_scratch.config.lora, papers_scratch.config.frames; "
        "import papers_scratch.config.peft_tinylora, papers_scratch.config.recipes; "
        "heavy = {'torch', 'peft', 'transformers', 'numpy', 'safetensors'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
