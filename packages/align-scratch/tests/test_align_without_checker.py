"""Prompts alone: a reward model can pay where no checker can mark, and everything else says what is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from align_scratch.best_of_n import BestOfN
from align_scratch.config.best_of_n import BestOfNConfig
from align_scratch.config.data import FileConfig
from align_scratch.config.dpo import DPOConfig
from align_scratch.config.expert_iteration import ExpertIterationConfig
from align_scratch.config.grpo import GRPOConfig
from align_scratch.config.ppo import PPOConfig
from align_scratch.config.reinforce import REINFORCEConfig
from align_scratch.config.rloo import RLOOConfig
from align_scratch.config.sft import SFTConfig
from align_scratch.dpo import DPO
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.expert_iteration import ExpertIteration
from align_scratch.grpo import GRPO
from align_scratch.ppo import PPO
from align_scratch.reinforce import REINFORCE
from align_scratch.reward_model import RewardModel
from align_scratch.rloo import RLOO
from align_scratch.sft import SFT
from align_scratch.tasks.file import File
from align_scratch.tasks.rows import MissingField

Parts = Callable[..., dict[str, Any]]
SMALL: dict[str, Any] = {"steps": 2, "prompts_per_step": 4, "group_size": 4, "warmup_steps": 0, "max_new_tokens": 5}
TRAINERS: dict[str, tuple[Any, Any]] = {
    "grpo": (GRPO, GRPOConfig),
    "rloo": (RLOO, RLOOConfig),
    "reinforce": (REINFORCE, REINFORCEConfig),
    "ppo": (PPO, PPOConfig),
    "best-of-n": (BestOfN, BestOfNConfig),
}


def write(path: Path, records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


@pytest.fixture
def prompts(tmp_path: Path) -> File:
    return File(FileConfig(path=write(tmp_path / "prompts.jsonl", [{"prompt": f"{i} ="} for i in range(40)])))


@pytest.fixture
def reward_model(tmp_path: Path, tokenizer: Any) -> str:
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 8, "max_length": 64, "dropout": 0.0}
    RewardModel.on_encoder({"vocab_size": tokenizer.vocab_size, **shape}, tokenizer).save(tmp_path / "run" / "trainer")
    return str(tmp_path / "run")


@pytest.mark.parametrize("name", TRAINERS)
def test_a_reward_model_pays_where_nothing_can_be_marked(
    parts: Parts, prompts: File, reward_model: str, name: str
) -> None:
    build, config = TRAINERS[name]
    trainer = build(config(**SMALL, reward_model=reward_model), **parts(prompts))
    before = trainer.evaluate()
    for metrics in trainer.train():
        assert metrics["reward"] == pytest.approx(metrics["rewards/reward_model/mean"])
        assert metrics["reward/errors"] == 0
        assert "accuracy" not in metrics  # nobody knows what is right
        assert "rewards/gold/mean" not in metrics
    assert all(
        math.isfinite(record["reward"]) and not {"correct", "answer"} & record.keys()
        for record in trainer.last_rollouts()
    )
    after = trainer.evaluate()
    assert set(after) == set(before)
    assert {after[key] for key in ("greedy", "sampled", "reward", "exact_match", "token_f1")} == {None}
    assert math.isfinite(after["reward_model"])
    assert after["problems"] == len(prompts.examples("held_out"))
    assert not {"correct", "answer"} & trainer.samples(1)[0].keys()


def test_an_evaluation_shows_what_the_reward_model_thinks(parts: Parts, reward_model: str) -> None:
    """Also where the task can mark: held-out proxy and gold stand side by side."""
    trainer = GRPO(GRPOConfig(**SMALL, reward_model=reward_model), **parts())
    found = trainer.evaluate()
    assert found == trainer.evaluate()
    assert 0 <= found["sampled"] <= 1
    assert found["reward_model"] != found["reward"] == found["sampled"]


@pytest.mark.parametrize("name", [*TRAINERS, "expert-iteration"])
def test_without_one_the_missing_field_is_named_before_anything_is_sampled(
    parts: Parts, prompts: File, name: str
) -> None:
    build, config = (TRAINERS | {"expert-iteration": (ExpertIteration, ExpertIterationConfig)})[name]
    with pytest.raises(MissingField, match=r"prompts.jsonl: has no `answer`.*add `answer` .* or let a reward model"):
        build(config(**SMALL), **parts(prompts))

    class NoChecker:
        def examples(self, split: str) -> Any:
            return prompts.examples(split)

    with pytest.raises(DoesNotFit, match="task: cannot mark completions"):
        build(config(**SMALL), **parts(NoChecker()))


def test_the_length_of_completions_must_be_told(parts: Parts, prompts: File, reward_model: str) -> None:
    with pytest.raises(DoesNotFit, match="max_new_tokens: none, but the task has no answers"):
        GRPO(GRPOConfig(**SMALL | {"max_new_tokens": None}, reward_model=reward_model), **parts(prompts))


@pytest.mark.parametrize(
    ("loss_type", "message"),
    [("sigmoid", "has no `chosen` and `rejected`"), ("kto", "has neither `completion` with `label` nor `chosen`")],
)
def test_dpo_names_the_fields_that_are_missing(parts: Parts, prompts: File, loss_type: str, message: str) -> None:
    with pytest.raises(MissingField, match=f"prompts.jsonl: {message}"):
        DPO(DPOConfig(steps=1, loss_type=loss_type), **parts(prompts))


def test_dpo_on_its_own_samples_needs_answers(parts: Parts, prompts: File) -> None:
    with pytest.raises(MissingField, match="has no `answer`"):
        DPO(DPOConfig(steps=1, pairs="sampled", max_new_tokens=4), **parts(prompts))


def test_completions_that_nobody_liked_are_pushed_away(tmp_path: Path, parts: Parts) -> None:
    """All labels false: nothing to mark and nothing to show, and kto goes on, with a warning."""
    records = [{"prompt": f"{i} =", "completion": str(i), "label": False} for i in range(20)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records)))
    with pytest.warns(UserWarning, match="every row is undesirable"):
        trainer = DPO(DPOConfig(steps=1, batch_size=4, loss_type="kto"), **parts(task))
    assert len(list(trainer.train())) == 1
    assert "greedy" not in trainer.evaluate()


def test_nothing_liked_is_held_out(tmp_path: Path, parts: Parts) -> None:
    rows = [{"prompt": f"{i} =", "completion": str(i), "label": i < 20} for i in range(40)]
    liked, rest = write(tmp_path / "a.jsonl", rows[:30]), write(tmp_path / "b.jsonl", rows[30:])
    task = File(FileConfig(path=liked, held_out_path=rest))
    trainer = DPO(DPOConfig(steps=1, batch_size=4, loss_type="kto"), **parts(task))
    found = trainer.evaluate()
    assert found["greedy"] is found["exact_match"] is None
    assert found["problems"] == 0
    assert trainer.samples(3) == []


@pytest.mark.parametrize("held_out", [{"text": "7 = 7"}, {"prompt": "7 ="}])
def test_a_held_out_file_that_offers_less_is_refused(tmp_path: Path, parts: Parts, held_out: dict[str, str]) -> None:
    train = write(tmp_path / "a.jsonl", [{"prompt": f"{i} =", "completion": "1"} for i in range(6)])
    other = write(tmp_path / "b.jsonl", [held_out])
    with pytest.raises(DataError, match=r"b.jsonl: has .*, but .*a.jsonl has .*: give both files the same fields"):
        SFT(SFTConfig(steps=1), **parts(File(FileConfig(path=train, held_out_path=other))))
