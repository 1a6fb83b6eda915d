"""Interrupted training ends where uninterrupted training ends, to the last bit, for every trainer.

20 steps straight against k steps, a checkpoint on disk, and the rest in freshly built objects. Dropout is on and every
step is accumulated from two micro-batches, because both are where resuming usually goes wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from scratch_cli import checkpoint
from scratch_cli.plan import Plan, make_plan
from scratch_cli.registry import Registry, discover

STEPS = 20
INTERRUPTED_AT = (1, 7, 13, 19)
DROPOUT = {"gpt": {"dropout": 0.1}, "skipgram": {}}
OPTIONS: dict[str, dict[str, Any]] = {
    "pretrain": {"grad_accum_steps": 2},
    "word2vec": {"grad_accum_steps": 2},
    "sft": {"grad_accum_steps": 2},
    "grpo": {"grad_accum_steps": 2, "disable_dropout": False, "kl_coef": 0.05},
}
CASES = [
    ("pretrain", "gpt", "corpus", "none"),
    ("word2vec", "skipgram", "corpus", "none"),
    ("sft", "gpt", "sort", "none"),
    ("grpo", "gpt", "sort", "none"),
    ("sft", "gpt", "add", "lora"),
    ("grpo", "gpt", "reverse", "lora"),
]


@functools.cache
def registry() -> Registry:
    return discover()


def plan_for(folder: Path, trainer: str, model: str, task: str, adapter: str) -> Plan:
    sections: dict[str, dict[str, Any]] = {"warm_start": {"name": "none"}}
    for kind, name in {
        "tokenizer": "byte",
        "model": model,
        "trainer": trainer,
        "task": task,
        "adapter": adapter,
    }.items():
        smoke = {} if name == "none" else dict(registry().find(kind, name).smoke)
        sections[kind] = {"name": name, **smoke}
    sections["model"] |= DROPOUT[model]
    sections["trainer"] |= OPTIONS[trainer]
    if adapter == "lora":
        sections["adapter"]["dropout"] = 0.1
    file = folder / "run.toml"
    file.write_text(tomli_w.dumps(sections), encoding="utf-8")
    return make_plan(registry(), names={}, toml=file, steps=STEPS)


def build(plan: Plan) -> Any:
    task = plan.task.part.load()(plan.task.config)  # type: ignore[union-attr]
    tokenizer = plan.tokenizer.part.load().train(task.texts("train"), plan.tokenizer.config)
    torch.manual_seed(3)
    model = plan.model.part.load()(plan.model.config, vocab_size=tokenizer.vocab_size)
    adapter = plan.adapter.part.load()(plan.adapter.config) if plan.adapter is not None else None
    if adapter is not None:
        adapter.wrap(model)
    sampler = plan.sampler.part.load()(plan.sampler.config) if plan.sampler is not None else None
    return plan.trainer.part.load()(
        plan.trainer.config, model=model, tokenizer=tokenizer, task=task, sampler=sampler, adapter=adapter, seed=3
    )


def untimed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("time/")}


def differences(left: Any, right: Any, where: str = "state") -> list[str]:
    """Where two nested states differ, bit for bit."""
    if isinstance(left, torch.Tensor):
        same = isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
        return [] if same else [where]
    if isinstance(left, Mapping):
        if not isinstance(right, Mapping) or set(left) != set(right):
            return [where]
        return [found for key in left for found in differences(left[key], right[key], f"{where}.{key}")]
    if isinstance(left, list | tuple):
        if len(left) != len(right):
            return [where]
        return [
            found
            for i, (a, b) in enumerate(zip(left, right, strict=True))
            for found in differences(a, b, f"{where}[{i}]")
        ]
    return [] if left == right else [where]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("trainer", "model", "task", "adapter"), CASES)
def test_resumed_equals_uninterrupted(tmp_path: Path, trainer: str, model: str, task: str, adapter: str) -> None:
    plan = plan_for(tmp_path, trainer, model, task, adapter)
    straight = build(plan)
    initial = straight.state_dict()
    expected = [untimed(row) for row in straight.train()]
    assert [row["step"] for row in expected] == list(range(1, STEPS + 1))
    assert differences(initial["model"], straight.state_dict()["model"]), "nothing was learned, so nothing is proven"

    for k in INTERRUPTED_AT:
        first = build(plan)
        steps = first.train()
        rows = [untimed(next(steps)) for _ in range(k)]
        first.evaluate()  # changes nothing, also here
        saved = checkpoint.write(tmp_path / f"checkpoints-{k}", k, {"trainer": first.state_dict()}, {})
        steps.close()
        torch.manual_seed(999)  # a new process has another global random state

        second = build(plan)
        second.load_state_dict(checkpoint.read(saved).state["trainer"])
        rows += [untimed(row) for row in second.train()]
        assert rows == expected, f"metrics differ when interrupted at step {k}"
        assert not differences(straight.state_dict(), second.state_dict()), f"state differs when interrupted at {k}"
