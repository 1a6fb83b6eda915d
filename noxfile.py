"""Every check of the project. `nox` runs them all; `nox -l` lists them; `nox -s lint` runs one.

What is proven here that an editable workspace cannot prove: each package, built as its users get it and installed with
nothing but its declared dependencies, imports all of its modules; no package needs one that it may not import; the
wheels work from the files alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CONSTRAINTS = str(ROOT / "constraints.txt")

MAY_IMPORT: dict[str, list[str]] = {
    "cli": [],
    "tokenizers-scratch": [],
    "embeddings-scratch": [],
    "gpt-scratch": [],
    "inference-scratch": [],
    "align-scratch": ["inference-scratch"],
    "papers-scratch": ["align-scratch", "inference-scratch"],
}
"""Who may import whom, by folder under packages/. The only copy of this table: the lint session reads it too."""

ORACLES: dict[str, list[str]] = {
    "cli": ["torch", "scipy"],
    "tokenizers-scratch": ["jinja2", "rustbpe", "scipy", "sentencepiece", "tiktoken", "tokenizers", "transformers"],
    "embeddings-scratch": ["scipy"],
    "gpt-scratch": ["transformers"],
    "inference-scratch": ["transformers", "scipy"],
    "align-scratch": ["pyarrow", "scipy", "trl"],
    "papers-scratch": ["trl"],
}
"""What the tests of a package compare against and the package itself does not need."""

DOCUMENT_TESTS = ["tests/test_docs.py", "tests/test_readme.py", "tests/test_writing_a_plugin.py"]
TEST_TOOLS = ["pytest", "pytest-xdist", "hypothesis"]

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = True

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",  # the models are tiny: a second thread only gets in the way of the second test process
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def path_of(package: str) -> str:
    return str(ROOT / "packages" / package)


def import_name(package: str) -> str:
    return "scratch_cli" if package == "cli" else package.replace("-", "_")


def install(session: nox.Session, *what: str) -> None:
    session.install("-c", CONSTRAINTS, *what, env=ENVIRONMENT)


def pytest(session: nox.Session, *args: str, python: str = "python") -> None:
    workers = str(min(2, os.cpu_count() or 1))
    session.run(
        python, "-m", "pytest", "-q", "-n", workers, "--dist", "worksteal", *args, *session.posargs,
        env=ENVIRONMENT, external=True,
    )  # fmt: skip


@nox.session
@nox.parametrize("package", list(MAY_IMPORT), ids=list(MAY_IMPORT))
def isolated(session: nox.Session, package: str) -> None:
    """One package as its users get it: every module imports, forbidden siblings are absent, its tests pass."""
    allowed = MAY_IMPORT[package]
    install(session, path_of(package), *map(path_of, allowed))
    forbidden = [import_name(other) for other in MAY_IMPORT if other != package and other not in allowed]
    session.run("python", str(ROOT / "tests" / "import_everything.py"), import_name(package), *forbidden)
    kit = path_of("cli") + "[testing]"
    install(session, *TEST_TOOLS, *ORACLES[package], kit)
    session.chdir(session.create_tmp())  # so that nothing is imported from the source tree
    pytest(session, "-c", str(ROOT / "pyproject.toml"), str(ROOT / "packages" / package / "tests"))


@nox.session(default=False)
def environment(session: nox.Session) -> None:
    """All seven packages and every test tool in one environment, which the sessions below share."""
    oracles = sorted({name for names in ORACLES.values() for name in names})
    install(
        session, *map(path_of, MAY_IMPORT), path_of("cli") + "[testing]", *TEST_TOOLS, *oracles, "mypy", "hatchling"
    )


def shared_python() -> str:
    folder = ROOT / ".nox" / "environment"
    return str(folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python")


@nox.session(venv_backend="none", requires=["environment"])
def together(session: nox.Session) -> None:
    """What needs several packages: every combination, the main job, resuming, the rules of the repository."""
    elsewhere = [f"--ignore={test}" for test in (*DOCUMENT_TESTS, "tests/test_contracts.py")]
    pytest(session, "tests", *elsewhere, python=shared_python())


@nox.session(venv_backend="none", requires=["environment"])
def contracts(session: nox.Session) -> None:
    """The contract kit on every part that is installed."""
    pytest(session, "tests/test_contracts.py", python=shared_python())


@nox.session(venv_backend="none", requires=["environment"])
def types(session: nox.Session) -> None:
    """mypy --strict over all packages, and the proof that parts, protocols and contracts agree."""
    sources = [str(ROOT / "packages" / package / "src" / import_name(package)) for package in MAY_IMPORT]
    session.run(shared_python(), "-m", "mypy", *sources, "tests/typing", external=True)


@nox.session(venv_backend="none", requires=["environment"])
def docs(session: nox.Session) -> None:
    """Every command and snippet of README, guide and plugin guide runs; the option tables are up to date."""
    python = shared_python()
    readmes = [str(Path(path_of(package)) / "README.md") for package in MAY_IMPORT]
    session.run(python, "-m", "scratch_cli.options", "--check", *readmes, external=True)
    pytest(session, *DOCUMENT_TESTS, python=python)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, unsafe calls, and the table of imports."""
    session.install("-c", CONSTRAINTS, "ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    config = Path(session.create_tmp()) / "importlinter.ini"
    config.write_text(import_contracts(), encoding="utf-8")
    sources = os.pathsep.join(str(Path(path_of(package)) / "src") for package in MAY_IMPORT)
    session.run("lint-imports", "--config", str(config), "--no-cache", env={"PYTHONPATH": sources})


def import_contracts() -> str:
    """The table of imports in import-linter's words."""
    lines = ["[importlinter]", "root_packages ="]
    lines += [f"    {import_name(package)}" for package in MAY_IMPORT]
    for package, allowed in MAY_IMPORT.items():
        others = [import_name(other) for other in MAY_IMPORT if other != package and other not in allowed]
        lines += [
            "",
            f"[importlinter:contract:{package}]",
            f"name = {package} imports {' and '.join(allowed) or 'none of ours'}",
            "type = forbidden",
            "source_modules =",
            f"    {import_name(package)}",
            "forbidden_modules =",
            *[f"    {other}" for other in others],
        ]
    return "\n".join(lines) + "\n"


@nox.session
def build(session: nox.Session) -> None:
    """Wheels of all seven, installed from the files into an empty environment; the command starts."""
    wheels = Path(session.create_tmp()) / "wheels"
    for old in wheels.glob("*.whl"):
        old.unlink()
    session.run(
        "python", "-m", "pip", "wheel", "--no-deps", "-w", str(wheels), *map(path_of, MAY_IMPORT), env=ENVIRONMENT
    )
    files = sorted(str(wheel) for wheel in wheels.glob("*.whl"))
    if len(files) != len(MAY_IMPORT):
        session.error(f"expected {len(MAY_IMPORT)} wheels, found {len(files)}: {files}")
    install(session, *files)
    session.run("scratch", "--help", silent=True)
    session.run("scratch", "plugins", silent=True)
