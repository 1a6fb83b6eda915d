"""What the preference trainer learns from: pairs from samples, single completions for KTO, data that does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from preferences import SAMPLED, SMALL, Tasks

from align_scratch.config.dpo import DPOConfig
from align_scratch.config.tasks import SortConfig
from align_scratch.dpo import DPO
from align_scratch.errors import CheckerFailed, DataError, DoesNotFit
from align_scratch.preference_data import (
    best_and_worst,
    encode_pairs,
    labelled_from_pairs,
    with_others,
)
from align_scratch.tasks.problems import Example, Pair, Score
from align_scratch.tasks.sorting import Sort
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial


class PairsOnly:
    def __init__(self, pairs: list[Any] | None = None) -> None:
        self.given = pairs

    def pairs(self, split: str) -> list[Any]:
        return Tasks().pairs(split) if self.given is None else self.given


class Labelled:
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def labelled(self, split: str) -> list[Any]:
        return self.items


def item(prompt: Any, completion: Any, label: Any) -> Any:
    return SimpleNamespace(prompt=prompt, completion=completion, label=label)


@pytest.fixture
def build(parts: Callable[..., dict[str, Any]]) -> Callable[..., DPO]:
    def make(
        seed: int = 0, task: Any = None, dropout: float = 0.0, given: dict[str, Any] | None = None, **options: Any
    ) -> DPO:
        made = parts(task or Tasks(), seed=seed, dropout=dropout) | (given or {})
        return DPO(DPOConfig(**(SMALL | options)), **made)

    return make


# --- pairs from samples ----------------------------------------------------------------------------------------------


def test_the_best_and_the_worst_of_a_group() -> None:
    rewards = torch.tensor([[0.0, 1.0, float("nan"), 0.5], [1.0, 1.0, 1.0, 1.0], [float("nan")] * 4, [2.0, 1, 1, 2]])
    ids = torch.arange(16)[:, None] + torch.tensor([[100, 200, 300]])
    sequences = SimpleNamespace(ids=ids, prompt_lengths=torch.ones(16), completion_lengths=torch.tensor([1, 2] * 8))
    rollouts: Any = SimpleNamespace(rewards=rewards, sequences=sequences, group_size=4)
    rows, roles = best_and_worst(rollouts)
    assert roles.tolist() == [[-1, 1, 0, 0], [0] * 4, [0] * 4, [1, -1, 0, 0]]
    assert rows.prompts == [[101], [112]]
    assert rows.chosen == [[201, 301], [212]]
    assert rows.rejected == [[200], [213, 313]]
    assert rows.equal == 2


def test_samples_are_drawn_when_due_and_recorded(build: Callable[..., DPO]) -> None:
    trainer = build(**SAMPLED)
    steps, roles = [], []
    for metrics in trainer.train():
        if "reward" in metrics:
            steps.append(metrics["step"])
        roles.append([rollout["advantage"] for rollout in trainer.last_rollouts()])
    assert steps == [1, 3]
    assert [len(rows) for rows in roles] == [24, 0, 24, 0]
    assert set(roles[0]) <= {1.0, -1.0, 0.0}
    assert roles[0].count(1.0) == roles[0].count(-1.0) > 0
    once = build(**SAMPLED | {"resample_every": None, "precompute_ref_log_probs": True})
    assert sum("reward" in metrics for metrics in once.train()) == 1
    assert not hasattr(build(), "last_rollouts")


def test_sampled_pairs_raise_the_reward(build: Callable[..., DPO]) -> None:
    trainer = build(**SAMPLED | {"steps": 40, "prompts_per_sampling": 16, "batch_size": 16, "lr": 1e-2})
    before = trainer.evaluate()["reward"]
    list(trainer.train())
    assert trainer.evaluate()["reward"] > before + 0.2


def test_samples_that_are_all_alike_teach_nothing(build: Callable[..., DPO]) -> None:
    class Flat(Tasks):
        def check(self, example: Example, completion: str) -> Score:
            return Score(reward=0.0, correct=False)

    with pytest.raises(CheckerFailed, match=r"in none of 6 groups .* longer warm start"):
        next(iter(build(task=Flat(), **SAMPLED).train()))


def test_once_all_are_right_it_goes_on_with_what_it_has(build: Callable[..., DPO]) -> None:
    class Fades(Tasks):
        calls = 0

        def check(self, example: Example, completion: str) -> Score:
            Fades.calls += 1
            reward = Tasks.check(self, example, completion).reward if Fades.calls <= 24 else 0.0
            return Score(reward=reward, correct=False)

    metrics = list(build(task=Fades(), **SAMPLED).train())
    assert [row.get("pairs") for row in metrics][2] == 0
    assert len(metrics) == 4


def test_resume_after_a_sampling_that_gave_nothing(build: Callable[..., DPO], resume: Any) -> None:
    class Choosy(Tasks):
        def check(self, example: Example, completion: str) -> Score:
            reward = Tasks.check(self, example, completion).reward if example.prompt[0] in "acegikmo" else 0.0
            return Score(reward=reward, correct=False)

    options = SAMPLED | {"prompts_per_sampling": 1, "group_size": 8, "resample_every": 1, "steps": 8, "batch_size": 2}
    seed = next(seed for seed in range(9) if _starts_with_a_pair(build, Choosy(), seed, options))
    counts = [row["pairs"] for row in build(seed=seed, task=Choosy(), **options).train()]
    assert 0 in counts[1:]

    def make(other: int) -> DPO:
        trainer = build(seed=seed, task=Choosy(), **options)
        if other:
            with torch.no_grad():
                for parameter in trainer.model.parameters():
                    parameter.add_(0.1)
        return trainer

    for k in range(1, 8):
        resume(make, k, 8)


def _starts_with_a_pair(build: Callable[..., DPO], task: Any, seed: int, options: dict[str, Any]) -> bool:
    try:
        next(iter(build(seed=seed, task=task, **options).train()))
    except CheckerFailed:
        return False
    return True


# --- kto -------------------------------------------------------------------------------------------------------------


def test_other_completions_belong_to_other_prompts(tokenizer: Any) -> None:
    pairs = encode_pairs(Tasks().pairs("train"), tokenizer, max_length=64, what="task")
    rows = with_others(labelled_from_pairs(pairs), max_length=64, what="task")
    assert rows.desirable[:4] == [True, False, True, False]
    for prompt, other in zip(rows.prompts, rows.others, strict=True):
        owners = [p for p, c in zip(rows.prompts, rows.completions, strict=True) if c == other]
        assert any(owner != prompt for owner in owners)


def test_kto_takes_single_completions(build: Callable[..., DPO]) -> None:
    items = [item(f"{n} =", f" {n}" if n % 2 else " a", bool(n % 2)) for n in range(12)]
    trainer = build(task=Labelled(items), loss_type="kto", steps=20)
    first, *_, last = trainer.train()
    assert first["kl"] == 0
    assert last["loss"] < first["loss"]
    assert "rewards/accuracies" not in last
    result = trainer.evaluate()
    assert result["accuracy"] > 0.9
    assert set(result) == {"accuracy", "margin", "pairs"}


def test_one_class_only_is_said(build: Callable[..., DPO]) -> None:
    items = [item(f"{n} =", f" {n}", True) for n in range(6)]
    with pytest.warns(UserWarning, match="every row is desirable"):
        trainer = build(task=Labelled(items), loss_type="kto")
    metrics = next(iter(trainer.train()))
    assert metrics["rewards/rejected"] is None
    assert metrics["rewards/margins"] is None
    assert trainer.evaluate()["accuracy"] is None


def test_one_prompt_has_no_others(build: Callable[..., DPO]) -> None:
    with pytest.raises(DoesNotFit, match="all rows have one prompt"):
        build(task=Labelled([item("1 =", " 1", True), item("1 =", " 2", False)]), loss_type="kto")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (item("1 =", " 1", 1), "item 2: label is 1, must be bool"),
        (item("1 =", " 1", "True"), "item 2: label is 'True'"),
        (item("1 =", None, True), "item 2: completion is None"),
        (item("", " 1", True), "item 2: its prompt has no tokens"),
    ],
)
def test_a_wrong_label_is_named(build: Callable[..., DPO], wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(task=Labelled([item("3 =", " 3", True), wrong]), loss_type="kto")


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_pairs_that_say_nothing_are_left_out(build: Callable[..., DPO]) -> None:
    pairs = [Pair("1 =", " 1", " 2"), Pair("1 =", " 1", " 1"), Pair("1" * 70, " 1", " 2")]
    with pytest.warns(UserWarning, match="left out 1 with equal sides and 1 that do not fit"):
        trainer = build(task=PairsOnly(pairs), batch_size=1)
    assert len(list(trainer.train())) == 4
    with pytest.raises(DataError, match="pair 1: has no rejected"):
        build(task=PairsOnly([SimpleNamespace(prompt="1 =", chosen=" 1")]))


def test_tasks_that_lack_what_is_needed(build: Callable[..., DPO]) -> None:
    class Nothing:
        pass

    with pytest.raises(DoesNotFit, match="task: has no pairs"):
        build(task=Nothing())
    with pytest.raises(DoesNotFit, match="task: cannot mark completions"):
        build(task=PairsOnly(), **SAMPLED)
    result = build(task=PairsOnly()).evaluate()
    assert set(result) == {"accuracy", "margin", "pairs"}
    assert build(task=PairsOnly()).samples(3) == []


def test_the_samplers_distribution_is_the_policy(build: Callable[..., DPO]) -> None:
    """At another temperature another distribution is tuned: the one that is sampled from."""
    losses = [
        list(build(given={"sampler": Multinomial(MultinomialConfig(temperature=t))}, steps=2).train())[1]["loss"]
        for t in (1.0, 0.5)
    ]
    assert losses[0] != pytest.approx(losses[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss_type": "dpo"}, "loss_type: got 'dpo', must be one of sigmoid"),
        ({"label_smoothing": 0.1}, "label_smoothing: got 0.1, must be none with loss_type sigmoid"),
        ({"loss_type": "robust", "label_smoothing": 0.5}, "label_smoothing: got 0.5, must be at least 0 and below"),
        ({"beta": 0.0}, "beta: got 0.0, must be positive"),
        ({"beta": math.nan}, "beta: got nan"),
        ({"loss_type": "kto", "f_divergence_type": "forward_kl"}, "f_divergence_type: got 'forward_kl', must be rev"),
        ({"loss_type": "kto", "nll_coef": 1.0}, "nll_coef: got 1.0, must be 0 or none"),
        ({"loss_type": "orpo", "precompute_ref_log_probs": True}, "precompute_ref_log_probs: got True, must be false"),
        ({"pairs": "sampled", "precompute_ref_log_probs": True}, "set resample_every=none"),
        ({"group_size": 1}, "group_size: got 1, must be at least 2"),
        ({"pairs": "mine"}, "pairs: got 'mine'"),
        ({"batch_size": 2, "grad_accum_steps": 3}, "grad_accum_steps: got 3"),
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DPOConfig(**wrong)


def test_defaults_that_depend_on_the_loss() -> None:
    assert [DPOConfig(loss_type=name).used_beta for name in ("sigmoid", "simpo")] == [0.1, 2.0]
    assert [DPOConfig(loss_type=name).used_smoothing for name in ("sigmoid", "cdpo")] == [0.0, 0.1]
    assert [DPOConfig(loss_type=name).used_nll_coef for name in ("sigmoid", "orpo")] == [0.0, 1.0]
    assert DPOConfig(loss_type="orpo", nll_coef=0.2).used_nll_coef == 0.2


def test_own_samples_stand_in_where_a_task_has_problems_only(build: Callable[..., DPO]) -> None:
    """pairs=auto, the default: as pairs=sampled on `sort`, as pairs=task where there are any."""
    small = {"prompts_per_sampling": 8, "group_size": 4, "max_new_tokens": 4, "steps": 1}
    assert build(task=Sort(SortConfig(length=3, n_train=64, n_held_out=8)), **small).source.rollouts is not None
    assert build(**small).source.rollouts is None
    with pytest.raises(DoesNotFit, match="precompute_ref_log_probs: the task has no pairs"):
        build(task=Sort(SortConfig(length=3, n_train=64, n_held_out=8)), precompute_ref_log_probs=True, **small)
