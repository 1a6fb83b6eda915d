"""The gradient that GRPO follows against the gradient of the expected reward, both summed over all that can happen.

A policy over three symbols with a logit for every prefix can be written out: 27 completions of three tokens, or 15 if
one of the symbols ends them. So expectations here are exact, and equalities hold to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from align_scratch.advantages import group_advantages
from align_scratch.losses import clipped_surrogate, kl_penalty, row_weights, weighted_sum
from align_scratch.rollouts import Rollouts, roll_out
from align_scratch.tasks.problems import Example, Score
from inference_scratch.config import MultinomialConfig
from inference_scratch.generate import Generation
from inference_scratch.samplers import Multinomial
from inference_scratch.score import Sequences, completion_log_probs, join, pack

pytestmark = pytest.mark.usefixtures("double")

V, T = 3, 3
EOS = 2
PROMPT = [1, 0]


class PrefixCache:
    def __init__(self, codes: Tensor, lengths: Tensor) -> None:
        self.codes, self.lengths = codes, lengths

    def select(self, rows: Tensor, /) -> PrefixCache:
        return PrefixCache(self.codes[rows], self.lengths[rows])


class Table(nn.Module):
    """A row of logits for every prefix of up to five ids: any distribution over completions there is."""

    max_length: int | None = 6

    def __init__(self, seed: int = 0, spread: float = 1.0) -> None:
        super().__init__()
        self.vocab_size = V
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn((V + 1) ** 5, V, generator=generator) * spread)

    def new_cache(self, batch_size: int, max_length: int, /) -> PrefixCache:
        zeros = torch.zeros(batch_size, dtype=torch.int64)
        return PrefixCache(zeros, zeros)

    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        cache = self.new_cache(len(ids), ids.shape[1]) if cache is None else cache
        real = (
            torch.arange(ids.shape[1])
            < (torch.full((len(ids),), ids.shape[1]) if lengths is None else lengths)[:, None]
        )
        code, rows = cache.codes, []
        for t in range(ids.shape[1]):
            code = torch.where(real[:, t], (V + 1) * code + ids[:, t] + 1, code)  # (B,): a number for each prefix
            rows.append(self.table[code])
        cache.codes, cache.lengths = code, cache.lengths + real.sum(1)
        return torch.stack(rows, 1).masked_fill(~real[:, :, None], math.nan)  # (B, T, V); padding must not be read

    def head(self, features: Tensor, /) -> Tensor:
        return features

    def forward(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        return self.head(self.features(ids, lengths=lengths, cache=cache))


def code_of(ids: Sequence[int]) -> int:
    """The row of the table for this prefix."""
    code = 0
    for i in ids:
        code = (V + 1) * code + i + 1
    return code


def all_completions(with_eos: bool) -> list[list[int]]:
    """Everything the policy can answer: three tokens, or fewer if one is EOS; their probabilities sum to 1."""
    if not with_eos:
        return [list(ids) for ids in product(range(V), repeat=T)]
    ended = {ids[: ids.index(EOS) + 1] if EOS in ids else ids for ids in product(range(V), repeat=T)}
    return [list(ids) for ids in sorted(ended)]


def rewards_of(completions: Sequence[Sequence[int]], seed: int = 0) -> Tensor:
    """Arbitrary: (N,). With seed -1 a checker's: 1 for a third of the answers, else 0."""
    if seed < 0:
        return torch.tensor([float(sum(ids) % 3 == 1) for ids in completions])
    return torch.randn(len(completions), generator=torch.Generator().manual_seed(seed))


@dataclass
class World:
    """All completions of one prompt: probabilities P (N,), log-probabilities (N, T) and the gradient of sum P r."""

    model: Table
    sequences: Sequences
    log_probs: Tensor
    probabilities: Tensor
    rewards: Tensor
    exact: Tensor

    def gradient(self, loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, self.model.table, retain_graph=True)[0]


def by_hand(model: Table, completions: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities of whole completions (N,), one token at a time and without the package."""
    rows = []
    for completion in completions:
        total = torch.zeros(())
        for t, token in enumerate(completion):
            total = total + model.table[code_of([*PROMPT, *completion[:t]])].log_softmax(0)[token]
        rows.append(total)
    return torch.stack(rows)


def world(*, with_eos: bool, reward_seed: int = 0) -> World:
    model, completions = Table(), all_completions(with_eos)
    assert len(completions) == (15 if with_eos else 27)
    log_p = by_hand(model, completions)
    rewards = rewards_of(completions, reward_seed)
    assert float(log_p.detach().exp().sum()) == pytest.approx(1.0, abs=1e-12)
    exact = torch.autograd.grad((log_p.exp() * rewards).sum(), model.table)[0]
    assert float(exact.abs().max()) > 1e-3
    sequences = pack([PROMPT] * len(completions), completions)
    # The package scores in fp32, which would hide what is tested here; the same in float64, from its rows and masks.
    logits = model(sequences.ids[:, :-1], lengths=sequences.prompt_lengths + sequences.completion_lengths - 1)
    places = sequences.prompt_lengths[:, None] + torch.arange(sequences.n_columns) - 1
    chosen = sequences.ids.gather(1, (places + 1).clamp(max=sequences.ids.shape[1] - 1))
    picked = logits.nan_to_num(0.0).log_softmax(-1)[torch.arange(len(completions))[:, None], places]
    log_probs = picked.gather(2, chosen[:, :, None])[:, :, 0].masked_fill(~sequences.mask, 0)
    return World(model, sequences, log_probs, log_p.detach().exp(), rewards, exact)


def surrogate(w: World, rows: Tensor, advantages: Tensor, weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """The loss of GRPO on-policy on `rows` (M,) of the world, with given advantages (M,) and weights (M,)."""
    log_probs = w.log_probs[rows]
    terms = clipped_surrogate(log_probs - log_probs.detach(), advantages, 0.2, 0.28)
    return weighted_sum(terms, (w.sequences.mask if mask is None else mask)[rows], weights)


def close(got: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, wanted, atol=tolerance, rtol=1e-9)


# --- one completion at a time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_eos", [False, True])
def test_the_scores_are_those_of_the_table(with_eos: bool) -> None:
    """The package's own scoring, in fp32, against one token at a time by hand."""
    w = world(with_eos=with_eos)
    scored, _ = completion_log_probs(w.model, w.sequences, sampler=Multinomial(MultinomialConfig()))
    close(scored.double(), w.log_probs, 1e-6)
    close(w.log_probs.sum(1), by_hand(w.model, all_completions(with_eos)))
    ours = torch.autograd.grad((scored.sum(1).double().exp() * w.rewards).sum(), w.model.table)[0]
    close(ours, w.exact, 1e-6)


@pytest.mark.parametrize("with_eos", [False, True])
@pytest.mark.parametrize("baseline", [0.0, 0.7, -3.0])
def test_the_mean_surrogate_gradient_is_the_policy_gradient_whatever_the_baseline(
    with_eos: bool, baseline: float
) -> None:
    """sum_o P(o) grad loss(o) = -grad sum_o P(o) r(o): a constant baseline adds nothing."""
    w = world(with_eos=with_eos)
    rows = torch.arange(len(w.rewards))
    loss = surrogate(w, rows, w.rewards - baseline, w.probabilities)
    close(w.gradient(loss), -w.exact)


def test_a_baseline_changes_the_spread_and_not_the_mean() -> None:
    """The point of a baseline: the same expectation with less variance, here exactly."""
    w = world(with_eos=False, reward_seed=-1)
    ones, spread = torch.ones(1), {}
    for baseline in (0.0, float((w.probabilities * w.rewards).sum())):
        gradients = [
            w.gradient(surrogate(w, torch.tensor([i]), w.rewards[i : i + 1] - baseline, ones)) for i in range(27)
        ]
        mean = sum(p * g for p, g in zip(w.probabilities, gradients, strict=True))
        close(mean, -w.exact)
        spread[baseline] = float(
            sum(p * (g + w.exact).square().sum() for p, g in zip(w.probabilities, gradients, strict=True))
        )
    assert min(spread.values()) == list(spread.values())[1]


# --- groups --------------------------------------------------------------------------------------------------------


def all_groups(w: World, size: int) -> tuple[Tensor, Tensor]:
    """Every group of `size` completions, as rows of the world (M, G), and its probability (M,)."""
    n = len(w.rewards)
    groups = torch.cartesian_prod(*[torch.arange(n)] * size)  # (n^G, G)
    return groups, w.probabilities[groups].prod(1)


def mean_group_gradient(
    w: World, size: int, scale: str, norm: str, term: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Expectation of the gradient of one whole GRPO update on one group, over all groups there are."""
    groups, chances = all_groups(w, size)
    advantages = group_advantages(w.rewards[groups], scale=scale)  # (M, G)
    lengths = w.sequences.completion_lengths[groups]  # (M, G)
    weights = torch.stack([row_weights(norm, row) for row in lengths.unique(dim=0)])
    which = lengths.unique(dim=0, return_inverse=True)[1]
    weights = weights[which] * chances[:, None]  # (M, G)
    log_probs = w.log_probs[groups.flatten()]  # (M * G, T)
    terms = clipped_surrogate(log_probs - log_probs.detach(), advantages.flatten(), 0.2, 0.28)
    if term is not None:
        terms = terms + term(log_probs)
    return w.gradient(weighted_sum(terms, w.sequences.mask[groups.flatten()], weights.flatten()))


@pytest.mark.parametrize("norm", ["tokens", "mean"])
@pytest.mark.parametrize("size", [2, 3])
def test_a_group_baseline_that_holds_the_completion_itself_shrinks_the_gradient_by_its_share(
    size: int, norm: str
) -> None:
    """A = r - mean of the group, with r in the mean: E[grad] = -(G - 1) / G grad J / T, all T tokens alike."""
    w = world(with_eos=False)
    got = mean_group_gradient(w, size, "none", norm)
    close(got, -(size - 1) / size * w.exact / T)


def test_the_deviation_of_a_pair_scales_a_right_or_wrong_reward_only() -> None:
    """Two completions marked 0 or 1 differ by 1 or not at all: their deviation is 1 / sqrt 2, or their advantage 0."""
    w = world(with_eos=False, reward_seed=-1)
    got = mean_group_gradient(w, 2, "group", "tokens")
    close(got, -0.5 / (1 / math.sqrt(2) + 1e-4) * w.exact / T)


def test_dividing_by_the_groups_deviation_changes_the_direction_in_general() -> None:
    """What is known of the method, and why `scale_rewards` is an option: hard and easy groups count alike."""
    w = world(with_eos=False)
    got, plain = (-mean_group_gradient(w, 2, scale, "tokens").flatten() for scale in ("group", "none"))
    close(torch.nn.functional.cosine_similarity(plain, w.exact.flatten(), dim=0), torch.ones(()))
    assert 0.5 < float(torch.nn.functional.cosine_similarity(got, w.exact.flatten(), dim=0)) < 0.9999


def test_following_the_exact_gradient_raises_the_expected_reward() -> None:
    w = world(with_eos=True, reward_seed=-1)
    step = mean_group_gradient(w, 2, "group", "tokens")
    with torch.no_grad():
        before = float((by_hand(w.model, all_completions(True)).exp() * w.rewards).sum())
        w.model.table -= 20 * step
        after = float((by_hand(w.model, all_completions(True)).exp() * w.rewards).sum())
    assert after > before + 1e-3


def test_off_policy_the_ratio_corrects_for_who_sampled() -> None:
    """For one token, and within the clip, the gradient is the policy's own whoever sampled."""
    model, old = Table(0), Table(1, spread=0.02)
    with torch.no_grad():
        old.table += model.table  # close enough for no ratio to be clipped
    code = code_of(PROMPT)
    rewards = torch.tensor([1.0, -0.5, 2.0])
    log_p, log_old = model.table[code].log_softmax(0)[:, None], old.table[code].log_softmax(0)[:, None].detach()
    loss = weighted_sum(
        clipped_surrogate(log_p - log_old, rewards, 0.2, 0.28), torch.ones(3, 1, dtype=torch.bool), log_old[:, 0].exp()
    )
    exact = torch.autograd.grad((log_p[:, 0].exp() * rewards).sum(), model.table, retain_graph=True)[0]
    assert float((log_p - log_old).detach().abs().max()) > 1e-3
    close(torch.autograd.grad(loss, model.table)[0], -exact)


def test_a_divergence_in_the_loss_is_that_of_the_next_token_given_the_prefix() -> None:
    """k2 over all completions: the reverse divergence of every prefix, weighed by how likely the prefix is."""
    w, reference = world(with_eos=False), Table(7)
    with torch.no_grad():
        codes = torch.tensor([[code_of([*PROMPT, *ids[:t]]) for t in range(T)] for ids in all_completions(False)])
        chosen = torch.tensor(all_completions(False))
        log_ref = reference.table[codes].log_softmax(-1).gather(2, chosen[:, :, None])[:, :, 0]
    terms = kl_penalty(w.log_probs, log_ref, "k2")
    got = w.gradient(weighted_sum(terms, w.sequences.mask, w.probabilities))
    log_pi, base = w.model.table[codes].log_softmax(-1), reference.table[codes].log_softmax(-1).detach()
    exact = ((log_pi.exp() * (log_pi - base)).sum(-1).sum(1) * w.probabilities).sum()
    close(got, w.gradient(exact))


# --- the end of a completion ---------------------------------------------------------------------------------------


def test_without_the_end_mark_the_gradient_would_be_wrong() -> None:
    """The choice to stop is a choice: leaving EOS out of the mask loses it, counting what follows adds nonsense."""
    w = world(with_eos=True)
    rows = torch.arange(15)
    lengths = w.sequences.completion_lengths
    ended = torch.tensor([ids[-1] == EOS for ids in all_completions(True)])
    assert (int(ended.sum()), int((~ended).sum())) == (7, 8)
    without = torch.arange(T) < (lengths - ended.long())[:, None]
    loss = surrogate(w, rows, w.rewards, w.probabilities, without)
    assert float((w.gradient(loss) + w.exact).abs().max()) > 1e-3
    # At the first token's row of logits, in particular: stopping at once has a gradient of its own.
    stop = [all_completions(True).index([EOS])]
    gradient = w.gradient(surrogate(w, torch.tensor(stop), torch.ones(1), torch.ones(1)))[code_of(PROMPT)]
    p = w.model.table[code_of(PROMPT)].softmax(0).detach()
    close(gradient, p - torch.tensor([0.0, 0.0, 1.0]))


def test_nothing_behind_the_end_mark_has_a_gradient_or_a_say() -> None:
    w = world(with_eos=True)
    completions = all_completions(True)
    rows = torch.arange(15)
    gradient = w.gradient(surrogate(w, rows, torch.ones(15), torch.ones(15)))
    read = {code_of([*PROMPT, *ids[:t]]) for ids in completions for t in range(len(ids))}
    touched = set(gradient.abs().sum(1).nonzero()[:, 0].tolist())
    assert touched == read
    assert len(read) == 1 + 2 + 4
    assert all(code_of([*PROMPT, *ids]) not in touched for ids in completions if ids[-1] == EOS)
    # Whatever ids stand behind the end, the scores and their gradients are the same.
    for filler in range(V):
        ids = w.sequences.ids.clone()
        real = torch.arange(ids.shape[1]) < (w.sequences.prompt_lengths + w.sequences.completion_lengths)[:, None]
        other = Sequences(
            ids=ids.masked_fill(~real, filler),
            prompt_lengths=w.sequences.prompt_lengths,
            completion_lengths=w.sequences.completion_lengths,
        )
        scored, _ = completion_log_probs(w.model, other)
        close(scored.double(), w.log_probs, 1e-6)
        assert scored[~w.sequences.mask].eq(0).all()
        terms = clipped_surrogate(scored - scored.detach(), torch.ones(15), 0.2, 0.28)
        again = torch.autograd.grad(weighted_sum(terms, other.mask, torch.ones(15)), w.model.table)[0]
        close(again, gradient, 1e-6)


A, B, E = 0, 1, EOS


@pytest.mark.parametrize("pad", [EOS, 0, 7])
def test_golden_masks(pad: int) -> None:
    """m_t is 1 from the first token to the first EOS, itself included, and 0 behind it; also if padding is EOS."""
    generation = Generation(
        tokens=torch.tensor([[A, B, E, pad, pad], [E, pad, pad, pad, pad], [A, A, A, A, A], [A, B, A, B, E]]),
        lengths=torch.tensor([3, 1, 5, 5]),
        log_probs=torch.zeros(4, 5),
        finished=torch.tensor([True, True, False, True]),
    )
    golden = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
    assert torch.equal(generation.mask, golden)
    assert generation.to_lists() == [[A, B, E], [E], [A] * 5, [A, B, A, B, E]]
    sequences = join([[B], [A, B]], generation)
    assert torch.equal(sequences.mask, golden)
    assert sequences.prompt_lengths.tolist() == [1, 1, 2, 2]
    assert sequences.completion_lengths.tolist() == [3, 1, 5, 5]
    assert sequences.ids[0, :4].tolist() == [B, A, B, E]
    assert sequences.ids[2].tolist() == [A, B, A, A, A, A, A]
    packed = pack([[B], [B], [A, B], [A, B]], generation.to_lists())
    assert torch.equal(packed.mask, golden)
    part = sequences.select(torch.tensor([1, 0]))
    assert torch.equal(part.mask, golden[[1, 0]])


# --- sampled -------------------------------------------------------------------------------------------------------


class Letters:
    """Ids as letters, EOS silent."""

    eos_id: int | None = EOS

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [["ab".index(letter) for letter in text] for text in texts]

    def decode_batch(self, rows: Any, /) -> list[str]:
        return ["".join("ab"[i] for i in row if i != EOS) for row in rows]


class Scripted:
    """A task whose checker does as told for each completion; an exception is raised."""

    def __init__(self, marks: Callable[[str], Any]) -> None:
        self.marks = marks
        self.asked: list[str] = []

    def examples(self, split: str, /) -> Sequence[Example]:
        return []

    def check(self, example: Any, completion: str, /) -> Score:
        self.asked.append(example.prompt)
        reward = self.marks(completion)
        if isinstance(reward, Exception):
            raise reward
        return Score(reward=reward, correct=reward == 1.0)


def rolled(marks: Callable[[str], Any] | Scripted, *, group_size: int, prompts: Sequence[str] = ("ba",)) -> Rollouts:
    torch.set_default_dtype(torch.float32)
    return roll_out(
        Table(),
        Letters(),
        marks if isinstance(marks, Scripted) else Scripted(marks),
        [Example(prompt, "a", "a") for prompt in prompts],
        Letters().encode_batch(prompts),
        sampler=Multinomial(MultinomialConfig()),
        group_size=group_size,
        max_new_tokens=T,
        generator=torch.Generator().manual_seed(0),
    )


def test_what_is_sampled_is_what_was_enumerated() -> None:
    """8192 rollouts: each of the 15 completions as often as its probability says, ended where it ends."""
    completions = all_completions(True)
    told = rolled(lambda text: float(text == "ab"), group_size=8192)
    model = Table()
    chances = by_hand(model, completions).detach().exp().double()
    ids = told.generation.to_lists()
    counts = torch.tensor([float(ids.count(completion)) for completion in completions])
    assert int(counts.sum()) == 8192
    assert ((counts - 8192 * chances).abs() < 4.5 * (8192 * chances * (1 - chances)).sqrt()).all()
    assert told.generation.finished.tolist() == [row[-1] == EOS for row in ids]
    assert told.completions[:50] == Letters().decode_batch(ids[:50])
    assert told.rewards.flatten().tolist() == [float(text == "ab") for text in told.completions]
    scored, _ = completion_log_probs(model, told.sequences, sampler=Multinomial(MultinomialConfig()))
    close(scored.detach(), told.generation.log_probs, 1e-5)
    assert torch.equal(told.sequences.mask, told.generation.mask)
    mean = float((told.rewards - float(chances[completions.index([0, 1, EOS])])).mean())
    assert abs(mean) < 4.5 * 0.5 / math.sqrt(8192)


def test_groups_of_sampled_rollouts_stand_together() -> None:
    task = Scripted(lambda text: float(len(text)))
    told = rolled(task, group_size=16, prompts=("ba", "a", "bb"))
    assert task.asked == ["ba"] * 16 + ["a"] * 16 + ["bb"] * 16  # each marked as an answer to its own prompt
    assert told.group_size == 16
    assert told.rewards.shape == (3, 16)
    assert told.rewards.flatten().tolist() == [float(len(text)) for text in told.completions]
    prompts = [[1, 0], [0], [1, 1]]
    for row, (length, ids) in enumerate(
        zip(told.sequences.prompt_lengths.tolist(), told.sequences.ids.tolist(), strict=True)
    ):
        assert ids[:length] == prompts[row // 16]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, ValueError("odd text"), RecursionError()])
def test_a_completion_that_cannot_be_marked_is_left_out_of_its_group(bad: Any) -> None:
    told = rolled(lambda text: bad if text.startswith("a") else float(len(text)), group_size=64)
    rewards = told.rewards[0]
    unmarked = torch.tensor([text.startswith("a") for text in told.completions])
    assert 0 < int(unmarked.sum()) < 64
    assert torch.equal(rewards.isnan(), unmarked)
    advantages = group_advantages(told.rewards)[0]
    assert advantages[unmarked].eq(0).all()
    close(advantages[~unmarked], group_advantages(rewards[~unmarked][None])[0])
    explanations = {score.explanation for score in told.scores if math.isnan(score.reward)}
    assert len(explanations) == 1
    told_why = explanations.pop()
    assert told_why.startswith("the checker ")
    assert (type(bad).__name__ if isinstance(bad, Exception) else str(bad)) in told_why
