"""`scratch plugins` and `scratch describe`: what is listed, shown and refused."""

from __future__ import annotations

import json
import re

import pytest

from scratch_cli.main import main
from scratch_cli.registry import Registry, discover
from scratch_cli.testing import standin_registry


def test_plugins(good, capsys):
    registry = discover(good.entry_points())
    assert main(["plugins"], registry=registry) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"^samplers\n  plain\s+good-parts 2\.3\s+a sampler$", out, re.MULTILINE)
    assert re.search(r"^commands\n  hello\s+good-parts 2\.3\s+say hello$", out, re.MULTILINE)
    good.add("a-broken", "import no_such_module\n", version="0.9")
    registry = discover(good.entry_points())
    assert main(["plugins"], registry=registry) == 1
    out, err = capsys.readouterr()
    assert "plain" in out
    assert err == "error: broken plugin a-broken 0.9: ModuleNotFoundError: No module named 'no_such_module'\n"
    assert main(["plugins", "--json"], registry=registry) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["parts"]["sampler"][0] == {
        "name": "plain",
        "distribution": "good-parts",
        "version": "2.3",
        "summary": "a sampler",
        "provides": [],
        "needs": {},
    }
    assert found["failures"][0]["distribution"] == "a-broken"
    assert main(["plugins"], registry=Registry()) == 0
    assert "no parts are installed; try: pip install" in capsys.readouterr().out


def test_describe(good, capsys):
    registry = discover(good.entry_points())
    assert main(["describe", "sampler"], registry=registry) == 0
    assert capsys.readouterr().out == "plain  a sampler (good-parts 2.3)\n"
    assert main(["describe", "sampler", "plain"], registry=registry) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "sampler 'plain' (good-parts 2.3): a sampler"
    assert "--set sampler.share=0.5  # a number: a share" in out
    assert main(["describe", "sampler", "plain", "--json"], registry=registry) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["options"] == [
        {
            "name": "share",
            "type": "a number",
            "default": 0.5,
            "help": "a share",
            "paste": "--set sampler.share=0.5",
        }
    ]
    assert main(["describe", "sampler", "--json"], registry=registry) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "plain"
    assert main(["describe", "run"], registry=registry) == 0
    assert "--set run.seed=1" in capsys.readouterr().out
    assert main(["describe", "run", "--json"], registry=registry) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "run"
    assert main(["describe", "model"], registry=registry) == 0
    assert capsys.readouterr() == ("", "no model is installed\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["modle"], "there is no kind 'modle', did you mean 'model'?; kinds are tokenizer"),
        (["sampler", "plian"], "there is no sampler 'plian', did you mean 'plain'?; there are plain"),
        (["run", "x"], "describe run: takes no name"),
    ],
)
def test_describe_what_is_not_there(good, arguments, text, capsys):
    assert main(["describe", *arguments], registry=discover(good.entry_points())) == 2
    assert text in capsys.readouterr().err


def test_describe_shows_all_that_was_registered(capsys):
    registry = standin_registry()
    assert main(["describe", "trainer", "tiny"], registry=registry) == 0
    out = capsys.readouterr().out
    for text in ("provides: lm", "needs a model with: causal-lm", "unless told otherwise, with the task: tiny"):
        assert text in out
    assert main(["describe", "tokenizer", "tiny"], registry=registry) == 0
    assert capsys.readouterr().out.endswith("no options\n")
