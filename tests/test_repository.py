"""The rules of the repository that no linter knows: nothing unsafe, no grab bags, versions that agree."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(path for path in (ROOT / "packages").iterdir() if (path / "pyproject.toml").exists())
SOURCES = sorted(source for package in PACKAGES for source in (package / "src").rglob("*.py"))

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_ATTRIBUTES = {("torch", "load"), ("torch", "save"), ("sympy", "sympify"), ("numpy", "load"), ("np", "load")}
GRAB_BAGS = {"utils", "util", "common", "helpers", "helper", "misc", "core"}


def unsafe_uses(tree: ast.AST) -> Iterator[str]:
    """What a file, a model or a user says is never executed, so the means to do it do not occur at all."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"import {n.name}" for n in names if n.name.split(".")[0] in UNSAFE_MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNSAFE_MODULES:
                yield f"from {module} import"
            case ast.Call(func=ast.Name(id=name)) if name in UNSAFE_CALLS:
                yield f"{name}()"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=attr)):
                if (owner, attr) in UNSAFE_ATTRIBUTES:
                    yield f"{owner}.{attr}()"


def test_the_scan_finds_what_it_looks_for() -> None:
    source = "import pickle\nfrom joblib import x\neval('1')\nmodel.eval()\ntorch.load(f)\nself.load(f)"
    assert list(unsafe_uses(ast.parse(source))) == ["import pickle", "from joblib import", "eval()", "torch.load()"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "packages")))
def test_nothing_is_executed_or_unpickled(source: Path) -> None:
    found = list(unsafe_uses(ast.parse(source.read_text(encoding="utf-8"))))
    assert not found, f"{source}: {', '.join(found)}"


def test_no_grab_bags() -> None:
    assert not [str(source) for source in SOURCES if source.stem in GRAB_BAGS]


def test_no_package_imports_the_host() -> None:
    pattern = re.compile(r"^\s*(?:import|from)\s+scratch_cli", re.MULTILINE)
    guests = [source for source in SOURCES if "/cli/" not in source.as_posix()]
    assert not [str(source) for source in guests if pattern.search(source.read_text(encoding="utf-8"))]


def project(package: Path) -> dict[str, object]:
    return tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_seven_packages_of_one_version() -> None:
    assert len(PACKAGES) == 7
    assert len({project(package)["version"] for package in PACKAGES}) == 1


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_plugin_is_named_like_its_distribution(package: Path) -> None:
    declared = project(package)
    if package.name == "cli":
        assert declared["scripts"] == {"scratch": "scratch_cli.main:main"}
        return
    name = package.name
    assert declared["name"] == name
    assert declared["entry-points"] == {"scratch": {name: name.replace("-", "_") + ".plugin"}}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_typed_and_described(package: Path) -> None:
    [source] = [path for path in (package / "src").iterdir() if path.is_dir() and not path.name.endswith(".egg-info")]
    assert (source / "py.typed").exists()
    assert len((package / "README.md").read_text(encoding="utf-8")) > 1000


def test_tests_have_names_of_their_own() -> None:
    """pytest and its report tell files apart by name alone."""
    names = [path.name for path in ROOT.glob("packages/*/tests/**/test_*.py")] + [
        p.name for p in ROOT.glob("tests/test_*.py")
    ]
    assert len(names) == len(set(names))
