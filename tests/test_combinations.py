"""Every model x trainer x task x adapter fits, or the host says why it does not; and what fits takes two steps.

What fits is stated here by hand (`reason_against`), not derived from what was registered: a wrong capability fails
this test, and so does a new part that nobody has thought about. All combinations are planned; those that are run cover
every pair of parts that can stand together, and every model x trainer x adapter.
"""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from align_scratch.tasks.problems import Score
from scratch_cli.errors import UsageError
from scratch_cli.plan import Plan, make_plan
from scratch_cli.registry import Registry, discover

TOKENIZERS = ("bpe", "byte", "char", "hf", "sentencepiece", "unigram", "word", "wordpiece")
CAUSAL, VECTORS = ("bigram", "gpt", "transformers"), ("skipgram",)
MODELS = CAUSAL + VECTORS
PAIRED, TEXT_ONLY = ("file", "preferences"), ("corpus",)
CHECKABLE = ("add", "brackets", "choice", "cipher", "copy", "count-letters", "countdown", "gsm8k", "instructions")
CHECKABLE += ("mul", "parity", "reverse", "sort", "sub")
TASKS = CHECKABLE + PAIRED + TEXT_ONLY
SAMPLERS = ("greedy", "multinomial", "top-k", "top-p")
POLICY = ("best-of-n", "expert-iteration", "grpo", "lora", "ppo", "reinforce", "rloo", "sdpo", "tinylora")
FROM_CHECKED = (*POLICY, "dpo", "hinted-sft", "sft")
TRAINERS = (*FROM_CHECKED, "pretrain", "reward", "word2vec")
ADAPTERS = ("lora", "lora-xs", "none", "peft-tinylora", "tinylora")
LONG_CONTEXT = {"gpt": {"block_size": 2048}, "transformers": {"max_length": 2048}}
"""Some tasks ask in sentences, and a tokenizer of bytes reads each letter of them."""


def reason_against(model: str, trainer: str, task: str, adapter: str) -> str | None:
    """The part that the refusal must name, or None if the combination makes sense."""
    if (trainer == "word2vec") != (model in VECTORS):
        return model
    if trainer in FROM_CHECKED and task in TEXT_ONLY:
        return task
    if trainer == "reward" and task not in PAIRED:
        return task
    if trainer in ("lora", "tinylora") and (adapter == "none" or model not in ("gpt", "transformers")):
        return trainer  # it is an algorithm through an adapter
    if adapter != "none" and model not in (
        "gpt",
        "transformers",
    ):  # bigram and skipgram are tables: no linear layer to adapt
        return model
    return None


COMBINATIONS = list(itertools.product(MODELS, TRAINERS, TASKS, ADAPTERS))
FIT = [c for c in COMBINATIONS if reason_against(*c) is None]
REFUSED = [c for c in COMBINATIONS if reason_against(*c) is not None]


def covering() -> list[tuple[str, str, str, str, str]]:
    """Rows (tokenizer, model, trainer, task, adapter) that hold every pair of two columns, and every
    model x trainer x adapter, that any row can hold. Greedy, and the same each time."""

    def pairs(row: tuple[str, ...]) -> set[Any]:
        return set(itertools.combinations(enumerate(row), 2)) | {(row[1], row[2], row[4])}

    rows = [(tokenizer, *c) for c in FIT for tokenizer in TOKENIZERS]
    missing = set().union(*map(pairs, rows))
    chosen = []
    # Most rows bring many new pairs at first and few later on: take any that brings as many as are still to be had.
    for least in range(11, 0, -1):
        for row in rows[:: 7 if least > 1 else 1]:
            if len(missing & pairs(row)) >= least:
                chosen.append(row)
                missing -= pairs(row)
    assert not missing
    return chosen


@functools.cache
def registry() -> Registry:
    return discover()


def smoke_plan(folder: Path, **names: str) -> Plan:
    """A plan of the smallest parts of these names, with the defaults of the rest."""
    sections: dict[str, dict[str, Any]] = {}
    for kind, name in names.items():
        smoke = {} if name == "none" else dict(registry().find(kind, name).smoke)
        smoke |= LONG_CONTEXT.get(name, {}) if kind == "model" else {}
        sections[kind] = {"name": name, **smoke}
    sections["warm_start"] = {"name": "none"}
    file = folder / "run.toml"
    file.write_text(tomli_w.dumps(sections), encoding="utf-8")
    return make_plan(registry(), names={}, toml=file, steps=2)


def test_the_lists_above_are_complete() -> None:
    def installed(kind: str) -> set[str]:
        return {part.name for part in registry().parts(kind)}

    assert not registry().failures
    assert installed("tokenizer") == set(TOKENIZERS)
    assert installed("model") == set(MODELS)
    assert installed("trainer") == set(TRAINERS)
    assert installed("task") == set(TASKS)
    assert installed("adapter") | {"none"} == set(ADAPTERS)
    assert installed("sampler") == set(SAMPLERS)


_tokenizers: dict[tuple[str, str], Any] = {}


def tokenizer_of(plan: Plan, task: Any) -> Any:
    key = (plan.tokenizer.spelled, plan.task.spelled)  # type: ignore[union-attr]
    if key not in _tokenizers:
        _tokenizers[key] = plan.tokenizer.part.load().train(task.texts("train"), plan.tokenizer.config)
    return _tokenizers[key]


class ByLength:
    """A task's examples, whose completions are the better the longer they are."""

    def __init__(self, task: Any) -> None:
        self.texts, self.examples = task.texts, task.examples

    def check(self, example: Any, completion: str) -> Score:
        return Score(reward=float(len(completion)), correct=False)


@pytest.mark.filterwarnings("ignore:task, train pairs. left out:UserWarning")  # words unseen in training are one id
@pytest.mark.filterwarnings("ignore:task, held_out pairs. left out:UserWarning")
@pytest.mark.parametrize(("tokenizer", "model", "trainer", "task", "adapter"), covering())
def test_takes_two_steps(tmp_path: Path, tokenizer: str, model: str, trainer: str, task: str, adapter: str) -> None:
    plan = smoke_plan(tmp_path, tokenizer=tokenizer, model=model, trainer=trainer, task=task, adapter=adapter)
    built_task = plan.task.part.load()(plan.task.config)  # type: ignore[union-attr]
    if trainer == "dpo" and task not in PAIRED:
        built_task = ByLength(built_task)  # a model that has learnt nothing has no better and worse samples otherwise
    built_tokenizer = tokenizer_of(plan, built_task)
    torch.manual_seed(1)
    built_model = plan.model.part.load()(plan.model.config, vocab_size=built_tokenizer.vocab_size)
    built_adapter = None
    if plan.adapter is not None:
        built_adapter = plan.adapter.part.load()(plan.adapter.config)
        built_adapter.wrap(built_model)
    sampler = plan.sampler.part.load()(plan.sampler.config) if plan.sampler is not None else None
    frozen = {name: p.detach().clone() for name, p in built_model.named_parameters() if not p.requires_grad}
    built = plan.trainer.part.load()(
        plan.trainer.config,
        model=built_model,
        tokenizer=built_tokenizer,
        task=built_task,
        sampler=sampler,
        adapter=built_adapter,
        seed=1,
    )
    rows = list(built.train())
    assert [row["step"] for row in rows] == [1, 2]
    values = [value for row in rows for value in row.values() if value is not None]
    assert all(math.isfinite(value) for value in values)
    assert all(math.isfinite(value) for value in built.evaluate().values() if value is not None)
    after = dict(built_model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_combination_fits_or_is_refused_with_the_reason(tmp_path: Path, trainer: str) -> None:
    for model, _, task, adapter in [c for c in FIT if c[1] == trainer]:
        smoke_plan(tmp_path, tokenizer="byte", model=model, trainer=trainer, task=task, adapter=adapter)
    for model, _, task, adapter in [c for c in REFUSED if c[1] == trainer]:
        with pytest.raises(UsageError) as refusal:
            smoke_plan(tmp_path, tokenizer="byte", model=model, trainer=trainer, task=task, adapter=adapter)
        message = str(refusal.value)
        assert "needs a" in message
        assert "that fit" in message
        # Where several things are wrong, one of them is named; where one is, it is that one.
        wrong = [name for name in (model, task) if name in message]
        assert reason_against(model, trainer, task, adapter) in message or wrong


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_reinforcement_wants_a_sampler_that_can_draw_every_id(tmp_path: Path, sampler: str) -> None:
    """Top-k, top-p and greedy draw from another distribution than the one whose gradient is taken."""
    names = {"tokenizer": "byte", "model": "gpt", "trainer": "grpo", "task": "sort", "sampler": sampler}
    if sampler == "multinomial":
        assert smoke_plan(tmp_path, **names).sampler is not None
        return
    with pytest.raises(UsageError, match="full-support") as refusal:
        smoke_plan(tmp_path, **names)
    assert "multinomial" in str(refusal.value)
