"""The commands in the README print what it shows, where `...` stands for anything."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the commands need the extra cli")

README = Path(__file__).parent.parent / "README.md"


def test_the_commands_print_what_is_shown(tmp_path):
    text = README.read_text(encoding="utf-8")
    for title, body in re.findall(r'^```text title="([^"]+)"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE):
        (tmp_path / title).write_text(body, encoding="utf-8", newline="\n")
    (console,) = re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    commands = re.findall(r"^\$ scratch tokenize (.*)\n((?:(?!\$ ).*\n)*)", console, re.MULTILINE)
    assert {command.split()[0] for command, _ in commands} == {
        "train", "encode", "decode", "view", "compare", "prepare",
    }  # fmt: skip
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONUTF8": "1"}
    for command, shown in commands:
        done = subprocess.run(
            [sys.executable, "-m", "tokenizers_scratch", *shlex.split(command)], cwd=tmp_path, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        printed = "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())
        pattern = "".join(
            r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"\n"
            for line in shown.splitlines()
        )
        assert re.fullmatch(pattern, printed), f"$ {command}\n{printed}"
