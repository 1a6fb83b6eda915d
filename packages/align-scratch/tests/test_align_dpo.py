"""Trainer `dpo`: every loss learns, resumes and splits; the reference in all forms."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from preferences import SAMPLED, SMALL, Tasks

from align_scratch.config.dpo import LOSSES, WITHOUT_REFERENCE, DPOConfig
from align_scratch.dpo import DPO
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.preference_losses import Side, preference_loss
from align_scratch.preference_scoring import score_rows
from align_scratch.scoring import sequence_log_probs
from inference_scratch.score import pack


@pytest.fixture
def build(parts: Callable[..., dict[str, Any]]) -> Callable[..., DPO]:
    def make(
        seed: int = 0, task: Any = None, dropout: float = 0.0, given: dict[str, Any] | None = None, **options: Any
    ) -> DPO:
        made = parts(task or Tasks(), seed=seed, dropout=dropout) | (given or {})
        return DPO(DPOConfig(**(SMALL | options)), **made)

    return make


# --- every loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", LOSSES)
def test_every_loss_learns_to_prefer_the_chosen(build: Callable[..., DPO], loss_type: str) -> None:
    trainer = build(loss_type=loss_type, steps=25)
    before = trainer.evaluate()
    first, *_, last = trainer.train()
    after = trainer.evaluate()
    assert last["loss"] < first["loss"]
    assert after["margin"] > before["margin"]
    assert last["rewards/margins"] > first["rewards/margins"]
    if loss_type not in WITHOUT_REFERENCE:
        assert before["accuracy"] == 0.5  # a tie everywhere, at the reference
        assert before["margin"] == 0
        assert first["rewards/chosen"] == first["rewards/rejected"] == 0
    assert after["accuracy"] >= 0.9
    assert {"greedy", "sampled", "reward", "pairs"} <= after.keys()


STARTS = {
    "sigmoid": math.log(2), "hinge": 1.0, "ipo": 25.0, "cdpo": math.log(2), "robust": math.log(2),
    "sigmoid_norm": math.log(2), "apo_zero": 1.0, "sppo_hard": 50.0, "kto": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("loss_type", STARTS)
def test_the_first_loss_is_known(build: Callable[..., DPO], loss_type: str) -> None:
    assert next(iter(build(loss_type=loss_type).train()))["loss"] == pytest.approx(STARTS[loss_type], rel=1e-5)


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("parts_", [2, 5])
def test_the_split_changes_nothing(build: Callable[..., DPO], loss_type: str, parts_: int) -> None:
    # A second step, since at the reference some gradients and numbers are alike for any split.
    options: dict[str, Any] = {"loss_type": loss_type, "nll_coef": None if loss_type == "kto" else 0.3}
    whole, pieces = build(**options), build(**options, grad_accum_steps=parts_)
    for a, b in zip(whole.train(), pieces.train(), strict=True):
        for name, value in a.items():
            if not name.startswith("time/"):
                assert b[name] == pytest.approx(value, rel=2e-3, abs=2e-5), name
    for one, other in zip(whole.named.values(), pieces.named.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss_type", ["sigmoid", "kto", "orpo"])
@pytest.mark.parametrize("options", [{}, {"precompute_ref_log_probs": True}, SAMPLED], ids=["task", "known", "sampled"])
def test_resume_is_bit_equal(build: Callable[..., DPO], resume: Any, loss_type: str, options: dict[str, Any]) -> None:
    if loss_type == "orpo" and "precompute_ref_log_probs" in options:
        pytest.skip("orpo has no reference to ask before training")

    def make(seed: int) -> DPO:
        trainer = build(loss_type=loss_type, dropout=0.2, disable_dropout=False, **options)
        if seed:
            with torch.no_grad():
                for parameter in trainer.model.parameters():
                    parameter.add_(0.1)
        return trainer

    for k in (1, 2, 3):
        resume(make, k, 4)


def test_rows_and_padding_have_no_order(build: Callable[..., DPO]) -> None:
    """The loss of a batch is that of its pairs, each alone."""
    trainer = build()
    pairs = trainer.source.rows
    batch = pairs.batch([3, 0, 5], "cpu")
    scored = score_rows(trainer.model, batch, trainer.sampler)
    for place, row in enumerate([3, 0, 5]):
        alone = score_rows(trainer.model, pairs.batch([row], "cpu"), trainer.sampler)
        torch.testing.assert_close(alone.log_probs, scored.log_probs[[place, place + 3]])
        torch.testing.assert_close(alone.logits, scored.logits[[place, place + 3]])


def test_a_step_is_the_loss_written_out(build: Callable[..., DPO]) -> None:
    """One gradient of the trainer against one forward pass a completion and the loss, with nll and smoothing."""
    trainer = build(
        loss_type="cdpo", label_smoothing=0.2, nll_coef=0.5, beta=0.3, steps=1, grad_clip=None, batch_size=16
    )
    reference = copy.deepcopy(trainer.model)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.05)
    twin = copy.deepcopy(trainer.model)
    metrics = next(iter(trainer.train()))

    def log_prob(model: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
        logits = model(torch.tensor([prompt + completion]))[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1)[range(len(completion)), completion].sum()

    loss, nll, tokens = torch.zeros(()), torch.zeros(()), 0
    for prompt, chosen, rejected in zip(
        trainer.source.rows.prompts, trainer.source.rows.chosen, trainer.source.rows.rejected, strict=True
    ):
        sides = [
            Side(
                log_probs=log_prob(twin, prompt, side)[None],
                reference=log_prob(reference, prompt, side).detach()[None],
                lengths=torch.tensor([len(side)]),
            )
            for side in (chosen, rejected)
        ]
        loss = loss + preference_loss("cdpo", *sides, beta=0.3, label_smoothing=0.2).sum() / 16
        nll, tokens = nll - sides[0].log_probs.sum(), tokens + len(chosen)
    loss = loss + 0.5 * nll / tokens
    loss.backward()
    assert metrics["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
    norm = torch.stack([p.grad.norm() for p in twin.parameters() if p.grad is not None]).norm()
    assert metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-3)


def test_mean_logits_are_noted_once(toy_model: Any) -> None:
    torch.manual_seed(0)
    model = toy_model(39)
    batch = pack([[5, 6], [7]], [[4, 0], [3, 2, 0]])
    scored = score_rows(model, batch, None)
    logits = model(batch.ids, lengths=torch.tensor([4, 4]))
    wanted = torch.stack((logits[0, 1:3].mean(-1).sum(), logits[1, 0:3].mean(-1).sum()))
    torch.testing.assert_close(scored.logits, wanted.detach())
    torch.testing.assert_close(scored.log_probs, sequence_log_probs(model, batch, None).sum(1))
    scored.log_probs.sum().backward()


# --- the reference ---------------------------------------------------------------------------------------------------


def test_a_reference_known_before_is_the_reference_asked(build: Callable[..., DPO]) -> None:
    for loss_type in ("sigmoid", "kto"):
        asked, known = build(loss_type=loss_type), build(loss_type=loss_type, precompute_ref_log_probs=True)
        assert known.reference.policy.copy is None
        assert asked.reference.policy.copy is not None
        for a, b in zip(asked.train(), known.train(), strict=True):
            for name in ("loss", "rewards/chosen", "rewards/margins", "grad_norm"):
                assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-5), name
        assert asked.evaluate()["margin"] == pytest.approx(known.evaluate()["margin"], rel=1e-3, abs=1e-5)


def test_losses_without_a_reference_keep_none(build: Callable[..., DPO]) -> None:
    trainer = build(loss_type="simpo")
    assert trainer.reference.policy.copy is None
    list(trainer.train())
    assert trainer.state_dict()["reference"] == {"policy": {}, "known": {}}


class Shifted:
    """An adapter as trainers see one: what it adds to the head's bias can be left out for a while."""

    def __init__(self, model: Any) -> None:
        self.model = model
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self.base = model.out.bias.detach().clone()
        model.out.bias.requires_grad_(True)

    @contextmanager
    def disabled(self):
        now = self.model.out.bias.detach().clone()
        with torch.no_grad():
            self.model.out.bias.copy_(self.base)
        try:
            yield
        finally:
            with torch.no_grad():
                self.model.out.bias.copy_(now)


def test_an_adapter_is_its_own_reference(build: Callable[..., DPO], parts: Any) -> None:
    made = parts(Tasks())
    trainer = DPO(DPOConfig(**SMALL), **made, adapter=Shifted(made["model"]))
    assert trainer.reference.policy.copy is None
    assert list(trainer.named) == ["out.bias"]
    first, *_, last = trainer.train()
    assert first["loss"] == pytest.approx(math.log(2))
    assert last["loss"] < first["loss"]


def test_a_reference_of_another_vocabulary_is_refused(build: Callable[..., DPO], toy_model: Any) -> None:
    with pytest.raises(DoesNotFit, match="reference_model: has a vocabulary of 39, the policy one of 40"):
        build(given={"reference_model": toy_model(39)})
    other = toy_model(40)
    trainer = build(given={"reference_model": other})
    assert next(iter(trainer.train()))["rewards/chosen"] != 0
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_a_finished_run_is_judged_against_where_it_began(build: Callable[..., DPO], tmp_path: Path) -> None:
    trainer = build()
    list(trainer.train())
    wanted = trainer.evaluate()
    trainer.save(tmp_path)
    again = build(given={"model": copy.deepcopy(trainer.model)})  # its reference would be the policy as it ended
    again.load(tmp_path)
    assert again.evaluate() == wanted
    with pytest.raises(DataError, match=r"must be finite numbers \(3, 2\)"):
        build(eval_pairs=3).load(tmp_path)
    (tmp_path / "reference.safetensors").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match="not readable"):
        build().load(tmp_path)
