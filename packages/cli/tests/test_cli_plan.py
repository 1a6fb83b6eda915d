"""Names and values become a plan, or a refusal that names both sides; a plan's file gives the plan back."""

from __future__ import annotations

import dataclasses
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.plans import PARTS, REGISTRY, DataConfig, TrainerConfig, part, plan

from scratch_cli.errors import ScratchError, UsageError
from scratch_cli.plan import Plan
from scratch_cli.registry import KINDS, Failure, Registry


def chosen_names(plan: Plan) -> dict[str, str | None]:
    return {section: chosen.part.name if chosen else None for section, chosen in plan.chosen().items()}


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_default_run():
    assert chosen_names(plan()) == {
        "tokenizer": "bpe",
        "model": "gpt",
        "sampler": "multinomial",
        "trainer": "grpo",
        "adapter": None,
        "task": "sort",
        "warm_start": "sft",
    }


def test_the_trainer_brings_its_partners():
    assert chosen_names(plan({"trainer": "word2vec"})) == {
        "tokenizer": "bpe",
        "model": "skipgram",
        "sampler": None,  # nothing to sample from
        "trainer": "word2vec",
        "adapter": None,
        "task": "corpus",
        "warm_start": None,
    }


def test_a_task_may_bring_its_trainer():
    assert chosen_names(plan({"task": "corpus"}))["trainer"] == "pretrain"


def test_a_flag_wins_over_the_file_which_wins_over_defaults(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text('[model]\nname = "bigram"\n[trainer]\nname = "sft"\n', encoding="utf-8")
    made = plan({"trainer": "pretrain", "task": None}, toml=file)
    assert chosen_names(made)["model"] == "bigram"
    assert chosen_names(made)["trainer"] == "pretrain"
    assert chosen_names(plan({}, "model.name=gpt", toml=file))["model"] == "gpt"


def test_a_part_of_a_named_distribution_and_a_clash():
    other = part("model", "gpt", distribution="other", provides=("causal-lm",))
    registry = Registry(all_parts=(*PARTS, other), distributions=(("dist", "1.0"), ("other", "1.0")))
    with pytest.raises(UsageError, match=r"gpt@dist .*gpt@other"):
        plan(registry=registry)
    made = plan({"model": "gpt@other"}, registry=registry)
    assert made.model.part is other
    assert made.to_mapping()["model"]["name"] == "gpt@other"


def test_a_registered_default_means_the_packages_own_part():
    other = part("task", "corpus", DataConfig, distribution="other", provides=("text",))
    registry = Registry(all_parts=(*PARTS, other), distributions=(("dist", "1.0"), ("other", "1.0")))
    made = plan({"trainer": "pretrain"}, registry=registry)
    assert made.task is not None
    assert made.task.spelled == "corpus@dist"


def test_none_names_no_part():
    made = plan({"sampler": "none", "trainer": "pretrain"})
    assert made.sampler is None
    assert plan({"adapter": "none"}).adapter is None
    for kind in ("tokenizer", "model", "trainer"):
        with pytest.raises(UsageError, match=f"{kind}.name: got 'none'"):
            plan({kind: "none"})
    with pytest.raises(UsageError, match="needs a sampler that provides 'full-support', and none is chosen"):
        plan({"sampler": "none"})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"model": "gtp"}, "there is no model 'gtp', did you mean 'gpt'?; there are bigram, gpt, skipgram"),
        ({"task": "xyz"}, "there is no task 'xyz'; there are corpus, sort"),
        ({"modle": "gpt"}, "there is no kind 'modle', did you mean 'model'?"),
        ({"run": "x"}, "there is no kind 'run'"),
    ],
)
def test_names_that_do_not_exist(names, message):
    with pytest.raises(UsageError) as caught:
        plan(names)
    assert message in str(caught.value)


def test_a_missing_name_tells_of_broken_plugins():
    failure = Failure(distribution="broken", version="3", error="ImportError: x")
    with pytest.raises(UsageError, match="broken plugins: broken 3: ImportError: x"):
        plan({"model": "lstm"}, registry=dataclasses.replace(REGISTRY, failures=(failure,)))


def test_a_default_that_is_not_installed_says_who_wants_it():
    without = Registry(all_parts=tuple(p for p in PARTS if p.name != "sort"), distributions=REGISTRY.distributions)
    with pytest.raises(UsageError, match=r"trainer 'grpo' .* takes the task 'sort' unless another is named, but"):
        plan(registry=without)
    without = Registry(all_parts=tuple(p for p in PARTS if p.name != "sft"), distributions=REGISTRY.distributions)
    with pytest.raises(UsageError, match=r"warm start: .*'sft'.*warm_start\.name=none"):
        plan(registry=without)
    without = Registry(all_parts=tuple(p for p in PARTS if p.kind != "sampler"), distributions=REGISTRY.distributions)
    assert plan({"trainer": "pretrain"}, registry=without).sampler is None
    with pytest.raises(UsageError, match="there is no sampler 'multinomial'"):
        plan(registry=without)
    with pytest.raises(UsageError, match="there is no trainer 'grpo'; there are none"):
        plan(registry=Registry())


# --- what fits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (
            {"model": "skipgram"},
            (
                "trainer 'grpo' (dist 1.0) needs a model that provides 'causal-lm'",
                "model 'skipgram' (dist 1.0) provides 'word-vectors'",
                "models that fit grpo: bigram, gpt",
                "trainers that fit skipgram: word2vec",
            ),
        ),
        ({"trainer": "grpo", "task": "corpus"}, ("'checker'", "provides 'text'", "tasks that fit grpo: sort")),
        ({"tokenizer": "bare"}, ("needs a tokenizer that provides 'eos'", "tokenizers that fit grpo: bpe")),
        ({"sampler": "greedy"}, ("'full-support'", "samplers that fit grpo: multinomial")),
        (
            {"adapter": "lora", "model": "bigram"},
            ("adapter 'lora'", "'linear-layers'", "models that fit lora: gpt", "adapters that fit bigram: none"),
        ),
        ({"trainer": "word2vec", "model": "gpt"}, ("'word-vectors'", "model 'gpt'")),
        ({"trainer": "sft", "task": "none"}, ("needs a task that provides 'checker', and none is chosen",)),
    ],
)
def test_what_does_not_fit_is_refused_with_both_sides(names, texts):
    with pytest.raises(UsageError) as caught:
        plan(names)
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_warm_start_must_fit_too():
    picky = part("trainer", "sft", TrainerConfig, needs={"adapter": ()})
    registry = Registry(all_parts=(*(p for p in PARTS if p.name != "sft"), picky), distributions=REGISTRY.distributions)
    with pytest.raises(UsageError, match=r"warm start: trainer 'sft'.*needs an adapter.*warm_start\.name=none"):
        plan(registry=registry)
    assert plan({}, "warm_start.name=none", registry=registry).warm_start is None


# --- data ------------------------------------------------------------------------------------------------------------


def test_data_picks_its_task():
    made = plan({}, data="my file.txt")
    assert chosen_names(made)["task"] == "corpus"
    assert chosen_names(made)["trainer"] == "pretrain"
    assert made.task is not None
    assert made.task.config == DataConfig(path="my file.txt")
    assert plan({"task": "corpus", "trainer": "pretrain"}, data="3").to_mapping()["task"]["path"] == "3"


def test_data_that_no_task_can_read():
    with pytest.raises(UsageError, match=r"--data x: task 'sort' .* reads no data; tasks that read data: corpus"):
        plan({"task": "sort"}, data="x")
    with pytest.raises(UsageError, match="--data x: there is no task"):
        plan({"task": "none", "trainer": "pretrain"}, data="x")
    with pytest.raises(UsageError, match="no installed task reads a file"):
        plan(data="x", registry=Registry(all_parts=tuple(p for p in PARTS if p.name != "corpus")))
    with pytest.raises(UsageError, match=r"trainer 'grpo'.*task 'corpus'"):
        plan({"trainer": "grpo"}, data="x")


def test_data_that_several_tasks_can_read():
    other = part("task", "chats", DataConfig, provides=("text", "checker"), data="path")
    registry = Registry(all_parts=(*PARTS, other), distributions=REGISTRY.distributions)
    with pytest.raises(UsageError, match="say which task reads it with --task; there are corpus@dist, chats@dist"):
        plan(data="x", registry=registry)
    assert chosen_names(plan({"trainer": "pretrain"}, data="x", registry=registry))["task"] == "corpus"
    assert chosen_names(plan({"task": "chats"}, data="x", registry=registry))["trainer"] == "grpo"


# --- starting from another run ---------------------------------------------------------------------------------------


def test_a_run_that_starts_from_another_has_its_tokenizer_and_model():
    base = plan({"model": "bigram", "trainer": "sft"}, "model.size=9", "tokenizer.size=5").to_mapping()
    made = plan(base=base)
    assert chosen_names(made) == {**chosen_names(plan()), "model": "bigram", "warm_start": None}
    assert (made.model.config.size, made.tokenizer.config.size) == (9, 5)
    assert plan({"model": "bigram"}, "model.size=9", base=base) == made
    assert plan({}, "warm_start.name=sft", base=base).warm_start is not None
    with pytest.raises(UsageError, match="model: got 'gpt', but the run to start from has 'bigram'"):
        plan({"model": "gpt"}, base=base)
    with pytest.raises(UsageError, match="model: size cannot be changed; the model comes from the run to start from"):
        plan({}, "model.size=8", base=base)


def test_a_file_of_a_run_that_started_from_another_repeats_it(tmp_path):
    base = plan({"model": "bigram", "trainer": "sft"}).to_mapping()
    made = plan(base=base)
    file = tmp_path / "r.toml"
    file.write_text(made.to_toml(), encoding="utf-8")
    assert plan(toml=file, base=base) == made


# --- back and forth --------------------------------------------------------------------------------------------------

finite = st.floats(0, 1e6, allow_nan=False)
names = st.fixed_dictionaries(
    {}, optional={kind: st.sampled_from([*(p.name for p in PARTS if p.kind == kind), "none"]) for kind in KINDS}
)
values = st.fixed_dictionaries(
    {},
    optional={
        "model.size": st.integers(1, 99),
        "tokenizer.share": finite | st.just("none"),
        "trainer.lr": finite,
        "trainer.betas": st.lists(finite, min_size=2, max_size=2),
        "run.seed": st.integers(0, 2**63 - 1),
        "run.device": st.sampled_from(["auto", "cpu", "cuda"]),
        "run.start_from": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
        "warm_start.name": st.just("none"),
    },
)


@settings(deadline=None, derandomize=True, max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
@given(names, values, st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
def test_the_plan_of_a_plans_file_is_the_plan(tmp_path_factory, names, values, data):
    from scratch_cli.options import set_text

    sets = [set_text(*key.split("."), value) for key, value in values.items()]
    try:
        made = plan(names, *sets, data=data)
    except ScratchError:
        assume(False)
    file: Path = tmp_path_factory.mktemp("plan") / "run.toml"
    text = made.to_toml()
    assert tomllib.loads(text) == made.to_mapping()
    file.write_text(text, encoding="utf-8", newline="\n")
    again = plan(toml=file)
    assert again == made
    assert again.to_toml() == text
