"""Packing: less padding, and to the rounding the loss and the gradient of the rows one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from align_scratch.config.sft import SFTConfig
from align_scratch.errors import DoesNotFit
from align_scratch.labels import TokenRow
from align_scratch.packing import WASTE, best_fit_decreasing, buckets, keeps_segments_apart, share_rows
from align_scratch.sft import SFT
from align_scratch.tasks.problems import Example, Score

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(1, 9))
def test_buckets_hold_each_row_once_and_little_padding(lengths: list[int], most: int) -> None:
    found = list(buckets(lengths, most))
    assert sorted(row for run in found for row in run) == list(range(len(lengths)))
    for run in found:
        assert 1 <= len(run) <= most
        real, positions = sum(lengths[row] for row in run), len(run) * max(lengths[row] for row in run)
        assert 1 - real / positions <= WASTE + 1e-9


@settings(max_examples=100, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(40, 80))
def test_best_fit_decreasing(lengths: list[int], capacity: int) -> None:
    packed = best_fit_decreasing(lengths, capacity)
    assert sorted(item for row in packed for item in row) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in row) <= capacity for row in packed)
    if len(packed) > 1:  # no two rows could be one
        assert 2 * sum(lengths) > (len(packed) - 1) * capacity


def test_best_fit_decreasing_by_hand() -> None:
    assert best_fit_decreasing([4, 8, 1, 4, 2, 1], 10) == [[1, 4], [0, 3, 2, 5]]
    with pytest.raises(ValueError, match="item 1: has length 11, must be at most the capacity, 10"):
        best_fit_decreasing([4, 11], 10)


def test_rows_share_without_touching_each_others_targets() -> None:
    rows = [
        TokenRow([1, 2, 3], [2, 3, 0], ((1, 3),)),
        TokenRow([4, 5], [5, 0], ((0, 2),)),
        TokenRow([6], [0], ((0, 1),)),
    ]
    joined, segments = share_rows(rows, [[0, 2], [1]])
    assert joined == [TokenRow([1, 2, 3, 6], [2, 3, 0, 0], ((1, 3), (3, 4))), TokenRow([4, 5], [5, 0], ((0, 2),))]
    assert segments.tolist() == [[0, 0, 0, 2], [1, 1, -1, -1]]


class Attention(nn.Module):
    """One layer of attention with learned positions, which keeps segments apart."""

    def __init__(self, vocab_size: int, n_embd: int = 16, max_length: int | None = 64) -> None:
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, max_length
        self.token, self.place = nn.Embedding(vocab_size, n_embd), nn.Embedding(64, n_embd)
        self.qkv, self.out = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, vocab_size)

    def features(
        self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None, segments: Tensor | None = None
    ) -> Tensor:
        t = torch.arange(ids.shape[1])
        segments = torch.zeros_like(ids) if segments is None else segments
        same = segments[:, :, None] == segments[:, None, :]  # (B, T, T)
        places = (same & (t[:, None] > t)).sum(-1)  # (B, T): how many of one's own stand before
        x = self.token(ids) + self.place(places)  # (B, T, D)
        q, k, v = self.qkv(x).chunk(3, -1)
        mask = same & (t[:, None] >= t)
        return x + nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def head(self, features: Tensor, /) -> Tensor:
        logits: Tensor = self.out(features)
        return logits


class Echo:
    """Words of 1 to 20 letters to say again."""

    def examples(self, split: str) -> list[Example]:
        words = ["abcdefghijklmnopqrst"[: 1 + i % 20] for i in range(40)]
        return [Example(f"{split[0]} {word}=", word, word) for word in words]

    def check(self, example: Example, completion: str) -> Score:
        return Score(float(completion == example.answer), completion == example.answer)


def one_step(parts: Any, model: Any, **options: Any) -> tuple[dict[str, Any], Tensor]:
    built = parts(Echo(), model=model, sampler=None)
    trainer = SFT(SFTConfig(steps=1, batch_size=32, grad_clip=None, **options), **built)
    metrics = dict(next(iter(trainer.train())))
    moments = trainer.state_dict()["optimizer"].values()
    return metrics, torch.cat([moment["exp_avg"].flatten() for moment in moments])  # (1 - beta1) times the gradient


def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(40)


LOSSES: list[dict[str, Any]] = [{"loss_type": name} for name in ("nll", "sequence", "sum", "dft")]
LOSSES += [{"label_smoothing": 0.2}, {"completion_only": False}]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("packing", [{"packing": "buckets"}, {"packing": "buckets", "grad_accum_steps": 7},
                                     {"packing": "shared_rows"}, {"packing": "shared_rows", "grad_accum_steps": 3},
                                     {"packing": "none", "grad_accum_steps": 5}])  # fmt: skip
def test_packing_changes_neither_loss_nor_gradient(parts: Any, loss: Any, packing: Any) -> None:
    plain, gradient = one_step(parts, attention(), **loss)
    packed, same = one_step(parts, attention(), **loss, **packing)
    torch.testing.assert_close(same, gradient, rtol=1e-4, atol=1e-7)
    for name in ("loss", "mean_token_accuracy", "entropy", "grad_norm", "num_tokens"):
        assert packed[name] == pytest.approx(plain[name], rel=1e-5), name
    assert plain["padding"] > 0.1
    if packing["packing"] == "buckets":
        assert packed["padding"] <= WASTE
    if packing["packing"] == "shared_rows":
        assert packed["padding"] < plain["padding"]


def test_attention_across_the_border_would_be_seen(parts: Any, monkeypatch: Any) -> None:
    """The equality above is no accident: a model that ignores segments fails it."""
    _, gradient = one_step(parts, attention())
    features = Attention.features
    monkeypatch.setattr(Attention, "features", lambda self, ids, *, segments=None, **rest: features(self, ids, **rest))
    _, other = one_step(parts, attention(), packing="shared_rows")
    assert (other - gradient).norm() > 0.1 * gradient.norm()


def test_models_that_cannot_keep_rows_apart_are_refused(parts: Any, toy_model: Any) -> None:
    assert keeps_segments_apart(attention())
    assert not keeps_segments_apart(toy_model(40))
    with pytest.raises(
        DoesNotFit, match=r"packing: shared_rows needs .* which ToyModel does not: take packing=buckets"
    ):
        SFT(SFTConfig(packing="shared_rows"), **parts())
