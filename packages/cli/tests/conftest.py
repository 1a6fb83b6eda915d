"""Fake plugins on disk: real distributions with metadata and entry points, in a folder of the test's own."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import textwrap
from pathlib import Path

import pytest

HEADER = 'import pluggy\n\nhookimpl = pluggy.HookimplMarker("scratch")\n\n'


class PluginFolder:
    """Writes distributions that `discover` can be pointed at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules: list[str] = []

    def add(
        self, name: str, source: str, *, version: str = "1.0", entry_point: str | None = None, header: str = HEADER
    ) -> None:
        """A distribution whose module `<name>_plugin` holds this source, with `pluggy` and `hookimpl` there."""
        module = name.replace("-", "_") + "_plugin"
        self.module(module, header + textwrap.dedent(source))
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[scratch]\n{entry_point or name} = {module}\n", encoding="utf-8")

    def module(self, name: str, source: str) -> None:
        (self.path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        self.modules.append(name)

    def entry_points(self) -> list[importlib.metadata.EntryPoint]:
        importlib.invalidate_caches()  # they go by the folder's time, which is too coarse for a test
        found = importlib.metadata.distributions(path=[str(self.path)])
        return [ep for distribution in found for ep in distribution.entry_points]


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    made = PluginFolder(folder)
    yield made
    for name in made.modules:
        sys.modules.pop(name, None)


@pytest.fixture
def good(plugins: PluginFolder) -> PluginFolder:
    """One healthy plugin, `good-parts`, sorted between the broken ones of the tests."""
    plugins.add(
        "good-parts",
        """
        @hookimpl
        def register_samplers(register):
            register("plain", "good_parts:Plain", config="good_parts:PlainConfig", summary="a sampler")

        @hookimpl
        def register_commands(register):
            register("hello", "good_parts:hello", summary="say hello")
        """,
        version="2.3",
    )
    plugins.module(
        "good_parts",
        """
        import click
        from dataclasses import dataclass, field

        @dataclass(frozen=True, kw_only=True)
        class PlainConfig:
            share: float = field(default=0.5, metadata={"help": "a share"})

        class Plain:
            def __init__(self, config): self.config = config

        @click.command()
        def hello():
            click.echo("hello")
        """,
    )
    return plugins
