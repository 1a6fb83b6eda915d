"""Runs a page of the guide: writes the files that it shows, then executes its commands and Python, in their order.

What a page may hold, as fenced blocks:

    ```toml title="some/path"     a file; written below the workspace
    ```console                    lines that start with `$ ` are executed, the lines after them are their output
    ```python                     executed in an interpreter of its own
    ```sh, ```text                shown only

Shown output must be the whole output, standard error included. `...` stands for any text in a line, and for any lines
where it stands alone; a command without shown output may print anything. A command has to succeed, unless the next
one is `echo $?`, whose output is then the exit code. `<!-- tested with: ... -->` before a block is appended to its
first command: the page shows what a reader wants, the test takes fewer steps.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"^(?:<!-- tested with: (?P<extra>[^\n]*?) -->\n)?"
    r"```(?P<language>[a-z]+)(?: title=\"(?P<title>[^\"\n]+)\")?\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
SITE = ".site"
"""Below the workspace: where the page's own packages are installed."""
LANGUAGES = {"console", "python", "toml", "json", "sh", "text"}


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    body: str
    extra: str
    """Arguments that the test appends to the first command."""


@dataclass(frozen=True)
class Command:
    line: str
    shown: tuple[str, ...]
    exit_code: int


def blocks(text: str) -> Iterator[Block]:
    found = list(BLOCK.finditer(text))
    fences = len(re.findall(r"^```", text, re.MULTILINE))
    assert fences == 2 * len(found), f"{fences} fences, but {len(found)} blocks were understood"
    for match in found:
        assert match["language"] in LANGUAGES, f"no rule for blocks of {match['language']!r}"
        yield Block(match["language"], match["title"], match["body"], match["extra"] or "")


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block, with the exit code that `echo $?` shows after them."""
    pieces: list[tuple[str, list[str]]] = []
    for line in block.body.splitlines():
        if line.startswith("$ "):
            pieces.append((line[2:], []))
        else:
            assert pieces, f"console block starts with output: {line!r}"
            pieces[-1][1].append(line)
    for index, (line, shown) in enumerate(pieces):
        if line == "echo $?":
            continue
        following = pieces[index + 1] if index + 1 < len(pieces) else ("", [])
        code = int(following[1][0]) if following[0] == "echo $?" else 0
        extra = f" {block.extra}" if index == 0 and block.extra else ""
        yield Command(line + extra, tuple(shown), code)


def output_pattern(shown: tuple[str, ...]) -> re.Pattern[str]:
    lines = [
        r"(?:.*\n)*?" if line == "..." else r".*?".join(map(re.escape, line.rstrip().split("..."))) + r"[ ]*\n"
        for line in shown
    ]
    return re.compile("".join(lines))


def environment(workspace: Path) -> dict[str, str]:
    """What commands see: this interpreter's `scratch` and `python`, and what they have installed in the workspace."""
    ours = ("SCRATCH_", "_SCRATCH_", "PYTEST_")  # settings of whoever runs the tests
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(ours)},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(workspace / SITE), os.environ.get("PYTHONPATH", "")])),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "OMP_NUM_THREADS": "1",
        "PYTHONUTF8": "1",
        "HF_HUB_OFFLINE": "1",
    }


def arguments(line: str) -> list[str]:
    """The words of a command, with this interpreter for `python`, and a `pip install` that touches nothing outside.

    Packages go to a directory of the workspace, without their dependencies, which are all installed already, and
    without a network if the build tool is installed too.
    """
    words = shlex.split(line)
    if words[:2] == ["pip", "install"]:
        offline = importlib.util.find_spec("hatchling") is not None
        extra = ["--no-build-isolation", "--no-index"] if offline else []
        return [sys.executable, "-m", "pip", "install", "--target", SITE, "--no-deps", *extra, *words[2:]]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def execute(argv: list[str], workspace: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        argv,
        cwd=workspace,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    return done.returncode, done.stdout


def run_page(page: Path, workspace: Path) -> None:
    """Write the page's files to `workspace` and run the rest there. AssertionError says which command did what."""
    parts = list(blocks(page.read_text(encoding="utf-8")))
    for part in parts:
        if part.title is not None:
            path = workspace / part.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(part.body, encoding="utf-8")
    variables = environment(workspace)
    for part in parts:
        if part.title is not None:
            continue
        if part.language == "python":
            code, output = execute([sys.executable, "-c", part.body], workspace, variables)
            assert code == 0, f"{page.name}: Python block failed:\n{part.body}\n{output}"
        if part.language == "console":
            for command in commands(part):
                code, output = execute(arguments(command.line), workspace, variables)
                said = f"{page.name}: $ {command.line}\n{output}"
                assert code == command.exit_code, f"{said}exit code {code}, the page says {command.exit_code}"
                if command.shown:
                    fits = output_pattern(command.shown).fullmatch(output)
                    assert fits, f"{said}does not match what the page shows:\n" + "\n".join(command.shown)
