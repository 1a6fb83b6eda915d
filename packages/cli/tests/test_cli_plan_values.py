"""Values of options: their types, where they come from, and which of them cannot be."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.plans import PARTS, SizeConfig, TrainerConfig, plan

from scratch_cli.errors import PluginError, UsageError
from scratch_cli.registry import KINDS, Registry


def test_layers_of_values(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text("[model]\nsize = 7\nshare = 0.5\n[run]\nseed = 5\n[trainer]\nlr = 1\n", encoding="utf-8")
    made = plan({}, "model.size=9", "model.size=10", "run.keep=3", toml=file, steps=12, device="cpu")
    assert made.model.config == SizeConfig(size=10, share=0.5)
    assert made.trainer.config == TrainerConfig(steps=12, lr=1.0)
    assert (made.run.seed, made.run.keep, made.run.device) == (5, 3, "cpu")
    assert plan({}, toml=file, seed=6).run.seed == 6


def test_the_warm_start_has_its_registered_options_and_others_over_them():
    made = plan({}, "warm_start.stop_at=0.3", "warm_start.lr=0.01")
    assert made.warm_start is not None
    assert made.warm_start.config == TrainerConfig(steps=300, stop_at=0.3, lr=0.01)
    assert plan({}, "warm_start.name=none").warm_start is None
    named = plan({"trainer": "sft"}, "warm_start.name=pretrain", "warm_start.steps=5").warm_start
    assert named is not None
    assert named.config == TrainerConfig(steps=5)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["modle.size=3"], "--set 'modle.size=3': there is no section 'modle', did you mean 'model'?"),
        (["model.sise=3"], "model.sise: there is no such option, did you mean 'size'?"),
        (["run.sead=3"], "run.sead: there is no such option, did you mean 'seed'?"),
        (["model.size=big"], "model.size: got the text 'big', must be a whole number"),
        (["model.size=0"], "model.size: got 0, must be 1 or more: it is a size"),
        (["trainer.lr=nan"], "trainer.lr: got the text 'nan', must be a number"),
        (["trainer.betas=[0.9]"], "trainer.betas: got the list [0.9], must be a list of 2 numbers"),
        (["trainer.betas.x=1"], "trainer.betas: got the table {'x': 1}"),
        (["versions.torch=3"], "there is no section 'versions'"),
        (["adapter.size=3"], "adapter.size: is given, but there is no adapter; name one with --set adapter.name="),
        (["model.name=[1]"], "model.name: got [1], must be the name of a model"),
        (["run.device=cdua"], "run.device: got the text 'cdua', must be 'auto' or 'cpu' or 'cuda' or 'mps'"),
        (["run.seed=-1"], "run.seed: got -1, must be in 0 .."),
        (["run.keep=0"], "run.keep: got 0, must be 1 or more"),
        (["run.log_every=0"], "run.log_every: got 0"),
        (["run.eval_every=-1"], "run.eval_every: got -1"),
        (["run.threads=-1"], "run.threads: got -1"),
        (["run.runs="], "run.runs: got ''"),
        (["warm_start.name=none", "warm_start.lr=1"], "warm_start.lr: is given, but there is no warm_start"),
        (["warm_start.name=sftt"], "there is no trainer 'sftt', did you mean 'sft'?"),
        (["warm_start.stop_at=x"], "warm_start.stop_at: got the text 'x'"),
    ],
)
def test_bad_sets(sets, message):
    with pytest.raises(UsageError) as caught:
        plan({}, *sets)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[modle]\nsize = 3", "there is no section 'modle', did you mean 'model'?"),
        ("[model]\nsise = 3", "model.sise: there is no such option, did you mean 'size'?"),
        ("[model]\nname = 3", "model.name: got 3, must be the name of a model"),
        ("[version]\ntorch = '2'", "there is no section 'version'"),
        ("[warm_start]\nname = 'none'\nlr = 1.0", "warm_start.lr: is given, but there is no warm_start"),
        ("[adapter]\nsize = 1", "adapter.size: is given, but there is no adapter"),
    ],
)
def test_bad_files(tmp_path, content, message):
    file = tmp_path / "r.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        plan(toml=file)
    assert message in str(caught.value)


def test_records_in_a_file_are_ignored(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text('[versions]\ntorch = "2.13"\n[hashes]\nmodel = "abc"\n', encoding="utf-8")
    assert plan(toml=file) == plan()


def test_a_higher_layer_may_take_a_part_away_with_its_values(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(plan({"adapter": "lora"}, "adapter.size=2").to_toml(), encoding="utf-8")
    assert plan({"adapter": "none"}, toml=file).adapter is None
    assert plan({}, "warm_start.name=none", toml=file).warm_start is None
    with pytest.raises(UsageError, match=r"adapter\.size: is given"):
        plan({"adapter": "none"}, "adapter.size=3", toml=file)


def test_values_for_another_part_are_not_dropped(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text('[task]\nname = "corpus"\nmode = "b"\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"task\.mode: there is no such option.*\[task\] is for 'corpus' and not for"):
        plan({"task": "sort"}, toml=file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"model": "gpt"}, "model.name=bigram"), "--model gpt and --set model.name=bigram contradict"),
        (({}, "trainer.steps=5", {"steps": 6}), "trainer.steps=5 and a flag that says 6 contradict"),
        (({}, "run.seed=5", {"seed": 6}), "run.seed=5 and a flag that says 6 contradict"),
        (({"task": "corpus"}, "task.path=a", {"data": "b"}), "task.path=a and a flag that says b contradict"),
    ],
)
def test_contradictions(arguments, message):
    names, text, *more = arguments
    with pytest.raises(UsageError) as caught:
        plan(names, text, **(more[0] if more else {}))
    assert message in str(caught.value)
    assert plan({"model": "gpt"}, "model.name=gpt").model.part.name == "gpt"


def test_a_config_that_cannot_be_loaded_is_the_plugins_fault():
    lost = dataclasses.replace(PARTS[2], config="no_such_module:X")
    with pytest.raises(PluginError, match=r"model 'gpt' \(dist 1\.0\) cannot be loaded.*no_such_module"):
        plan(registry=Registry(all_parts=(*PARTS[:2], lost, *PARTS[3:])))


names = st.fixed_dictionaries(
    {}, optional={kind: st.sampled_from([*(p.name for p in PARTS if p.kind == kind), "none"]) for kind in KINDS}
)
