"""How the kit is used: in pytest with strict expectations, and by `scratch check` without it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scratch_cli.errors import PluginError, UsageError
from scratch_cli.main import main
from scratch_cli.registry import discover
from scratch_cli.testing import CheckSkipped, Subject, cases_of, parametrize_with_checks, standin_registry

MUTANTS = str(Path(__file__).parent / "mutants")


def only(kind: str, **changes):
    """A registry of one stand-in sampler, changed."""
    registry = standin_registry()
    part = dataclasses.replace(registry.find(kind, "tiny"), **changes)
    return dataclasses.replace(registry, all_parts=(part,))


def test_cases_are_named_and_ordered():
    cases = cases_of("scratch-standins", standin_registry())
    names = [case.id for case in cases]
    assert len(set(names)) == len(names)
    assert names[0] == "tokenizer:tiny:config-is-frozen"
    assert "model:tiny-lm:causality" in names
    assert "model:tiny-vectors:causality" not in names
    assert "model:tiny-vectors:save-and-load" in names
    assert {name.split(":")[0] for name in names} == {"tokenizer", "model", "sampler", "trainer", "adapter", "task"}


def test_checks_follow_the_capabilities():
    names = [case.id for case in cases_of(None, only("task", provides=("text",)))]
    assert "task:tiny:splits-share-no-text" in names
    assert "task:tiny:accepts-its-own-answers" not in names
    names = [case.id for case in cases_of(None, only("sampler", provides=()))]
    assert "sampler:tiny:full-support" not in names


def test_no_cases_is_an_error(good, plugins):
    with pytest.raises(PluginError, match="no installed plugin comes from the distribution 'gtp-scratch'"):
        cases_of("gtp-scratch")
    with pytest.raises(PluginError, match="there is no part to check"):
        cases_of(None, discover([]))
    plugins.add("a-broken", "import no_such_module\n")
    with pytest.raises(PluginError, match=r"a-broken 1.0 is broken: ModuleNotFoundError"):
        cases_of("a-broken", discover(plugins.entry_points()))
    plugins.add("only-commands", '@hookimpl\ndef register_commands(register):\n    register("x", "m:c", summary="s")\n')
    with pytest.raises(PluginError, match="only-commands: there is no part to check"):
        parametrize_with_checks("only-commands", registry=discover(plugins.entry_points()))


def test_expected_failures_must_exist_and_give_a_reason():
    with pytest.raises(UsageError, match=r"'sampler:tiny:gradient'.*did you mean 'sampler:tiny:gradients'"):
        parametrize_with_checks(
            "scratch-standins", registry=standin_registry(), expected_failures={"sampler:tiny:gradient": "x"}
        )
    with pytest.raises(UsageError, match="must give the reason"):
        parametrize_with_checks(
            "scratch-standins", registry=standin_registry(), expected_failures={"sampler:tiny:gradients": " "}
        )


def run_pytest(folder: Path, source: str, *more: str) -> str:
    (folder / "test_it.py").write_text(source, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": MUTANTS, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "test_it.py", *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=300).stdout


SOURCE = """
import dataclasses
from scratch_cli.testing import parametrize_with_checks, standin_registry

whole = standin_registry()
part = dataclasses.replace(whole.find("sampler", "tiny"), target="mutant_models:{target}")
registry = dataclasses.replace(whole, all_parts=(part,))

@parametrize_with_checks("scratch-standins", registry=registry, expected_failures={expected})
def test_contract(check):
    check()
"""


def test_an_expected_failure_is_expected_and_others_are_not(tmp_path):
    expected = {"sampler:tiny:draws-match-log-probs": "it is hotter by design"}
    out = run_pytest(tmp_path, SOURCE.format(target="Hotter", expected=expected))
    assert "1 xfailed" in out
    assert "failed" not in out.splitlines()[-1].replace("xfailed", "")
    assert "it is hotter by design" in out
    out = run_pytest(tmp_path, SOURCE.format(target="Hotter", expected={}))
    assert "FAILED test_it.py::test_contract[sampler:tiny:draws-match-log-probs]" in out
    assert "1 failed" in out


def test_an_expected_failure_that_passes_fails(tmp_path):
    expected = {"sampler:tiny:draws-match-log-probs": "no longer true", "sampler:tiny:sample-shape": "no longer true"}
    out = run_pytest(tmp_path, SOURCE.format(target="Hotter", expected=expected))
    assert "1 failed" in out
    assert "XPASS(strict)" in out
    assert "1 xfailed" in out


def test_a_skip_is_a_skip(tmp_path):
    source = SOURCE.replace(
        'whole.find("sampler", "tiny"), target="mutant_models:{target}"', 'whole.find("trainer", "tiny")'
    )
    out = run_pytest(tmp_path, source.format(expected={}), "-k", "rollouts or described")
    assert "the trainer records no rollouts" in out
    assert "1 passed, 1 skipped" in out


def test_partners_are_stand_ins_then_the_packages_own_then_others():
    registry = standin_registry()
    trainer = registry.find("trainer", "tiny")
    odd = dataclasses.replace(trainer, needs={"model": ("image-lm",)}, distribution="mine")
    model = registry.find("model", "tiny-lm")
    theirs = dataclasses.replace(model, name="theirs", provides=("image-lm",), distribution="theirs")
    mine = dataclasses.replace(theirs, name="mine", distribution="mine")
    both = dataclasses.replace(registry, all_parts=(theirs, mine))
    assert Subject(part=trainer, registry=both).partner("model") == model
    assert Subject(part=odd, registry=both).partner("model") == mine
    assert Subject(part=odd, registry=dataclasses.replace(both, all_parts=(theirs,))).partner("model") == theirs
    with pytest.raises(CheckSkipped, match="no model is installed that provides image-lm"):
        Subject(part=odd).partner("model")


def test_importing_the_kit_imports_neither_torch_nor_pytest():
    code = "import sys, scratch_cli.testing; print([m for m in ('torch', 'pytest', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_module_of_the_kit_is_importable_without_torch():
    code = (
        "import importlib, pkgutil, sys; sys.modules['torch'] = None\n"
        "import scratch_cli.testing as kit\n"
        "[importlib.import_module(m.name) for m in pkgutil.iter_modules(kit.__path__, kit.__name__ + '.')]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_tokenizers_and_tasks_are_checked_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from scratch_cli.testing import cases_of, standin_registry\n"
        "import dataclasses\n"
        "whole = standin_registry()\n"
        "parts = (whole.find('tokenizer', 'tiny'), whole.find('task', 'tiny'))\n"
        "cases = cases_of(None, dataclasses.replace(whole, all_parts=parts))\n"
        "[case() for case in cases]\n"
        "print(len(cases))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert int(done.stdout) > 25, done.stderr


pytest.importorskip("torch", reason="most parts, and so most checks, are made of torch")


def test_the_stand_ins_run_through_the_whole_command(good, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = ["--trainer", "tiny", "--adapter", "tiny", "--steps", "3", "--set", "run.threads=1"]
    assert main(["run", *names, "--json"], registry=standin_registry()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["task"] == "tiny"
    assert 0 <= result["before"]["greedy"] <= 1
    repeated = main(["run", str(Path(result["run"]) / "run.toml"), "--json"], registry=standin_registry())
    assert repeated == 0
    again = json.loads(capsys.readouterr().out)
    assert again["after"] == result["after"]
    assert list(importlib.metadata.distributions(path=[str(good.path)])), "a run leaves the finding of packages alone"


# --- scratch check -------------------------------------------------------------------------------------------------


def test_check_prints_a_table(capsys):
    assert main(["check", "--only", "sampler:"], registry=standin_registry()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["sampler:tiny:config-is-frozen", "passed"]
    assert lines[-1].endswith("passed, 0 failed, 0 skipped")


def test_check_says_what_failed_and_exits_1(capsys, monkeypatch):
    monkeypatch.syspath_prepend(MUTANTS)
    registry = only("sampler", target="mutant_models:Hotter")
    assert main(["check", "scratch-standins", "-q"], registry=registry) == 1
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2
    assert out[0].split()[:2] == ["sampler:tiny:draws-match-log-probs", "failed"]
    assert "20000 draws do not follow log_probs" in out[0]
    assert main(["check", "--json"], registry=registry) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == 1
    assert {r["outcome"] for r in found["results"]} == {"passed", "failed"}
    assert main(["check", "-v", "--only", "draws"], registry=registry) == 1
    out, err = capsys.readouterr()
    assert "Chi-square: how often each id is drawn" in out
    assert "Traceback" in err


def test_check_of_a_part_that_crashes(capsys):
    assert main(["check", "--only", "registered"], registry=only("sampler", target="no_such_module:X")) == 1
    assert "failed" in capsys.readouterr().out


def test_check_of_what_is_not_there(good, capsys):
    assert main(["check", "nothing"], registry=discover(good.entry_points())) == 4
    assert "'nothing'" in capsys.readouterr().err
    assert main(["check", "--only", "xyz"], registry=standin_registry()) == 2
    assert "no case has this text" in capsys.readouterr().err
    good.add("a-broken", "import no_such_module\n")
    assert main(["check", "--only", "smoke", "-q"], registry=discover(good.entry_points())) == 1
    out, err = capsys.readouterr()
    assert out == "1 passed, 0 failed, 0 skipped\n"
    assert "broken plugin a-broken 1.0" in err
