"""Checks for every part, whatever its kind: the registration and the config. Nothing heavy is imported here."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys

from scratch_cli import config as configs
from scratch_cli.errors import ScratchError
from scratch_cli.testing.outcome import CheckFailed, require
from scratch_cli.testing.subject import Subject

HEAVY = ("torch", "transformers", "numba", "numpy", "jax", "tensorflow", "scipy", "pandas", "peft", "datasets")


def check_config_is_frozen(subject: Subject) -> None:
    """The config is a frozen dataclass whose fields are keyword-only, and none of them is called `name`."""
    cls = subject.part.load_config()
    where = subject.part.config
    require(isinstance(cls, type) and dataclasses.is_dataclass(cls), f"{where}: must be a dataclass")
    require(cls.__dataclass_params__.frozen, f"{where}: must be frozen (@dataclass(frozen=True, kw_only=True))")
    for field in dataclasses.fields(cls):
        require(field.kw_only, f"{where}.{field.name}: must be keyword-only")
        require(field.name != "name", f"{where}.name: is taken; `name` in a section names the part")


def check_config_by_default(subject: Subject) -> None:
    """Every option has a default, and the defaults make a valid config."""
    cls = subject.part.load_config()
    try:
        first, second = cls(), cls()
    except (TypeError, ValueError) as error:
        raise CheckFailed(f"{subject.part.config}(): must work without arguments: {error}") from error
    require(first == second, f"{subject.part.config}(): two of them must be equal")


def check_config_options_are_described(subject: Subject) -> None:
    """Every option has a line of help in its metadata."""
    for field in dataclasses.fields(subject.part.load_config()):
        text = field.metadata.get("help", "")
        require(
            isinstance(text, str) and text.strip() and "\n" not in text,
            f'{subject.part.config}.{field.name}: needs field(metadata={{"help": "one line"}})',
        )


def check_config_as_text(subject: Subject) -> None:
    """The defaults can be written as TOML and read back, so that a run can be repeated from its file."""
    cls = subject.part.load_config()
    config = cls()
    try:
        again = configs.build(cls, configs.to_values(config), subject.part.kind)
    except ScratchError as error:
        raise CheckFailed(f"{subject.part.config}: the defaults cannot be read back: {error}") from error
    require(again == config, f"{subject.part.config}: the defaults read back as {again!r}, not as {config!r}")


def check_smoke_options(subject: Subject) -> None:
    """The registered `smoke` options are options of the config, with valid values."""
    try:
        subject.config()
    except ScratchError as error:
        raise CheckFailed(f"smoke options of {subject.part.label}: {error}") from error


def check_registered_names(subject: Subject) -> None:
    """What was registered can be imported, and `data`, warm-start options and needs name things that exist."""
    part = subject.part
    try:
        require(callable(part.load()), f"{part.target}: must be a class")
        fields = configs.field_types(part.load_config())
    except ScratchError as error:
        raise CheckFailed(str(error)) from error
    require(part.data is None or part.data in fields, f"{part.label}: data={part.data!r} is no option of {part.config}")
    if part.kind == "trainer":
        require("steps" in fields, f"{part.config}: a trainer's config needs the option `steps`")


def check_config_is_light(subject: Subject) -> None:
    """Importing the plugin and the config imports nothing heavy: `scratch --help` and `describe` stay quick."""
    part = subject.part
    heavy = _heavy_imports(part.distribution, part.config.partition(":")[0])
    require(not heavy, f"{part.config}: importing the plugin and the config imports {', '.join(heavy)}")


@functools.cache
def _heavy_imports(distribution: str, module: str) -> tuple[str, ...]:
    """What of HEAVY a fresh interpreter imports with the plugin and this module: once for all parts that share it."""
    code = (
        "import importlib, json, sys\n"
        "from scratch_cli.registry import discover\n"
        f"discover(only=[{distribution!r}])\n"
        f"importlib.import_module({module!r})\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    require(done.returncode == 0, f"{module}: cannot be imported alone: {done.stderr.strip()[-500:]}")
    return tuple(json.loads(done.stdout.splitlines()[-1]))


CHECKS = (
    check_config_is_frozen,
    check_config_by_default,
    check_config_options_are_described,
    check_config_as_text,
    check_smoke_options,
    check_registered_names,
    check_config_is_light,
)
