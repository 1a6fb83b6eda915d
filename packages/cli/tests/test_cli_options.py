"""The tables of options in READMEs are written from the configs, and found out when they are old."""

from __future__ import annotations

from pathlib import Path

import pytest

from scratch_cli import options
from scratch_cli.errors import UsageError
from scratch_cli.plan import RunConfig
from scratch_cli.registry import discover

README = "# Title\n\ntext\n\n<!-- options:start -->\nold\n<!-- options:end -->\n\nmore\n"


@pytest.fixture
def project(good, tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "good-parts"\n', encoding="utf-8")
    (folder / "README.md").write_text(README, encoding="utf-8")
    return folder / "README.md"


def test_a_table_is_written_checked_and_kept(good, project, monkeypatch, capsys):
    monkeypatch.setattr(options, "discover", lambda: discover(good.entry_points()))
    assert options.main(["--check", str(project)]) == 1
    assert "out of date; run: python -m scratch_cli.options --write" in capsys.readouterr().err
    assert project.read_text(encoding="utf-8") == README
    assert options.main(["--write", str(project)]) == 0
    assert options.main(["--check", str(project)]) == 0
    assert options.main(["--write", str(project)]) == 0
    text = project.read_text(encoding="utf-8")
    assert text.startswith("# Title\n\ntext\n\n<!-- options:start -->\n\n**sampler plain**\n\n| option | type |")
    assert "| `sampler.share` | a number | `0.5` | a share |" in text
    assert text.endswith("<!-- options:end -->\n\nmore\n")
    assert "old" not in text


@pytest.mark.parametrize(
    "text", ["none", "<!-- options:start -->", "<!-- options:end --><!-- options:start -->", README * 2]
)
def test_markers_must_be_there_once(good, project, text):
    project.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="must have one line"):
        options.filled(project, discover(good.entry_points()))


def test_what_is_no_readme_of_a_package(tmp_path, capsys):
    assert options.main(["--check", str(tmp_path / "README.md")]) == 2
    assert "needs to be a README beside a pyproject.toml" in capsys.readouterr().err
    assert options.main([]) == 2
    assert options.main(["--chekc", "x"]) == 2
    assert options.main(["--check"]) == 2


def test_the_host_shows_the_options_of_a_run():
    text = options.tables_of("Scratch_CLI", discover([]))
    for option in options.options_of(RunConfig, "run"):
        assert f"| `run.{option.name}` |" in text
        assert option.help


def test_bars_are_escaped_and_no_options_are_said():
    option = options.Option(name="a", type="x | y", default="p|q", help="left | right", paste="")
    assert "| `t.a` | x \\| y | `p\\|q` | left \\| right |" in options.table("t", [option], "t")
    assert options.table("task tiny", [], "task") == "**task tiny** has no options."


def test_own_readme_is_up_to_date():
    readme = Path(__file__).parents[1] / "README.md"
    if not readme.exists():
        pytest.skip("only in a checkout")
    text, wanted = options.filled(readme, discover([]))
    assert text == wanted, "run: python -m scratch_cli.options --write packages/cli/README.md"
