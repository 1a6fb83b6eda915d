"""Whatever one plugin does wrong, the others stay usable and the fault is named."""

from __future__ import annotations

import sys

import pytest

from scratch_cli.errors import PluginError, UsageError
from scratch_cli.registry import Registry, discover, nearest, normalized

PART = 'register("p", "m:C", config="m:D", summary="s"'

FAULTS = {
    "missing import": (
        "import no_such_module_at_all\n",
        "ModuleNotFoundError: No module named 'no_such_module_at_all'",
    ),
    "import error": ("from pluggy import no_such_name\n", "ImportError: cannot import name 'no_such_name'"),
    "syntax error": ("def broken(:\n    pass\n", "SyntaxError: invalid syntax"),
    "exit on import": ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
    "base exception on import": ("raise GeneratorExit('gone')\n", "GeneratorExit: gone"),
    "error on import": ("1 / 0\n", "ZeroDivisionError: division by zero"),
    "raising hook": (
        f"@hookimpl\ndef register_models(register):\n    {PART})\n    raise RuntimeError('in the\\nhook')\n",
        "RuntimeError: in the hook",
    ),
    "exiting hook": ("@hookimpl\ndef register_models(register):\n    raise SystemExit\n", "SystemExit"),
    "misspelt hook": ("@hookimpl\ndef register_model(register):\n    pass\n", "unknown hook 'register_model'"),
    "wrong hook argument": ("@hookimpl\ndef register_models(registry):\n    pass\n", "registry"),
    "hook without argument": ("@hookimpl\ndef register_models():\n    pass\n", "exactly one argument, 'register'"),
    "hook argument with default": (
        "@hookimpl\ndef register_models(register=None):\n    pass\n",
        "exactly one argument, 'register'",
    ),
    "generator hook": (f"@hookimpl\ndef register_models(register):\n    yield {PART})\n", "returned generator"),
    "async hook": (f"@hookimpl\nasync def register_models(register):\n    {PART})\n", "returned coroutine"),
    "no hook": ("def register_models(register):\n    pass\n", "implements no hook"),
    "other project's hook": (
        "@pluggy.HookimplMarker('other')\ndef register_models(register):\n    pass\n",
        "implements no hook",
    ),
}

BAD_CALLS = {
    "missing config": ('"p", "m:C", summary="s"', "config"),
    "missing summary": ('"p", "m:C", config="m:D"', "summary"),
    "unknown keyword": (
        '"p", "m:C", config="m:D", summary="s", sumary="t"',
        "TypeError: register() got an unexpected keyword argument 'sumary'",
    ),
    "target is a class": ('"p", dict, config="m:D", summary="s"', 'target must be text of the form "module:attribute"'),
    "target without attribute": ('"p", "m.C", config="m:D", summary="s"', "module:attribute"),
    "config is no import string": ('"p", "m:C", config="m D:E", summary="s"', "module:attribute"),
    "empty name": ('"", "m:C", config="m:D", summary="s"', "a name starts with"),
    "name with @": ('"a@b", "m:C", config="m:D", summary="s"', "a name starts with"),
    "name none": ('"none", "m:C", config="m:D", summary="s"', "is not 'none'"),
    "name is a number": ('3, "m:C", config="m:D", summary="s"', "a name starts with"),
    "empty summary": ('"p", "m:C", config="m:D", summary=" "', "summary must be one line"),
    "summary of two lines": ('"p", "m:C", config="m:D", summary="a\\nb"', "summary must be one line"),
    "provides is text": ('"p", "m:C", config="m:D", summary="s", provides="causal-lm"', "provides must be a list"),
    "provides has a number": ('"p", "m:C", config="m:D", summary="s", provides=[1]', "provides entry must be str"),
    "needs is a list": ('"p", "m:C", config="m:D", summary="s", needs=["task"]', "needs must be Mapping"),
    "needs an unknown kind": (
        '"p", "m:C", config="m:D", summary="s", needs={"tasks": []}',
        "'tasks', which is no kind",
    ),
    "needs its own kind": ('"p", "m:C", config="m:D", summary="s", needs={"model": []}', "'model', which is no kind"),
    "needs one capability as text": ('"p", "m:C", config="m:D", summary="s", needs={"task": "text"}', "must be a list"),
    "defaults to a number": ('"p", "m:C", config="m:D", summary="s", defaults={"task": 1}', "must be str"),
    "smoke is a list": ('"p", "m:C", config="m:D", summary="s", smoke=[1]', "smoke must be Mapping"),
    "smoke of a number": ('"p", "m:C", config="m:D", summary="s", smoke={1: 2}', "smoke option must be str"),
    "data of a model": ('"p", "m:C", config="m:D", summary="s", data="path"', "data is only for tasks"),
    "warm start of a model": (
        '"p", "m:C", config="m:D", summary="s", warm_start={"trainer": "t", "options": {}}',
        "warm_start is only for trainers",
    ),
    "the name twice": ('"q", "m:C", config="m:D", summary="s"', "registered twice"),
}

BAD_WARM_STARTS = ("'sft'", "{'trainer': 'sft'}", "{'trainer': 1, 'options': {}}", "{'trainer': 's', 'options': 2}")


def _only_good_is_left(registry: Registry) -> None:
    assert [part.qualified for part in registry.parts()] == ["plain@good-parts"]
    assert [command.qualified for command in registry.commands] == ["hello@good-parts"]
    assert registry.find("sampler", "plain").load().__name__ == "Plain"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["a-broken", "z-broken"])
def test_a_broken_plugin_is_reported_and_the_healthy_one_works(good, fault, name):
    source, message = FAULTS[fault]
    good.add(name, source, version="0.9")
    registry = discover(good.entry_points())
    (failure,) = registry.failures
    assert (failure.distribution, failure.version) == (name, "0.9")
    assert message in failure.error
    assert "\n" not in failure.error
    _only_good_is_left(registry)


def test_a_value_that_names_no_attribute(good):
    good.add("a-broken", "x = 1")
    info = next(good.path.glob("a_broken*.dist-info"))
    (info / "entry_points.txt").write_text("[scratch]\na-broken = a_broken_plugin:nothing.here\n", encoding="utf-8")
    registry = discover(good.entry_points())
    assert "nothing" in registry.failures[0].error
    _only_good_is_left(registry)


@pytest.mark.parametrize("call", BAD_CALLS)
def test_a_bad_register_call_drops_the_whole_plugin(good, call):
    arguments, message = BAD_CALLS[call]
    good.add(
        "a-broken",
        "@hookimpl\ndef register_models(register):\n"
        f'    register("q", "m:C", config="m:D", summary="s")\n    register({arguments})\n',
    )
    registry = discover(good.entry_points())
    assert message in registry.failures[0].error
    _only_good_is_left(registry)


@pytest.mark.parametrize("value", BAD_WARM_STARTS)
def test_a_bad_warm_start(good, value):
    good.add("a-broken", f"@hookimpl\ndef register_trainers(register):\n    {PART}, warm_start={value})\n")
    registry = discover(good.entry_points())
    assert "warm_start" in registry.failures[0].error
    _only_good_is_left(registry)


def test_what_one_hook_registered_is_dropped_if_a_later_hook_fails(good):
    good.add(
        "a-broken",
        f"@hookimpl\ndef register_models(register):\n    {PART})\n"
        f"@hookimpl\ndef register_tasks(register):\n    raise KeyError('later')\n",
    )
    registry = discover(good.entry_points())
    assert "KeyError" in registry.failures[0].error
    _only_good_is_left(registry)


def test_register_cannot_be_kept_for_later(good):
    good.add(
        "a-late", f"@hookimpl\ndef register_models(register):\n    global kept\n    kept = register\n    {PART})\n"
    )
    registry = discover(good.entry_points())
    with pytest.raises(RuntimeError, match="after the hook had returned"):
        sys.modules["a_late_plugin"].kept("x", "m:C", config="m:D", summary="s")
    assert registry.find("model", "p").distribution == "a-late"


def test_a_real_ctrl_c_is_not_a_broken_plugin(good):
    good.add("a-slow", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        discover(good.entry_points())


def test_what_a_plugin_prints_never_reaches_standard_output(good, capsys):
    good.add(
        "a-loud",
        f"print('on import')\n@hookimpl\ndef register_models(register):\n    print('in the hook')\n    {PART})\n",
    )
    good.module("m", "print('on use')\nclass C: pass\nclass D: pass\n")
    registry = discover(good.entry_points())
    registry.find("model", "p").load()
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("on import", "in the hook", "on use"):
        assert text in err


# --- names ---------------------------------------------------------------------------------------------------------


def _offers(name: str, hook: str = "models") -> str:
    return f'@hookimpl\ndef register_{hook}(register):\n    register("{name}", "m:C", config="m:D", summary="s")\n'


def test_two_packages_with_one_name_clash_only_for_the_bare_name(plugins):
    plugins.add("first-dist", _offers("gpt"), version="1.1")
    plugins.add("second-dist", _offers("gpt"), version="2.2")
    registry = discover(plugins.entry_points())
    assert not registry.failures
    with pytest.raises(UsageError) as caught:
        registry.find("model", "gpt")
    for text in ("gpt@first-dist", "1.1", "gpt@second-dist", "2.2", "say which"):
        assert text in str(caught.value)
    assert registry.find("model", "gpt@second-dist").version == "2.2"
    assert registry.find("model", "gpt@First_Dist").version == "1.1"


def test_one_entry_point_name_from_two_distributions(plugins):
    plugins.add("owner-dist", _offers("mine"), version="1.1")
    plugins.add("intruder", _offers("theirs"), version="6.6", entry_point="owner-dist")
    registry = discover(plugins.entry_points())
    (failure,) = registry.failures
    assert (failure.distribution, failure.version) == ("intruder", "6.6")
    assert "'owner-dist' is already used by owner-dist 1.1" in failure.error
    assert [part.name for part in registry.parts()] == ["mine"]


def test_one_entry_point_name_that_is_nobodys(plugins):
    plugins.add("aaa", _offers("first"), entry_point="shared")
    plugins.add("bbb", _offers("second"), entry_point="shared")
    registry = discover(plugins.entry_points())
    assert [part.name for part in registry.parts()] == ["first"]
    assert registry.failures[0].distribution == "bbb"


def test_look_ups_that_fail_name_what_exists_and_what_is_broken(good):
    good.add("a-broken", "import no_such_module\n", version="0.9")
    registry = discover(good.entry_points())
    with pytest.raises(UsageError) as caught:
        registry.find("sampler", "plian")
    message = str(caught.value)
    assert "did you mean 'plain'?" in message
    assert "a-broken 0.9: ModuleNotFoundError" in message
    assert "\n" not in message
    with pytest.raises(UsageError, match=r"there is no model 'plain'.*there are none"):
        registry.find("model", "plain")
    with pytest.raises(UsageError, match="there is no kind 'samplers', did you mean 'sampler'"):
        registry.find("samplers", "plain")
    with pytest.raises(PluginError, match=r"a-broken 0.9 is broken: ModuleNotFoundError"):
        registry.find("sampler", "plain@a-broken")
    with pytest.raises(PluginError, match=r"'not-there'.*pip install not-there"):
        registry.find("sampler", "plain@not-there")
    with pytest.raises(UsageError, match="there is no sampler 'other' in good-parts"):
        registry.find("sampler", "other@good-parts")


def test_a_part_that_cannot_be_loaded_names_its_package_and_the_repair(plugins):
    plugins.add("lost", _offers("gone") + '    register("halved", "json:nothing", config="m:D", summary="s")\n')
    registry = discover(plugins.entry_points())
    with pytest.raises(PluginError) as caught:
        registry.find("model", "gone").load()
    for text in ("model 'gone' (lost 1.0)", "'m:C'", "the module 'm' is missing", "pip install --force-reinstall lost"):
        assert text in str(caught.value)
    with pytest.raises(PluginError, match=r"AttributeError.*nothing"):
        registry.find("model", "halved").load()
    with pytest.raises(PluginError, match="'m:D'"):
        registry.find("model", "halved").load_config()
    plugins.module("m", "raise SystemExit(0)")
    with pytest.raises(PluginError, match="SystemExit"):
        registry.find("model", "gone").load()


def test_everything_that_is_registered_arrives(plugins):
    plugins.add(
        "whole",
        """
        @hookimpl
        def register_trainers(register):
            register("t", "m:T", config="m:D", summary="s", provides=["rl"], needs={"model": ["causal-lm"], "task": []},
                     defaults={"task": "x"}, smoke={"steps": 2},
                     warm_start={"trainer": "sft", "options": {"stop_at": 0.4}})

        @hookimpl
        def register_tasks(register):
            register("x", "m:X", config="m:D", summary="s", data="path")
        """,
    )
    registry = discover(plugins.entry_points())
    trainer, task = registry.find("trainer", "t"), registry.find("task", "x")
    assert trainer.provides == ("rl",)
    assert trainer.needs == {"model": ("causal-lm",), "task": ()}
    assert trainer.defaults == {"task": "x"}
    assert trainer.smoke == {"steps": 2}
    assert trainer.warm_start == {"trainer": "sft", "options": {"stop_at": 0.4}}
    assert task.data == "path"
    assert trainer.label == "trainer 't' (whole 1.0)"


# --- which plugins are looked at -----------------------------------------------------------------------------------


def test_the_allow_list(good, monkeypatch):
    good.add("a-broken", "import no_such_module\n")
    monkeypatch.setenv("SCRATCH_PLUGINS", "Good_Parts, not-there")
    registry = discover()
    assert [part.name for part in registry.parts()] == ["plain"]
    (failure,) = registry.failures
    assert failure.distribution == "not-there"
    assert "SCRATCH_PLUGINS" in failure.error
    monkeypatch.setenv("SCRATCH_PLUGINS", "")
    assert discover() == Registry()
    monkeypatch.setenv("SCRATCH_PLUGINS", "nothing")
    assert len(discover(good.entry_points()).parts()) == 1, "the list is for installed plugins, not for given ones"
    assert len(discover(good.entry_points(), only=["good-parts"]).failures) == 0


def test_registries_are_independent(good):
    first = discover(good.entry_points())
    assert discover([]) == Registry()
    assert discover(good.entry_points()) == first


def test_restricted(good):
    good.add("other-dist", _offers("x"))
    registry = discover(good.entry_points())
    mine = registry.restricted("good_parts")
    assert [part.name for part in mine.parts()] == ["plain"]
    assert [command.name for command in mine.commands] == ["hello"]
    with pytest.raises(PluginError, match="'god-parts', did you mean 'good-parts'"):
        registry.restricted("god-parts")


def test_entry_points_without_a_distribution_are_called_by_their_own_name():
    from scratch_cli.testing import standin_registry

    assert {part.distribution for part in standin_registry().parts()} == {"scratch-standins"}


def test_names_of_distributions_compare_as_on_pypi():
    assert normalized("Foo_Bar.baz--q") == "foo-bar-baz-q"


@pytest.mark.parametrize(("name", "found"), [("modl", "model"), ("MODEL", "model"), ("zzz", None), ("", None)])
def test_nearest(name, found):
    assert nearest(name, ["model", "task"]) == (f", did you mean {found!r}?" if found else "")
