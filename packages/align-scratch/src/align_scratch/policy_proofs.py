"""The claims about policy gradients, by writing out everything that a small policy can do. See `proofs`.

Expectations are sums over all V^T sequences in float64, so a claim holds to rounding or does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from align_scratch.advantages import group_advantages
from align_scratch.config.grpo import FORMS, GRPOConfig
from align_scratch.grpo_terms import kl_terms, policy_terms, sequence_kl
from align_scratch.losses import cispo, clipped_surrogate, row_weights, split, weighted_sum
from align_scratch.proofs import Proof, deviation
from align_scratch.tabular import Tabular, optimum, total_variation
from inference_scratch.generate import Generation
from inference_scratch.score import join

BETA = 0.5
EXACT: dict[str, dict[str, Any]] = {
    "k1 in the reward": {"kl_in": "reward", "kl_estimator": "k1"},
    "k2 of whole sequences": {"kl_level": "sequence", "kl_estimator": "k2"},
    "k3 of whole sequences times their ratio": {"kl_level": "sequence", "kl_estimator": "k3", "kl_unbiased": True},
}
"""Options of `grpo` whose expected gradient is that of KL(pi || pi_ref) over sequences."""
BY_TOKEN: dict[str, dict[str, Any]] = {
    "k1": {"kl_estimator": "k1"},
    "k2": {"kl_estimator": "k2"},
    "k3": {"kl_estimator": "k3"},
    "k1 times the ratio": {"kl_estimator": "k1", "kl_unbiased": True},
    "k3 times the ratio": {"kl_estimator": "k3", "kl_unbiased": True},
}
"""Options of `grpo` that estimate the divergence token by token in the loss: exact for completions of one token."""


def proofs() -> Iterator[Proof]:
    yield from policy_gradients()
    yield from kl_gradients()
    yield from optima()
    yield from weights_and_masks()


# --- the gradient of the expected reward ---------------------------------------------------------------------------


def rewards_of(policy: Tabular, seed: int = 1) -> Tensor:
    """Any reward for each sequence: (N,) fp64."""
    return torch.randn(len(policy.tokens), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def expected_loss(config: GRPOConfig, policy: Tabular, reference: Tensor, rewards: Tensor) -> Tensor:
    """The expectation of GRPO's loss on-policy without a baseline, a row weighing 1: a differentiable scalar.

    Log-probabilities (N, T) of the reference, rewards (N,). What a baseline or more samples change is the spread.
    """
    log_probs = policy.log_probs()  # (N, T)
    old, mask = log_probs.detach(), torch.ones_like(log_probs, dtype=torch.bool)
    if config.kl_in == "reward":
        rewards = rewards - config.kl_coef * sequence_kl(config, old, reference, mask)
    terms = policy_terms(config, log_probs, old, rewards, mask)
    if config.kl_in == "loss":
        terms = terms + config.kl_coef * kl_terms(config, log_probs, old, reference, mask)
    return weighted_sum(terms, mask, old.sum(1).exp())


def policy_gradients() -> Iterator[Proof]:
    policy = Tabular()
    rewards = rewards_of(policy)
    exact = policy.gradient((policy.probabilities() * rewards).sum())
    nothing = torch.zeros_like(policy.log_probs())
    for policy_loss in ("clip", "no_clip", "reinforce", "cispo", "sapo"):
        config = GRPOConfig(policy_loss=policy_loss)
        yield Proof(
            claim=f"policy_loss={policy_loss}: the expected gradient on-policy is the policy gradient, over all 27 "
            "sequences of 3 tokens",
            measured=deviation(policy.gradient(expected_loss(config, policy, nothing, rewards)), -exact),
            tolerance=1e-12,
        )
    yield Proof(
        claim="RLOO: the expected gradient over all 729 pairs of completions is the policy gradient",
        measured=deviation(_leave_one_out_gradient(policy, rewards), -exact),
        tolerance=1e-12,
    )
    others = torch.stack([torch.cat([row[:i], row[i + 1 :]]).mean() for row in rewards.view(9, 3) for i in range(3)])
    yield Proof(
        claim="RLOO: a reward less the mean of the others is G / (G - 1) times the reward less the group's mean",
        measured=deviation(
            group_advantages(rewards.view(9, 3), baseline="leave_one_out", scale="none").flatten(), rewards - others
        ),
        tolerance=1e-12,
    )


def _leave_one_out_gradient(policy: Tabular, rewards: Tensor) -> Tensor:
    n = len(rewards)
    pairs = torch.cartesian_prod(torch.arange(n), torch.arange(n))  # (N^2, 2)
    advantages = group_advantages(rewards[pairs], baseline="leave_one_out", scale="none").flatten()  # (2 N^2,)
    log_probs = policy.log_probs().sum(1)  # (N,)
    chances = log_probs.detach().exp()[pairs].prod(1)  # (N^2,)
    whole = (log_probs - log_probs.detach())[pairs.flatten()][:, None]  # (2 N^2, 1)
    terms = clipped_surrogate(whole, advantages, 0.2, 0.2)
    return policy.gradient(
        weighted_sum(terms, torch.ones_like(terms, dtype=torch.bool), chances.repeat_interleave(2) / 2)
    )


# --- the divergence ------------------------------------------------------------------------------------------------


def kl_gradients() -> Iterator[Proof]:
    """What the gradients of the estimators really are, for one token and for sequences."""
    for length, options in ((1, BY_TOKEN), (3, EXACT)):
        policy, reference = Tabular(length=length), Tabular(length=length, seed=7).log_probs().detach()
        reverse, forward = sequence_divergences(policy, reference)
        for name, chosen in options.items():
            config = GRPOConfig(kl_coef=1.0, **chosen)
            rewards = torch.zeros(len(policy.tokens), dtype=torch.float64)
            got = policy.gradient(expected_loss(config, policy, reference, rewards))
            wanted, what = policy.gradient(reverse), "that of the reverse divergence"
            if chosen == {"kl_estimator": "k1"}:
                wanted, what = torch.zeros_like(got), "zero: no penalty at all"
            elif chosen == {"kl_estimator": "k3"}:
                wanted, what = policy.gradient(forward), "that of the forward divergence"
            yield Proof(
                claim=f"{name}, {length} token{'s' if length > 1 else ''}: the expected gradient is {what}",
                measured=deviation(got, wanted),
                tolerance=1e-12,
            )


def sequence_divergences(policy: Tabular, reference: Tensor) -> tuple[Tensor, Tensor]:
    """KL(pi || pi_ref) and KL(pi_ref || pi) over whole sequences, for log-probabilities (N, T) of the reference."""
    log_pi, log_ref = policy.log_probs().sum(1), reference.sum(1)  # (N,)
    return (log_pi.exp() * (log_pi - log_ref)).sum(), (log_ref.exp() * (log_ref - log_pi)).sum()


def trained(config: GRPOConfig, *, length: int = 3, steps: int = 500, seed: int = 1) -> tuple[float, float]:
    """Follow the exact gradient of E[r] - kl_coef KL as `config` has it: distance from pi* at the start and the end.

    Distances are total variation, pi* = pi_ref exp(r / kl_coef) / Z; the policy starts at pi_ref. `seed` draws the
    reference and the rewards.
    """
    policy = Tabular(length=length, seed=seed)
    reference = policy.log_probs().detach()
    rewards = rewards_of(policy, 1000 + seed)
    goal = optimum(reference.sum(1).exp(), rewards, config.kl_coef)
    start = total_variation(policy.probabilities().detach(), goal)
    optimizer = torch.optim.Adam([policy.logits], lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-3, total_iters=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        expected_loss(config, policy, reference, rewards).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return start, total_variation(policy.probabilities().detach(), goal)


def optima() -> Iterator[Proof]:
    for name, chosen in EXACT.items():
        start, end = trained(GRPOConfig(kl_coef=BETA, policy_loss="no_clip", **chosen))
        yield Proof(
            claim=f"{name}: training on 3 tokens ends at pi_ref exp(r / beta) / Z, in total variation; it starts at "
            f"{start:.2f}",
            measured=end,
            tolerance=1e-3,
        )


# --- sums, weights and masks ---------------------------------------------------------------------------------------


def weights_and_masks() -> Iterator[Proof]:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor([3, 1, 5, 2, 5, 4])
    mask = torch.arange(5) < lengths[:, None]  # (6, 5)
    log_probs = -torch.rand(6, 5, generator=generator, dtype=torch.float64)
    old = log_probs + torch.randn(6, 5, generator=generator, dtype=torch.float64) * 0.2
    advantages = torch.randn(6, generator=generator, dtype=torch.float64)
    normalisers = {
        "tokens": lengths.sum().expand(6),
        "mean": 6 * lengths,
        "constant": torch.full((6,), 6 * 5),
        "sum": torch.full((6,), 6),
        "microbatch_tokens": lengths.sum().expand(6),  # of the one micro-batch that there is
    }
    worst = {"split": 0.0, "on-policy": 0.0}
    for loss_type, form in FORMS.items():
        config = GRPOConfig(loss_type=loss_type)
        whole = _gradient(config, log_probs, old, advantages, mask, parts=1, order=torch.arange(6))
        if form.length_norm != "microbatch_tokens":
            for parts, order in ((2, torch.arange(6)), (3, torch.tensor([4, 0, 5, 2, 1, 3])), (6, torch.arange(6))):
                got = _gradient(config, log_probs, old, advantages, mask, parts=parts, order=order)
                worst["split"] = max(worst["split"], deviation(got, whole))
        got = _gradient(config, log_probs, log_probs, advantages, mask, parts=1, order=torch.arange(6))
        wanted = -advantages[:, None] * mask / normalisers[form.length_norm][:, None]
        worst["on-policy"] = max(worst["on-policy"], deviation(got, wanted))
    yield Proof(
        claim="no loss type but bnpo, whose name says so, depends on micro-batches or the order of rows",
        measured=worst["split"],
        tolerance=1e-12,
    )
    yield Proof(
        claim="on-policy every loss type has the gradient -A m / normaliser",
        measured=worst["on-policy"],
        tolerance=1e-7,  # weights are in torch's default dtype, which may be fp32
    )
    constant = torch.full((2, 8), 0.3)
    noise = max(
        float(group_advantages(constant, baseline=baseline, scale=scale, eps=1e-6).abs().max())
        for baseline in ("group", "leave_one_out")
        for scale in ("group", "batch", "none")
    )
    yield Proof(claim="equal rewards give exactly no advantage, in fp32 too", measured=noise, tolerance=0.0)
    leaf = log_probs.clone().requires_grad_()
    terms = cispo(leaf, torch.zeros_like(leaf), advantages, 0.2)
    (capped,) = torch.autograd.grad(terms.sum(), leaf)
    yield Proof(
        claim="CISPO with a cap of 0.2 scales every on-policy gradient by 0.2: the cap is a ratio, not a distance",
        measured=deviation(capped, -0.2 * advantages[:, None].expand_as(leaf)),
        tolerance=1e-12,
    )
    yield Proof(
        claim="the first end mark is learned and nothing behind it, also where padding has its id",
        measured=float(_wrong_places()),
        tolerance=0.0,
    )


def _gradient(
    config: GRPOConfig, log_probs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *, parts: int, order: Tensor
) -> Tensor:
    """Of the loss on all rows, taken in `order` and in `parts` micro-batches, by log-probabilities (B, T)."""
    leaf = log_probs.clone().requires_grad_()
    weights = row_weights(config.form.length_norm, mask[order].sum(1), constant=mask.shape[1], parts=parts).double()
    for rows, weight in zip(split(order, parts), split(weights, parts), strict=True):
        terms = policy_terms(config, leaf[rows], old[rows], advantages[rows], mask[rows])
        weighted_sum(terms, mask[rows], weight).backward()  # type: ignore[no-untyped-call]
    if leaf.grad is None:
        raise RuntimeError("no row had a gradient")
    return leaf.grad


def _wrong_places() -> int:
    """Places of [t0, t1, eos, pad, pad], [eos, ...] and a truncated row that are not masked as they should be."""
    golden = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    wrong = 0
    for pad in (0, 1, 7):  # 0 is the end mark
        generation = Generation(
            tokens=torch.tensor([[1, 2, 0, pad, pad], [0, pad, pad, pad, pad], [2, 2, 2, 2, 2]]),
            lengths=torch.tensor([3, 1, 5]),
            log_probs=torch.zeros(3, 5),
            finished=torch.tensor([True, True, False]),
        )
        wrong += int((join([[1], [2, 1], [2]], generation).mask != golden).sum())
    return wrong
