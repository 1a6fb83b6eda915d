"""The proofs that a user can rerun, and where training ends for the forms of the KL penalty that are not exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from align_scratch import policy_proofs, proofs
from align_scratch.config.grpo import GRPOConfig
from align_scratch.policy_proofs import BY_TOKEN, EXACT, sequence_divergences, trained
from align_scratch.proofs import Proof, deviation
from align_scratch.tabular import Tabular, optimum, total_variation


def test_every_proof_holds_and_nothing_is_left_behind() -> None:
    state = torch.get_rng_state()
    found = list(policy_proofs.proofs())
    assert len(found) > 15
    assert len({proof.claim for proof in found}) == len(found)
    for proof in found:
        assert proof.ok, proof
        assert not proof.claim.endswith(".")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32


def test_run_goes_through_every_source(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "align_scratch.policy_proofs" in proofs.SOURCES
    monkeypatch.setattr(policy_proofs, "proofs", lambda: [Proof(claim="one", measured=0.0, tolerance=0.0)])
    monkeypatch.setattr(proofs, "SOURCES", ("align_scratch.policy_proofs",) * 2)
    assert [proof.claim for proof in proofs.run()] == ["one", "one"]


def test_what_cannot_be_compared_is_no_proof() -> None:
    assert not Proof(claim="", measured=float("nan"), tolerance=1.0).ok
    assert not Proof(claim="", measured=deviation(torch.zeros(2), torch.zeros(3)), tolerance=1.0).ok
    assert not Proof(claim="", measured=deviation(torch.tensor([torch.nan]), torch.zeros(1)), tolerance=1.0).ok


def test_the_table_is_a_distribution_over_all_sequences() -> None:
    policy = Tabular(vocab_size=4, length=2, seed=3)
    assert policy.tokens.tolist() == [[a, b] for a in range(4) for b in range(4)]
    assert policy.prefixes.tolist() == [[0, 1 + a] for a in range(4) for _ in range(4)]
    probabilities = policy.probabilities()
    assert probabilities.sum().item() == pytest.approx(1.0, abs=1e-12)
    first, second = policy.logits.softmax(-1)[0], policy.logits.softmax(-1)[1:]
    torch.testing.assert_close(probabilities.view(4, 4), first[:, None] * second)
    assert total_variation(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == 1.0


def test_the_optimum_has_the_largest_objective() -> None:
    policy, rewards = Tabular(), torch.linspace(-1, 1, 27, dtype=torch.float64)
    reference = policy.log_probs().detach()
    best = optimum(reference.sum(1).exp(), rewards, 0.5)

    def objective(p: torch.Tensor) -> float:
        return float((p * (rewards - 0.5 * (p.log() - reference.sum(1)))).sum())

    for seed in range(20):
        other = best * torch.rand(27, generator=torch.Generator().manual_seed(seed)).double()
        assert objective(best) > objective(other / other.sum())
    reverse, forward = sequence_divergences(policy, reference)
    assert (reverse.item(), forward.item()) == (0.0, 0.0)


@pytest.mark.parametrize("name", EXACT)
def test_exact_forms_end_at_the_optimum(name: str) -> None:
    """With another draw than the proofs have."""
    start, end = trained(config(EXACT[name]), seed=2)
    assert start > 0.4
    assert end < 1e-3


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        # Of two draws of reference and reward; they start .46 and .52 away.
        ("k1", (0.67, 0.76)),  # and moving on: to the one best sequence
        ("k2", (0.11, 0.24)),
        ("k3", (0.11, 0.25)),
        ("k3 times the ratio", (0.11, 0.24)),  # k1 times the ratio is the same
    ],
)
def test_forms_by_token_end_elsewhere(name: str, ends: tuple[float, ...]) -> None:
    """Each drops what an early token does to the divergence of later ones; k1 in the loss is no penalty at all."""
    found = [trained(config(BY_TOKEN[name]), seed=seed)[1] for seed in (1, 2)]
    assert found == pytest.approx(list(ends), abs=0.011)


@pytest.mark.parametrize("name", [name for name in BY_TOKEN if name not in ("k1", "k3")])
def test_for_one_token_there_is_nothing_to_drop(name: str) -> None:
    assert trained(config(BY_TOKEN[name]), length=1, seed=2)[1] < 1e-6
    assert trained(config(BY_TOKEN["k3"]), length=1, seed=2)[1] > 0.01  # the forward divergence has another optimum


def config(chosen: dict[str, Any]) -> GRPOConfig:
    return GRPOConfig(kl_coef=policy_proofs.BETA, policy_loss="no_clip", **chosen)
