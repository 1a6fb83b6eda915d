"""Trainers as users run them, sampling and all, on a policy whose best is known: pi_ref exp(score / kl_coef) / Z.

Three symbols, one of which ends, and at most three tokens: 15 completions. The policy has a logit for every prefix, so
any distribution over them can be reached. Sampling leaves no noise behind: where the policy is at its best, score less
divergence is the same for every completion, and every advantage is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from align_scratch.config.grpo import GRPOConfig
from align_scratch.config.ppo import PPOConfig
from align_scratch.config.reinforce import REINFORCEConfig
from align_scratch.config.rloo import RLOOConfig
from align_scratch.grpo import GRPO
from align_scratch.ppo import PPO
from align_scratch.reinforce import REINFORCE
from align_scratch.rloo import RLOO
from align_scratch.tabular import optimum, total_variation
from align_scratch.tasks.problems import Example, Score
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial
from inference_scratch.score import completion_log_probs, pack

V, T, EOS = 3, 3, 2
PROMPT = "a"
SCORES = {"": 0.3, "a": -0.4, "b": 1.0, "aa": 0.9, "ab": -1.0, "ba": 0.2, "bb": 0.0}  # of what ends; others cost 0.5


class PrefixCache:
    def __init__(self, codes: Tensor) -> None:
        self.codes = codes

    def select(self, rows: Tensor, /) -> PrefixCache:
        return PrefixCache(self.codes[rows])


class Table(nn.Module):
    """The features of a prefix are its row of a table, and so are its logits."""

    vocab_size, max_length = V, 1 + T

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn((V + 1) ** (1 + T), V, generator=generator))

    def new_cache(self, batch_size: int, max_length: int, /) -> PrefixCache:
        return PrefixCache(torch.zeros(batch_size, dtype=torch.int64))

    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        cache = self.new_cache(len(ids), 0) if cache is None else cache
        real = torch.ones_like(ids, dtype=torch.bool)
        if lengths is not None:
            real = torch.arange(ids.shape[1]) < lengths[:, None]
        rows = []
        for t in range(ids.shape[1]):
            cache.codes = torch.where(real[:, t], (V + 1) * cache.codes + ids[:, t] + 1, cache.codes)
            rows.append(self.table[cache.codes])
        return torch.stack(rows, 1).masked_fill(~real[:, :, None], math.nan)  # (B, T, V)

    def head(self, features: Tensor, /) -> Tensor:
        return features


class Letters:
    eos_id: int | None = EOS

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [["ab".index(letter) for letter in text] for text in texts]

    def decode_batch(self, rows: Iterable[Iterable[int]], /) -> list[str]:
        return ["".join("ab"[i] for i in row if i != EOS) for row in rows]


EXACT: dict[str, Any] = {"scale_rewards": "none", "length_norm": "sum"}


def score(text: str) -> float:
    return SCORES.get(text, -0.5) if len(text) < T else -0.5


class Taste:
    """One prompt, and a liking for each completion."""

    def examples(self, split: str, /) -> Sequence[Example]:
        return [Example(PROMPT, "bb", "bb")]

    def check(self, example: Any, completion: str, /) -> Score:
        return Score(reward=score(completion), correct=False)


def completions() -> list[list[int]]:
    found, open_ = [], [[]]  # type: ignore[var-annotated]
    for t in range(T):
        found += [[*prefix, EOS] for prefix in open_]
        open_ = [[*prefix, i] for prefix in open_ for i in (0, 1)]
        if t == T - 1:
            found += open_
    return found


def distribution(model: Table) -> Tensor:
    """Of all completions: (15,) fp64."""
    rows = completions()
    with torch.no_grad():
        log_probs, _ = completion_log_probs(model, pack([[0]] * len(rows), rows))
    chances = log_probs.double().sum(1).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-5)
    return chances


@pytest.mark.parametrize("lam", [1.0, 0.95])
def test_the_policy_ends_where_it_is_best(lam: float) -> None:
    model, beta = Table(), 0.5
    start = distribution(model)
    scores = torch.tensor([score(Letters().decode_batch([row])[0]) for row in completions()], dtype=torch.float64)
    best = optimum(start, scores, beta)
    config = PPOConfig(
        steps=60, prompts_per_step=256, lr=0.05, min_lr_ratio=0.02, warmup_steps=0, kl_coef=beta, lam=lam,
        whiten_advantages=False, clip_value=None, value_trunk="own", value_lr_ratio=2.0, vf_coef=1.0, max_new_tokens=T,
        grad_clip=None, track_kl=0,
    )  # fmt: skip
    trainer = PPO(
        config, model=model, tokenizer=Letters(), task=Taste(), sampler=Multinomial(MultinomialConfig()), seed=0
    )
    *_, last = trainer.train()
    assert total_variation(start, best) > 0.3
    assert total_variation(distribution(model), best) < 1e-3
    exact = float((distribution(model) * (distribution(model) / start).log()).sum())
    assert last["objective/kl"] == pytest.approx(exact, abs=0.1)


@pytest.mark.parametrize(
    ("build", "config", "low", "high"),
    [
        (RLOO, RLOOConfig, 0, 1e-3),
        (REINFORCE, REINFORCEConfig, 0, 1e-3),
        (GRPO, lambda **rest: GRPOConfig(**rest, **EXACT, kl_in="reward", kl_estimator="k1"), 0, 1e-3),
        # By token in the loss: near, and not there. Its gradient is noise where the expectation is 0, too.
        (GRPO, lambda **rest: GRPOConfig(**rest, **EXACT, kl_unbiased=True), 0.02, 0.3),
    ],
    ids=["rloo", "reinforce", "grpo, k1 in the reward", "grpo, k3 by token"],
)
def test_with_the_divergence_in_the_reward_the_policy_ends_where_it_is_best(
    build: Any, config: Any, low: float, high: float
) -> None:
    model, beta = Table(), 0.5
    start = distribution(model)
    scores = torch.tensor([score(Letters().decode_batch([row])[0]) for row in completions()], dtype=torch.float64)
    best = optimum(start, scores, beta)
    options = {
        "steps": 180 if build is REINFORCE else 120, "prompts_per_step": 32, "group_size": 8, "warmup_steps": 0,
        "lr": 0.05, "min_lr_ratio": 0.02,
        "kl_coef": beta, "max_new_tokens": T, "grad_clip": None, "track_kl": 0,
    }  # fmt: skip
    trainer = build(
        config(**options), model=model, tokenizer=Letters(), task=Taste(), sampler=Multinomial(MultinomialConfig())
    )
    list(trainer.train())
    assert total_variation(start, best) > 0.3
    assert low <= total_variation(distribution(model), best) < high
