"""The command `doctor`: finds what is broken, says what is there, and reruns the proofs that packages offer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scratch_cli import doctor
from scratch_cli.main import main
from scratch_cli.registry import Registry, discover
from scratch_cli.testing import standin_registry

PROOFS = """
@hookimpl
def register_proofs(register):
    register("sums", "claims:sums", summary="sums are sums")
    register("more", "claims:more", summary="more")
"""
CLAIMS = """
from dataclasses import dataclass

@dataclass
class Proof:
    claim: str
    measured: object
    tolerance: object
    ok: bool

def sums():
    print("a library that talks")
    yield Proof("1 + 1 is 2", 0.0, 1e-12, True)
    yield Proof("0.1 + 0.2 is\\n 0.3", 5.5e-17, 1e-12, True)

def more():
    return [Proof("in words", "all equal", "exact", True), Proof("not a number", float("nan"), 0.1, False)]

def broken():
    yield Proof("so far", 0, 0, True)
    raise ZeroDivisionError("not further")

def nothing():
    return [3]
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what takes seconds: torch and numba."""
    monkeypatch.setattr(doctor, "_torch", lambda _: iter(()))
    monkeypatch.setattr(doctor, "_kernels", lambda _: iter(()))


def states(out: str) -> set[str]:
    return {line.split()[0] for line in out.splitlines() if line}


@pytest.mark.usefixtures("quick")
def test_a_healthy_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"], registry=standin_registry()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "bad" not in states(out)
    for text in ("Python 3.", "scratch-cli 0.1.0", "CPU cores", f"{tmp_path} can be written to", "GiB free",
                 "1 tokenizers can be imported", "nothing is broken"):  # fmt: skip
        assert text in out
    assert main(["doctor", "--json"], registry=standin_registry()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert {"topic", "state", "text"} == set(found["findings"][0])
    assert "proofs" not in found
    assert main(["doctor", "-q"], registry=standin_registry()) == 0
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_torch_and_kernels_are_tried(capsys: pytest.CaptureFixture[str]) -> None:
    found = [*doctor._torch(Registry()), *doctor._kernels(Registry())]
    texts = " ".join(finding.text for finding in found)
    for module, text in (("torch", "cpu multiplies matrices"), ("numba", "compiles a kernel")):
        try:
            __import__(module)
        except ImportError:
            text = "is not installed"
        assert text in texts
    assert not [finding for finding in found if finding.state == "bad"]


@pytest.mark.usefixtures("quick")
def test_what_is_broken_is_found(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plugins.add("a-broken", "import no_such_module\n", version="0.9")
    plugins.add(
        "half",
        "@hookimpl\ndef register_samplers(register):\n"
        '    register("s", "half_lost:S", config="half_lost:C", summary="s")\n',
    )
    registry = discover(plugins.entry_points())
    assert main(["doctor"], registry=registry) == 1
    out = capsys.readouterr().out
    assert "bad   plugin           a-broken 0.9: ModuleNotFoundError" in out
    assert "sampler 's' (half 1.0) cannot be loaded from 'half_lost:S': the module 'half_lost' is missing" in out
    assert out.endswith("\n3 broken\n")
    assert main(["doctor", "-q"], registry=registry) == 1
    assert states(capsys.readouterr().out) == {"bad"}
    assert main(["doctor", "--json"], registry=registry) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert main(["doctor"], registry=Registry()) == 1
    assert "none is installed; try: pip install" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_folders_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "not yet" / "there"))
    assert main(["doctor"], registry=standin_registry()) == 1
    out = capsys.readouterr().out
    assert f"bad   runs             {tmp_path / 'file' / 'below'} cannot be written to" in out
    assert f"note  cache            {tmp_path / 'file' / 'cache'} cannot be written to" in out
    assert f"ok    cache            {tmp_path / 'not yet' / 'there'} can be written to" in out
    assert not (tmp_path / "not yet").exists()


@pytest.mark.usefixtures("quick")
def test_a_check_that_fails_does_not_take_the_others_along(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ill(_: Registry) -> Any:
        raise OSError("no such sensor")
        yield

    monkeypatch.setattr(doctor, "_machine", ill)
    assert main(["doctor"], registry=standin_registry()) == 1
    out = capsys.readouterr().out
    assert "the check itself failed: OSError: no such sensor" in out
    assert "can be imported" in out


# --- proofs ----------------------------------------------------------------------------------------------------------


def offering(plugins: Any, source: str) -> Registry:
    plugins.add("claimer", source, version="2.0")
    plugins.module("claims", CLAIMS)
    return discover(plugins.entry_points())


@pytest.mark.usefixtures("quick")
def test_proofs_are_a_table(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    registry = offering(plugins, PROOFS)
    assert main(["doctor", "--verify"], registry=registry) == 1
    out, err = capsys.readouterr()
    assert err == "a library that talks\n"
    table = out[out.index("more (claimer)") :].splitlines()
    assert table == [
        "more (claimer)",
        "       measured  tolerance  claim",
        "ok    all equal      exact  in words",
        "BAD         nan        0.1  not a number",
        "",
        "sums (claimer)",
        "       measured  tolerance  claim",
        "ok            0      1e-12  1 + 1 is 2",
        "ok      5.5e-17      1e-12  0.1 + 0.2 is 0.3",
        "",
        "3 of 4 claims hold on this machine",
        "nothing is broken",
    ]
    assert main(["doctor", "--verify", "--json"], registry=registry) == 1
    proofs = json.loads(capsys.readouterr().out)["proofs"]
    assert [proof["ok"] for proof in proofs] == [True, False, True, True]
    assert proofs[1]["measured"] == "nan"
    assert main(["doctor"], registry=registry) == 0  # they are run on request alone


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("broken", "failed: ZeroDivisionError: not further"),
        ("nothing", "failed: AttributeError: 'int' object has no attribute 'claim'"),
        ("missing", "cannot be loaded from 'claims:missing'"),
        ("CLAIM", "cannot be loaded"),
    ],
)
def test_proofs_that_break_have_failed(
    plugins: Any, capsys: pytest.CaptureFixture[str], target: str, text: str
) -> None:
    hook = f'@hookimpl\ndef register_proofs(register):\n    register("p", "claims:{target}", summary="s")\n'
    assert main(["doctor", "--verify"], registry=offering(plugins, hook)) == 1
    out = capsys.readouterr().out
    assert text in out
    assert "so far" in out or target != "broken"


def test_offers_are_checked_like_parts(plugins: Any) -> None:
    """The hooks for proofs and ablations take what the one for commands takes, and names are their own."""
    both = """
    @hookimpl
    def register_proofs(register):
        register("x", "m:p", summary="proofs")

    @hookimpl
    def register_ablations(register):
        register("x", "m:a", summary="an ablation")

    @hookimpl
    def register_commands(register):
        register("x", "m:c", summary="a command")
    """
    plugins.add("offers", both)
    registry = discover(plugins.entry_points())
    assert [(kind, registry.find_offer(kind, "x").target) for kind in ("proofs", "ablation", "command")] == [
        ("proofs", "m:p"), ("ablation", "m:a"), ("command", "m:c"),
    ]  # fmt: skip
    assert registry.find_offer("ablation", "x@offers").label == "ablation 'x' (offers 1.0)"
    assert [offer.name for offer in registry.restricted("offers").all_offers] == ["x", "x", "x"]
    twice = '@hookimpl\ndef register_proofs(register):\n    register("p", "m:p", summary="s")\n    '
    plugins.add("twice", twice + 'register("p", "m:q", summary="s")\n')
    plugins.add("odd", '@hookimpl\ndef register_ablations(register):\n    register("p", 3, summary="s")\n')
    failures = {failure.distribution: failure.error for failure in discover(plugins.entry_points()).failures}
    assert "register('p') of proofs: the name is registered twice" in failures["twice"]
    assert "register('p') of ablations: target must be text of the form" in failures["odd"]


def test_plugins_lists_offers(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    registry = offering(plugins, PROOFS)
    assert main(["plugins"], registry=registry) == 0
    assert "proofs\n  more  claimer 2.0  more\n  sums  claimer 2.0  sums are sums\n" in capsys.readouterr().out
    assert main(["plugins", "--json"], registry=registry) == 0
    assert [offer["name"] for offer in json.loads(capsys.readouterr().out)["proofs"]] == ["more", "sums"]


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    env = {**os.environ, "SCRATCH_PLUGINS": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "scratch_cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 1  # no plugin at all
    found = json.loads(done.stdout)["findings"]
    assert [finding["topic"] for finding in found if finding["state"] == "bad"] == ["plugin"]
