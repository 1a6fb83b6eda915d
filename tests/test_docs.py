"""Every page of the guide does what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from scratch_cli import progress

DOCS = Path(__file__).parent.parent / "docs"
runner = runpy.run_path(str(Path(__file__).with_name("docs_runner.py")))
PAGES = sorted(DOCS.glob("*.md"))
ELSEWHERE = {"writing-a-plugin.md"}  # tests/test_writing_a_plugin.py


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    runner["run_page"](page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_word_that_a_run_shows_is_explained() -> None:
    text = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    words = [label for _, label, _ in progress.SHOWN]
    words += ["reward", "held-out greedy", "held-out sampled", "tokens/s"]
    missing = [word for word in words if f"\n| {word} |" not in text]
    assert not missing


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_of_the_shells_that_are_named(shell: str, word: str, tmp_path: Path) -> None:
    line = f"_SCRATCH_COMPLETE={shell}_source scratch"
    assert line in (DOCS / "getting-started.md").read_text(encoding="utf-8")
    variables = {**runner["environment"](tmp_path), "_SCRATCH_COMPLETE": f"{shell}_source"}
    code, output = runner["execute"](["scratch"], tmp_path, variables)
    assert code == 0, output
    assert word in output


def test_completion_completes_commands_and_parts(tmp_path: Path) -> None:
    def completed(*words: str) -> str:
        variables = {
            **runner["environment"](tmp_path),
            "_SCRATCH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["scratch", *words]),
            "COMP_CWORD": str(len(words)),
        }
        return str(runner["execute"](["scratch"], tmp_path, variables)[1])

    assert "plain,generate" in completed("gen")
    assert "plain,grpo" in completed("run", "--trainer", "gr")


# --- the runner itself ---------------------------------------------------------------------------------------------


def test_runner_finds_a_command_that_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```console\n$ python -c "raise SystemExit(3)"\n```\n')
    with pytest.raises(AssertionError, match="exit code 3, the page says 0"):
        runner["run_page"](page, tmp_path)
    page.write_text('```console\n$ python -c "raise SystemExit(3)"\n$ echo $?\n3\n```\n')
    runner["run_page"](page, tmp_path)


def test_runner_finds_output_that_differs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for shown, fits in (("a 1\nb", True), ("a ...\nb", True), ("...\nb", True), ("a 1", False), ("...\nc", False)):
        page.write_text(f"```console\n$ python -c \"print('a 1'); print('b')\"\n{shown}\n```\n")
        if fits:
            runner["run_page"](page, tmp_path)
        else:
            with pytest.raises(AssertionError, match="does not match what the page shows"):
                runner["run_page"](page, tmp_path)


def test_runner_finds_python_that_fails_and_blocks_it_does_not_know(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '```text title="sub/x.txt"\nhello\n```\n```python\nassert open("sub/x.txt").read() == "hello\\n"\n```\n'
    )
    runner["run_page"](page, tmp_path)
    page.write_text("```python\nraise KeyError\n```\n")
    with pytest.raises(AssertionError, match="KeyError"):
        runner["run_page"](page, tmp_path)
    for text in ("```\nno language\n```\n", "```cobol\n```\n", "```console\noutput first\n```\n"):
        page.write_text(text)
        with pytest.raises(AssertionError):
            runner["run_page"](page, tmp_path)


def test_runner_appends_what_the_comment_says(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- tested with: x y -->\n```console\n$ python -c \"import sys; print(sys.argv[1:])\"\n['x', 'y']\n```\n"
    )
    runner["run_page"](page, tmp_path)
