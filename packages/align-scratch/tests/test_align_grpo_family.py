"""The family as it runs: ratios that start at 1, rewards that are missing, groups drawn anew, references that move."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import align_scratch.policy_trainer
import align_scratch.reference
import align_scratch.scoring
from align_scratch.advantages import group_advantages
from align_scratch.config.grpo import FORMS, GRPOConfig
from align_scratch.config.reinforce import REINFORCEConfig
from align_scratch.config.rloo import RLOOConfig
from align_scratch.errors import DoesNotFit
from align_scratch.grpo import GRPO
from align_scratch.grpo_terms import kl_terms, policy_terms
from align_scratch.losses import (
    cispo,
    clipped_surrogate,
    mean_log_ratio,
    reinforce,
    row_weights,
    sapo,
    unclipped_surrogate,
    weighted_sum,
)
from align_scratch.reinforce import REINFORCE
from align_scratch.rloo import RLOO
from align_scratch.scoring import completion_logits, sequence_entropies

Parts = Callable[..., dict[str, Any]]
SMALL: dict[str, Any] = {"steps": 2, "prompts_per_step": 6, "group_size": 4, "warmup_steps": 0}
RATIO, GAP = "sampling/importance_sampling_ratio", "sampling/sampling_logp_difference"
TRAINERS: dict[str, tuple[Any, Any]] = {
    "grpo": (GRPO, GRPOConfig),
    "rloo": (RLOO, RLOOConfig),
    "reinforce": (REINFORCE, REINFORCEConfig),
}


def late(text: str) -> float:
    return float(text[:1] > "m")


def gradient(trainer: Any) -> Tensor:
    """Of the first update, from AdamW's first moment: its direction and, up to 1 - beta1, its length."""
    next(iter(trainer.train()))
    return torch.cat([moments["exp_avg"].flatten() for moments in trainer.state_dict()["optimizer"].values()])


def shifted(trainer: Any, by: float, rows: slice = slice(None)) -> None:
    """Let the sampler report log-probabilities that are too low by `by`, as another engine's might be."""
    sample = trainer._sample

    def other() -> Any:
        rollouts = sample()
        log_probs = rollouts.generation.log_probs.clone()
        log_probs[rows] -= by
        told = log_probs.masked_fill(~rollouts.generation.mask, 0)
        return replace(rollouts, generation=replace(rollouts.generation, log_probs=told))

    trainer._sample = other


# --- ratios --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", FORMS)
def test_the_first_ratio_is_one_for_every_loss_type(parts: Parts, toy_task: Any, loss_type: Any) -> None:
    config = GRPOConfig(**SMALL, loss_type=loss_type, minibatches=1, kl_coef=0.1, kl_unbiased=True)
    for metrics in GRPO(config, **parts(toy_task(late))).train():
        assert metrics[f"{GAP}/mean"] <= metrics[f"{GAP}/max"] < 1e-5
        assert 1 - 1e-5 < metrics[f"{RATIO}/min"] <= metrics[f"{RATIO}/mean"] <= metrics[f"{RATIO}/max"] < 1 + 1e-5
        assert metrics["clip_ratio/region_mean"] == metrics["clip_ratio/high_max"] == 0
        assert ("cispo_clip_ratio" in metrics) == (loss_type == "cispo")


@pytest.mark.parametrize("trainer", ["rloo", "reinforce"])
def test_the_first_ratio_of_the_others_is_one(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    for metrics in build(config(**SMALL), **parts(toy_task(late))).train():
        assert metrics[f"{GAP}/max"] < 1e-5
        assert metrics["frac_reward_zero_std"] < 1
        assert metrics["kl"] >= 0
        assert metrics["completions/mean_terminated_length"] is None or (
            metrics["completions/min_terminated_length"] <= metrics["completions/mean_terminated_length"]
        )


def test_an_engine_that_reports_other_numbers_is_corrected_up_to_the_cap(parts: Parts, toy_task: Any) -> None:
    """Told too low by log 1.5, a token counts 1.5 times; capped at 1.2, 1.2 times; and the ratio to pi_old is 1."""
    options = SMALL | {"minibatches": 1, "grad_clip": None, "track_kl": 0}
    plain = gradient(GRPO(GRPOConfig(**options), **parts(toy_task(late))))
    for cap, factor in ((5.0, 1.5), (1.2, 1.2)):
        trainer = GRPO(GRPOConfig(**options, importance_cap=cap), **parts(toy_task(late)))
        shifted(trainer, math.log(1.5))
        torch.testing.assert_close(gradient(trainer), factor * plain, rtol=1e-4, atol=1e-7)
        metrics = next(iter(trainer.train()))
        assert metrics[f"{GAP}/mean"] == pytest.approx(math.log(1.5), abs=1e-5)
        for name in ("min", "mean", "max"):
            assert metrics[f"{RATIO}/{name}"] == pytest.approx(factor, abs=1e-5)
        assert metrics["clip_ratio/region_mean"] == 0
    # Trusted, the same numbers pass for an old policy: every ratio is 1.5, and the clip takes what has A > 0.
    trainer = GRPO(GRPOConfig(**options), **parts(toy_task(late)))
    shifted(trainer, math.log(1.5))
    metrics = next(iter(trainer.train()))
    assert metrics[f"{RATIO}/mean"] == pytest.approx(1.5, abs=1e-5)
    assert 0 < metrics["clip_ratio/high_mean"] < metrics["clip_ratio/high_max"] == 1
    assert metrics["clip_ratio/low_min"] == 0


# --- rewards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_reward_that_is_missing_takes_its_row_out(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]

    def judge(text: str) -> float:
        return math.nan if text[:1] in "abcd" else late(text)

    built = build(config(**SMALL | {"group_size": 8}), **parts(toy_task(judge)))
    metrics = next(iter(built.train()))
    records = built.last_rollouts()
    missing = [record for record in records if record["reward"] is None]
    assert metrics["reward/errors"] == len(missing) > 0
    assert all(record["advantage"] == 0 and record["logp_difference"] is None for record in missing)
    known = [record["reward"] for record in records if record["reward"] is not None]
    groups = [[r["reward"] for r in records if r["group"] == i and r["reward"] is not None] for i in range(6)]
    spreads = [torch.tensor(group).double().std().item() for group in groups if len(group) > 1]
    assert metrics["reward_std"] == pytest.approx(sum(spreads) / len(spreads))
    assert metrics["reward"] == pytest.approx(sum(known) / len(known))
    assert metrics["rewards/toy/mean"] == metrics["reward"]
    assert metrics["rewards/toy/std"] == pytest.approx(torch.tensor(known, dtype=torch.float64).std().item())
    assert math.isfinite(metrics["loss"])


@pytest.mark.parametrize("trainer", TRAINERS)
def test_equal_rewards_change_no_weight(parts: Parts, toy_task: Any, same: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    extra = {"baseline": "group"} if trainer == "reinforce" else {}
    built = build(config(**SMALL, **extra | {"kl_coef": 0.0}), **parts(toy_task(lambda text: 0.3)))
    before = built.state_dict()["model"]
    for metrics in built.train():
        assert metrics["grad_norm"] in (None, 0)
    same(before, built.state_dict()["model"], "model")


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_reward_model_pays_and_the_task_stays_visible(
    parts: Parts, toy_task: Any, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    class Scorer:
        def score(self, rows: Any) -> Tensor:
            return rows.completion_lengths.float()

    def load(run: str | None, *rest: Any) -> Any:
        assert run == "a run"
        return Scorer()

    monkeypatch.setattr(align_scratch.policy_trainer, "load_scorer", load)
    build, config = TRAINERS[trainer]
    built = build(config(**SMALL, reward_model="a run"), **parts(toy_task(late)))
    metrics = next(iter(built.train()))
    assert metrics["reward"] == pytest.approx(metrics["completions/mean_length"], rel=1e-6)
    assert metrics["reward"] == pytest.approx(metrics["rewards/reward_model/mean"])
    assert metrics["rewards/gold/mean"] == metrics["accuracy"] < 1


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_was_cut_off_can_be_left_out(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    options = SMALL | {"group_size": 16, "mask_truncated": True, "max_new_tokens": 12}
    built = build(config(**options), **parts(toy_task(late)))
    metrics = next(iter(built.train()))
    learned = [record for record in built.last_rollouts() if record["logp_difference"] is not None]
    assert learned
    assert not any(record["truncated"] for record in learned)
    lengths = [record["length"] for record in built.last_rollouts() if not record["truncated"]]
    assert metrics["completions/mean_terminated_length"] == pytest.approx(sum(lengths) / len(lengths))
    assert metrics["completions/min_terminated_length"] == min(lengths)
    assert metrics["completions/max_terminated_length"] == max(lengths)


# --- groups drawn anew ---------------------------------------------------------------------------------------------


def rare(text: str) -> float:
    return float(text[:1] > "v")


def test_groups_of_equal_rewards_are_replaced_until_the_batch_is_full(parts: Parts, toy_task: Any) -> None:
    config = GRPOConfig(**SMALL, resample=6, minibatches=1)
    trainer = GRPO(config, **parts(toy_task(rare)))
    metrics = next(iter(trainer.train()))
    drawn = metrics["prompts"]
    assert 12 <= drawn <= 7 * 6
    assert drawn % 6 == 0
    assert trainer.batches == drawn // 6
    records = trainer.last_rollouts()
    assert len(records) == drawn * 4
    assert [record["group"] for record in records] == [i // 4 for i in range(len(records))]
    groups = [records[i : i + 4] for i in range(0, len(records), 4)]
    spread = [len({record["reward"] for record in group}) > 1 for group in groups]
    learned = [all(record["logp_difference"] is not None for record in group) for group in groups]
    full = [chosen and sum(spread[:i]) < 6 for i, chosen in enumerate(spread)]
    assert learned == full
    assert sum(spread) - sum(spread[-6:]) < 6  # no batch was drawn for nothing
    assert metrics["num_tokens"] == sum(record["length"] + len(record["prompt"]) for record in records)
    assert metrics["frac_reward_zero_std"] == pytest.approx(1 - sum(spread) / len(groups))


def test_drawing_anew_has_an_end(parts: Parts, toy_task: Any) -> None:
    trainer = GRPO(GRPOConfig(**SMALL, resample=2), **parts(toy_task(lambda text: 0.0)))
    metrics = next(iter(trainer.train()))
    assert (metrics["prompts"], metrics["loss"]) == (18, None)


def test_the_rows_of_several_batches_are_scored_as_they_were_sampled(parts: Parts, toy_task: Any) -> None:
    """Batches of other widths, side by side: the ratio is still 1 everywhere."""
    config = GRPOConfig(**SMALL, resample=6, minibatches=1, max_new_tokens=9)
    metrics = next(iter(GRPO(config, **parts(toy_task(rare))).train()))
    assert metrics["prompts"] > 6
    assert metrics[f"{GAP}/max"] < 1e-5


@pytest.mark.parametrize("k", [1, 7])
def test_it_resumes_to_the_bit_with_all_that_moves(parts: Parts, toy_task: Any, resume: Any, k: int) -> None:
    config = GRPOConfig(
        **SMALL | {"steps": 9}, resample=2, kl_coef=0.05, kl_in="reward", sync_ref_model=True, ref_model_sync_steps=2,
        importance_cap=2.0, entropy_coef=0.01, lr=1e-2, grad_accum_steps=2,
    )  # fmt: skip
    task = toy_task(rare)
    resume(lambda seed: GRPO(config, **parts(task, seed=seed) | {"seed": 5}), k, 9)


def test_a_state_from_before_groups_were_drawn_anew_is_read(parts: Parts, toy_task: Any) -> None:
    config = GRPOConfig(**SMALL)
    trainer = GRPO(config, **parts(toy_task(late)))
    next(iter(trainer.train()))
    state = trainer.state_dict()
    del state["batches"]
    other = GRPO(config, **parts(toy_task(late)))
    other.load_state_dict(state)
    assert other.batches == other.step == 1


# --- the reference -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_reference_that_follows_is_never_far(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    found = {}
    for follow in (False, True):
        options = SMALL | {"steps": 8, "lr": 2e-2, "kl_coef": 1e-6}
        sync = {"sync_ref_model": follow, "ref_model_sync_steps": 3, "ref_model_mixup_alpha": 1.0}
        found[follow] = [m["kl"] for m in build(config(**options, **sync), **parts(toy_task(late))).train()]
    assert found[True][:3] == found[False][:3]
    assert found[True][3] < 1e-6 < found[False][3]  # synced after step 3: measured before the updates of step 4
    assert found[True][6] < 1e-6 < found[True][5]


def test_the_base_below_an_adapter_cannot_follow(parts: Parts, toy_task: Any) -> None:
    class Adapter:
        def disabled(self) -> Any:
            return nullcontext()

    config = RLOOConfig(**SMALL, kl_coef=0.1, sync_ref_model=True)
    with pytest.raises(DoesNotFit, match="adapter: the reference is the base below it"):
        RLOO(config, **parts(toy_task(late)), adapter=Adapter())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_divergence_in_the_reward_holds_the_policy_back(parts: Parts, toy_task: Any, trainer: str) -> None:
    build, config = TRAINERS[trainer]
    ends = {}
    for coefficient in (0.0, 3.0):
        options = SMALL | {"steps": 15, "lr": 1e-2, "kl_coef": coefficient}
        extra = {"kl_in": "reward", "kl_estimator": "k1"} if trainer == "grpo" else {}
        ends[coefficient] = list(build(config(**options, **extra), **parts(toy_task(late))).train())[-1]["kl"]
    assert ends[3.0] < ends[0.0] / 2


# --- terms by hand -------------------------------------------------------------------------------------------------

LOG_RATIO = torch.tensor([[0.0, 0.5, -0.5], [1.0, 0.2, 0.0]], dtype=torch.float64)
LOG_PROBS = torch.tensor([[-1.0, -2.0, -0.5], [-0.1, -3.0, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True], [True, True, False]])
ADVANTAGES = torch.tensor([2.0, -1.0], dtype=torch.float64)


def close(got: Tensor, wanted: Any) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=got.dtype), atol=1e-12, rtol=1e-9)


def test_token_terms_by_hand() -> None:
    e = math.exp
    close(unclipped_surrogate(LOG_RATIO, ADVANTAGES), [[-2.0, -2 * e(0.5), -2 * e(-0.5)], [e(1.0), e(0.2), 1.0]])
    close(reinforce(LOG_PROBS, ADVANTAGES), [[2.0, 4.0, 1.0], [-0.1, -3.0, 0.0]])
    close(cispo(LOG_PROBS, LOG_RATIO, ADVANTAGES, 1.3), [[2.0, 4 * 1.3, e(-0.5)], [-0.13, -3 * e(0.2), 0.0]])
    gate = [[4 / (1 + e(-1.5 * (e(u) - 1))) / 1.5 for u in row] for row in LOG_RATIO[:1].tolist()]
    gate += [[4 / (1 + e(-0.5 * (e(u) - 1))) / 0.5 for u in row] for row in LOG_RATIO[1:].tolist()]
    close(sapo(LOG_RATIO, ADVANTAGES, 1.5, 0.5), -ADVANTAGES[:, None] * torch.tensor(gate, dtype=torch.float64))
    close(mean_log_ratio(LOG_RATIO, MASK), [[0.0] * 3, [0.6] * 3])
    # The second cap acts where the advantage is negative, and only there.
    close(clipped_surrogate(LOG_RATIO, ADVANTAGES, 0.2, 0.28, 2.0)[1], [2.0, e(0.2), 1.0])
    close(clipped_surrogate(LOG_RATIO, ADVANTAGES, 0.2, 0.28, 2.0)[0], [-2.0, -2.56, -2 * e(-0.5)])


@pytest.mark.parametrize(
    "term",
    [
        lambda u, a: unclipped_surrogate(u, a),
        lambda u, a: clipped_surrogate(u, a, 0.2, 0.2, 3.0),
        lambda u, a: cispo(u, u, a, 5.0),
        lambda u, a: sapo(u, a, 1.0, 1.05),
    ],
)
def test_without_an_advantage_even_an_infinite_ratio_adds_nothing(term: Callable[[Tensor, Tensor], Tensor]) -> None:
    u = torch.tensor([[800.0, 0.1]], requires_grad=True)
    terms = term(u, torch.zeros(1))
    terms.sum().backward()
    assert u.grad is not None
    assert terms.tolist() == u.grad.tolist() == [[0, 0]]


def test_row_weights_by_hand() -> None:
    lengths = torch.tensor([1, 4, 5, 2])
    torch.testing.assert_close(row_weights("constant", lengths, constant=8), torch.full((4,), 1 / 32))
    torch.testing.assert_close(row_weights("sum", lengths), torch.full((4,), 1 / 4))
    two = row_weights("microbatch", lengths, parts=2)  # 1 / (B longest)
    torch.testing.assert_close(two, torch.tensor([1 / 16, 1 / 16, 1 / 20, 1 / 20]))
    two = row_weights("microbatch_tokens", lengths, parts=2)  # the mean of two token means
    torch.testing.assert_close(two, torch.tensor([1 / 10, 1 / 10, 1 / 14, 1 / 14]))
    torch.testing.assert_close(row_weights("microbatch_tokens", lengths), row_weights("tokens", lengths))
    for norm in ("tokens", "mean", "constant", "sum", "microbatch", "microbatch_tokens"):
        empty = row_weights(norm, torch.tensor([], dtype=torch.int64), constant=8, parts=3)
        assert empty.shape == (0,)
        assert row_weights(norm, torch.tensor([0, 0]), constant=8, parts=3).isfinite().all()
    with pytest.raises(ValueError, match="constant: got None"):
        row_weights("constant", lengths)


SEED4: dict[str, dict[str, Any]] = {
    "no_baseline": {"policy_loss": "reinforce", "baseline": "none", "scale_rewards": "none"},
    "reinforce_with_baseline": {"policy_loss": "reinforce"},
    "grpo_no_clip": {"policy_loss": "no_clip"},
    "grpo_clip": {"policy_loss": "clip", "clip_high": 0.2},
}


@pytest.mark.parametrize("name", SEED4)
@pytest.mark.parametrize("norm", ["mean", "constant"])
def test_the_four_ablations_of_building_from_scratch(name: str, norm: Any) -> None:
    """Their objectives, written out, for two rewards of one group."""
    config = GRPOConfig(length_norm=norm, advantage_eps=1e-6, **SEED4[name])
    rewards = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    advantages = group_advantages(
        rewards, baseline=config.baseline, scale=config.scale_rewards, eps=config.advantage_eps
    )[0]
    std = math.sqrt(0.5)
    wanted = torch.tensor(
        [1.0, 0.0] if name == "no_baseline" else [0.5 / (std + 1e-6), -0.5 / (std + 1e-6)], dtype=torch.float64
    )
    close(advantages, wanted)
    terms = policy_terms(config, LOG_PROBS, LOG_PROBS - LOG_RATIO, advantages, MASK)
    loss = weighted_sum(terms, MASK, row_weights(config.form.length_norm, MASK.sum(1), constant=8).double())
    rho, a = LOG_RATIO.exp(), wanted[:, None]
    by_hand = {
        "no_baseline": -a * LOG_PROBS,
        "reinforce_with_baseline": -a * LOG_PROBS,
        "grpo_no_clip": -a * rho,
        "grpo_clip": -torch.minimum(a * rho, a * rho.clamp(0.8, 1.2)),
    }[name]
    per_row = (by_hand * MASK).sum(1) / (MASK.sum(1) if norm == "mean" else 8)
    torch.testing.assert_close(loss, per_row.mean(), atol=1e-7, rtol=1e-6)  # row weights are fp32


def test_a_sequences_divergence_stands_once_in_its_row() -> None:
    reference, old = LOG_PROBS - 0.1, LOG_PROBS - LOG_RATIO
    for unbiased in (False, True):
        config = GRPOConfig(kl_coef=1.0, kl_level="sequence", kl_unbiased=unbiased)
        terms = kl_terms(config, LOG_PROBS, old, reference, MASK)
        u = torch.tensor([0.3, 0.2], dtype=torch.float64)
        rho = torch.tensor([0.0, 1.2], dtype=torch.float64).exp() if unbiased else torch.ones(2)
        close((terms * MASK).sum(1), (torch.expm1(-u) + u) * rho)
        assert terms[:, 1:].eq(0).all()


@pytest.mark.parametrize("loss_type", FORMS)
def test_padding_and_order_change_neither_terms_nor_weights(loss_type: Any) -> None:
    config = GRPOConfig(loss_type=loss_type, kl_coef=0.1, kl_level="sequence")
    found = []
    for extra, order in ((0, [0, 1]), (4, [0, 1]), (2, [1, 0])):
        rows = torch.tensor(order)
        wide = [torch.nn.functional.pad(x[rows], (0, extra), value=-7.0) for x in (LOG_PROBS, LOG_PROBS - LOG_RATIO)]
        mask = torch.nn.functional.pad(MASK[rows], (0, extra))
        leaf = wide[0].clone().requires_grad_()
        terms = policy_terms(config, leaf, wide[1], ADVANTAGES[rows], mask)
        terms = terms + 0.1 * kl_terms(config, leaf, wide[1], wide[1], mask)
        weights = row_weights(config.form.length_norm, mask.sum(1), constant=3).double()
        loss = weighted_sum(terms, mask, weights)
        (slope,) = torch.autograd.grad(loss, leaf)
        assert slope[~mask].eq(0).all()
        found.append((loss, slope[rows.argsort(), :3]))
    for loss, slope in found[1:]:
        close(loss, found[0][0])
        close(slope, found[0][1])


# --- entropy, and memory -------------------------------------------------------------------------------------------


def test_entropies_in_chunks_are_those_of_whole_distributions(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also their gradients; and the head never sees more than a chunk of positions at once."""
    built = parts()
    trainer = GRPO(GRPOConfig(**SMALL, max_new_tokens=12), **built)
    model, rows = built["model"], trainer._sample().sequences
    logits, mask = [], rows.mask
    for row, (before, after) in enumerate(
        zip(rows.prompt_lengths.tolist(), rows.completion_lengths.tolist(), strict=True)
    ):
        logits.append(model(rows.ids[row : row + 1, : before + after])[0, before - 1 : -1].log_softmax(-1))
    wanted = torch.cat([-(p.exp() * p).sum(-1) for p in logits])
    expected = torch.autograd.grad(wanted.sum(), list(model.parameters()))

    seen, head = [], model.head
    monkeypatch.setattr(align_scratch.scoring, "chunk_tokens", lambda model: 7)
    monkeypatch.setattr(model, "head", lambda features: seen.append(len(features)) or head(features))
    _, entropies = sequence_entropies(model, rows, trainer.source.sampler)
    torch.testing.assert_close(entropies[mask], wanted, atol=1e-6, rtol=1e-5)
    assert entropies[~mask].eq(0).all()
    found = torch.autograd.grad(entropies.sum(), list(model.parameters()))
    for got, other in zip(found, expected, strict=True):
        torch.testing.assert_close(got, other, atol=1e-5, rtol=1e-4)
    assert max(seen) == 7


def test_the_divergence_is_measured_in_chunks(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two models that differ, over whole distributions, on every other row."""
    trainer = GRPO(GRPOConfig(**SMALL, max_new_tokens=12), **parts())
    with torch.no_grad():
        for p in trainer.model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)), alpha=0.3)
    rows = trainer._sample().sequences
    some = rows.select(torch.arange(0, 24, 2))
    with torch.no_grad():
        now, then = (completion_logits(m, some)[0].log_softmax(-1) for m in (trainer.model, trainer.reference.copy))
    wanted = float(torch.nn.functional.kl_div(then, now, log_target=True, reduction="none").sum(-1).mean())
    assert wanted > 0.01
    for chunk in (7, 10**6):
        monkeypatch.setattr(align_scratch.reference, "chunk_tokens", lambda model, chunk=chunk: chunk)
        assert trainer.reference.measure_kl(rows, 12) == pytest.approx(wanted, rel=1e-5)


def test_the_bonus_keeps_entropy_up(parts: Parts, toy_task: Any) -> None:
    ends = {}
    for coefficient in (0.0, 0.5):
        config = GRPOConfig(**SMALL | {"steps": 15}, lr=1e-2, entropy_coef=coefficient)
        ends[coefficient] = list(GRPO(config, **parts(toy_task(late))).train())[-1]["entropy"]
    assert ends[0.5] > ends[0.0] + 0.1


# --- learning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainer", "extra"),
    [
        ("rloo", {}),
        ("reinforce", {"baseline": "batch"}),
        ("reinforce", {"baseline": "group"}),
        *[("grpo", {"loss_type": loss_type}) for loss_type in ("dr_grpo", "cispo", "gspo", "sapo")],
    ],
)
def test_they_learn_from_chance_alone(parts: Parts, toy_task: Any, trainer: str, extra: dict[str, Any]) -> None:
    build, config = TRAINERS[trainer]
    built = build(config(steps=40, prompts_per_step=8, lr=1e-2, **extra), **parts(toy_task(late)))
    rewards = [metrics["reward"] for metrics in built.train()]
    assert rewards[0] < 0.6
    assert sum(rewards[-5:]) / 5 > 0.9
