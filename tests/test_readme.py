"""The first page keeps its word: its commands run, its links lead somewhere, its lists are complete."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

from scratch_cli.registry import KINDS, discover

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
runner = runpy.run_path(str(Path(__file__).with_name("docs_runner.py")))


def test_it_opens_with_the_two_commands() -> None:
    first = re.search(r"```\w*\n(.*?)```", README, re.DOTALL)
    assert first is not None
    assert README.index(first.group()) < 60
    set_up, check = first.group(1).splitlines()
    assert set_up.split("&&")[1].strip() == "scratch run --tokenizer bpe --model gpt --trainer grpo"
    assert check == "pip install nox  &&  nox"
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.sub(r"\s+", " ", check) in ci, "what is promised is what is executed"


def test_its_commands_run(tmp_path: Path) -> None:
    shutil.copy(ROOT / "README.md", tmp_path)
    runner["run_page"](ROOT / "README.md", tmp_path)


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_its_table_lists_every_part() -> None:
    registry = discover()
    parts = README[README.index("## Parts") :]
    for kind in KINDS:
        row = re.search(rf"^\| {kind} \| (.*) \|$", parts, re.MULTILINE)
        assert row is not None, kind
        assert set(re.findall(r"`([^`]+)`", row.group(1))) == {part.name for part in registry.parts(kind)}, kind
