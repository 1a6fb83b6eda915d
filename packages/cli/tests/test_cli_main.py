"""The command: quick to start, errors in one line with the right code, nothing imported that is not needed."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from scratch_cli.errors import CheckpointError, DataError, PluginError, RunFailed, ScratchError, UsageError
from scratch_cli.main import OWN_COMMANDS, main
from scratch_cli.registry import Registry, discover

HEAVY = ("torch", "numpy", "transformers", "numba", "rich", "pydantic", "jinja2", "pygal", "safetensors", "tomli_w")


def scratch(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scratch_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, encoding="utf-8", **options)


@pytest.fixture
def faulty(plugins):
    """A package whose commands end in every way there is."""
    plugins.add(
        "faulty",
        """
        WAYS = ("fine", "scratch", "usage", "data", "plugin", "checkpoint", "own", "flag", "bug", "exit", "ctrl_c",
                "lines", "empty", "number")

        @hookimpl
        def register_commands(register):
            for way in WAYS:
                register(way.replace("_", "-"), f"faulty_commands:{way}", summary=f"ends by {way}")
            register("absent", "faulty_commands:absent", summary="is not there")
            register("no-command", "faulty_commands:WAYS", summary="is no command")
            register("no-module", "faulty_nothing:x", summary="has no module")
            register("run", "faulty_commands:fine", summary="would like to be run")
        """,
    )
    plugins.module(
        "faulty_commands",
        """
        import click
        from scratch_cli.errors import *

        WAYS = ()

        class Own(ValueError):
            exit_code = 3

        class Flag(Exception):
            exit_code = True

        def command(error):
            @click.command()
            def run():
                if isinstance(error, BaseException):
                    raise error
                return error
            return run

        fine = command(None)
        number = command(7)
        scratch = command(RunFailed("the loss is gone"))
        usage = command(UsageError("not so"))
        data = command(DataError("a.txt:3: odd"))
        plugin = command(PluginError("missing"))
        checkpoint = command(CheckpointError("torn"))
        own = command(Own("my own error"))
        flag = command(Flag("a flag is no code"))
        bug = command(KeyError("deep inside"))
        exit = command(SystemExit(9))
        ctrl_c = command(KeyboardInterrupt())
        lines = command(UsageError("one\\n  two\\n\\nthree"))
        empty = command(RunFailed())
        """,
    )
    return discover(plugins.entry_points())


@pytest.mark.parametrize(
    ("way", "code", "line"),
    [
        ("fine", 0, ""),
        ("number", 7, ""),
        ("scratch", 1, "error: the loss is gone"),
        ("usage", 2, "error: not so"),
        ("data", 3, "error: a.txt:3: odd"),
        ("plugin", 4, "error: missing"),
        ("checkpoint", 5, "error: torn"),
        ("own", 3, "error: my own error"),
        ("flag", 1, "error: unexpected Flag: a flag is no code; to see where: the same command with --traceback"),
        ("bug", 1, "error: unexpected KeyError: 'deep inside'; to see where: the same command with --traceback"),
        ("ctrl-c", 130, "stopped"),
        ("lines", 2, "error: one two three"),
        ("empty", 1, "error: RunFailed"),
    ],
)
def test_endings(faulty, way, code, line, capfd):
    assert main([way], registry=faulty) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.strip("\n") == line


def test_a_command_may_exit_by_itself(faulty):
    with pytest.raises(SystemExit) as caught:
        main(["exit"], registry=faulty)
    assert caught.value.code == 9


@pytest.mark.parametrize("way", ["option", "option after", "variable"])
def test_traceback_on_demand(faulty, way, capsys, monkeypatch):
    if way == "variable":
        monkeypatch.setenv("SCRATCH_TRACEBACK", "1")
    assert main(["--traceback", "bug"] if way == "option" else ["bug"], registry=faulty) == 1 or way == "option after"
    err = capsys.readouterr().err
    assert ("Traceback (most recent call last)" in err) == (way != "option after")
    if way == "option after":
        assert main(["describe", "modle", "--traceback"], registry=faulty) == 2
        assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_codes_of_the_errors():
    errors = (RunFailed, UsageError, DataError, PluginError, CheckpointError)
    assert [error.exit_code for error in errors] == [1, 2, 3, 4, 5]
    assert ScratchError.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["rum"], 2, "there is no command 'rum', did you mean 'run'?; there are run, generate, eval, rollouts"),
        (["--nope"], 2, "No such option"),
        (["plugins", "--nope"], 2, "(see: scratch plugins --help)"),
        (["describe"], 2, "Missing argument 'KIND'"),
        (["plugins", "extra"], 2, "unexpected extra argument"),
        (["absent"], 4, "command 'absent' (faulty 1.0) cannot be loaded from 'faulty_commands:absent'"),
        (["no-module"], 4, "the module 'faulty_nothing' is missing"),
        (["no-command"], 2, "must be a click command"),
        (["fine@nobody"], 4, "no installed plugin comes from the distribution 'nobody'"),
    ],
)
def test_command_lines_that_make_no_sense(faulty, arguments, code, text, capsys):
    assert main(arguments, registry=faulty) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_own_commands_cannot_be_taken_over(faulty, capsys):
    assert main(["run@faulty"], registry=faulty) == 0
    assert main(["run", "--help"], registry=faulty) == 0
    assert "run directory" in capsys.readouterr().out


def test_two_packages_with_one_command(faulty, plugins, capsys):
    plugins.add(
        "second",
        '@hookimpl\ndef register_commands(register):\n    register("fine", "faulty_commands:fine", summary="mine")\n',
    )
    registry = discover(plugins.entry_points())
    assert main(["fine"], registry=registry) == 2
    assert "fine@faulty (version 1.0), fine@second (version 1.0)" in capsys.readouterr().err
    assert main(["fine@second"], registry=registry) == 0
    assert main(["--help"], registry=registry) == 0
    out = capsys.readouterr().out
    assert "fine@faulty" in out
    assert "fine@second" in out


def test_help_lists_everything_and_says_what_is_broken(faulty, plugins, capsys):
    assert main([], registry=faulty) == 0
    assert main(["--help"], registry=faulty) == 0
    bare, out = re.split(r"(?=^Usage)", capsys.readouterr().out, flags=re.MULTILINE)[1:]
    assert bare == out
    for name, (_, summary) in OWN_COMMANDS.items():
        assert name in out
        assert summary[:40] in out
    assert "ends by ctrl_c" in out
    assert "faulty_commands" not in sys.modules, "help imports no command"
    assert "see: scratch plugins" not in out
    plugins.add("broken", "import no_such_module\n")
    assert main(["--help"], registry=discover(plugins.entry_points())) == 0
    assert "1 broken plugin; see: scratch plugins" in capsys.readouterr().out


def test_every_own_command_exists_and_has_help(capsys):
    for name in OWN_COMMANDS:
        assert main([name, "--help"], registry=Registry()) == 0
        out = capsys.readouterr().out
        assert f"Usage: scratch {name}" in out
        for option in ("--quiet", "--verbose", "--no-color", "--traceback"):
            assert option in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"scratch \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_screen_options_stand_before_and_after_the_command(plugins, capsys):
    plugins.add(
        "shows",
        '@hookimpl\ndef register_commands(register):\n    register("show", "shows_app:show", summary="s")\n',
    )
    plugins.module(
        "shows_app",
        """
        import click
        from scratch_cli.app import App, pass_app, screen_options

        @click.command()
        @screen_options
        @pass_app
        def show(app):
            click.echo(f"{app.verbosity} {app.color} {app.traceback}")
        """,
    )
    registry = discover(plugins.entry_points())
    for arguments, text in (
        (["show"], "0 True False"),
        (["-q", "show"], "-1 True False"),
        (["show", "-q"], "-1 True False"),
        (["show", "-vv"], "2 True False"),
        (["-v", "--no-color", "show", "--traceback"], "1 False True"),
    ):
        assert main(arguments, registry=registry) == 0
        assert capsys.readouterr().out.strip() == text
    os.environ["NO_COLOR"] = "1"
    try:
        main(["show"], registry=registry)
    finally:
        del os.environ["NO_COLOR"]
    assert capsys.readouterr().out.strip() == "0 False False"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["plugins"], ["plugins", "--json"], ["describe", "model"]]
)
def test_nothing_heavy_is_imported(arguments, good):
    code = (
        "import sys\nfrom scratch_cli.main import main\n"
        f"main({arguments!r})\n"
        f"print('imported:', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(good.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stderr.splitlines()[-1] == "imported:"


def test_describing_a_part_imports_its_config_and_nothing_heavy(good):
    code = (
        "import sys\nfrom scratch_cli.main import main\n"
        "assert main(['describe', 'sampler', 'plain']) == 0\n"
        "print('imported:', *[m for m in ('torch', 'numpy', 'transformers', 'numba') if m in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(good.path), "SCRATCH_PLUGINS": "good-parts"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.splitlines()[-1] == "imported:", done.stderr


def test_help_is_quick():
    """0.25 s on an idle machine; the limit here leaves room for a busy one, but not for an import of torch."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        done = scratch("--help")
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    assert min(seconds) < 1, seconds


def test_a_closed_pipe_is_no_error():
    command = [sys.executable, "-m", "scratch_cli", "describe", "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(60) in (0, 1)
    assert err == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell):
    done = scratch(env={**os.environ, "_SCRATCH_COMPLETE": f"{shell}_source"})
    if "Couldn't detect Bash version" in done.stderr:
        pytest.skip("no bash here")
    assert "_SCRATCH_COMPLETE" in done.stdout, done.stderr


def test_commands_and_parts_are_completed(good):
    environment = {**os.environ, "PYTHONPATH": str(good.path), "_SCRATCH_COMPLETE": "bash_complete"}
    done = scratch(env={**environment, "COMP_WORDS": "scratch h", "COMP_CWORD": "1"})
    assert done.stdout.split() == ["plain,hello"]
    done = scratch(env={**environment, "COMP_WORDS": "scratch run --sampler pl", "COMP_CWORD": "3"})
    assert done.stdout.split() == ["plain,plain"]
    done = scratch(env={**environment, "COMP_WORDS": "scratch describe sam", "COMP_CWORD": "2"})
    assert done.stdout.split() == ["plain,sampler"]
    done = scratch(env={**environment, "COMP_WORDS": "scratch describe sampler pl", "COMP_CWORD": "3"})
    assert done.stdout.split() == ["plain,plain"]
    done = scratch(env={**environment, "COMP_WORDS": "scratch describe simpler pl", "COMP_CWORD": "3"})
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_odd_environments(tmp_path):
    without_home = {key: value for key, value in os.environ.items() if key not in ("HOME", "USERPROFILE")}
    assert scratch("plugins", "--json", env=without_home).returncode in (0, 1)
    narrow = scratch("--help", env={**os.environ, "COLUMNS": "20"})
    assert narrow.returncode == 0
    assert scratch("--help", cwd=tmp_path).returncode == 0
    assert not list(tmp_path.iterdir())


def test_ascii_output_is_survived():
    done = scratch("describe", "model", env={**os.environ, "PYTHONIOENCODING": "ascii:backslashreplace"})
    assert done.returncode == 0


def test_output_that_is_no_file(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["describe", "run"], registry=Registry()) == 0


def test_the_module_and_the_console_script_are_one():
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert 'scratch = "scratch_cli.main:main"' in text
    assert scratch("rum").returncode == 2


def test_a_warning_is_one_line_without_the_place_that_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", None)
    assert main(["--version"]) == 0
    user = warnings.formatwarning(UserWarning("r: is 32\n  there"), UserWarning, "a.py", 7)
    assert user == "warning: r: is 32 there\n"
    developer = warnings.formatwarning(FutureWarning("goes away"), FutureWarning, "a.py", 7)
    assert developer == "warning: a.py:7: FutureWarning: goes away\n"
