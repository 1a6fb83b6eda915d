"""A cache must be invisible: whatever is appended, selected or truncated, logits are those of each row alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_scratch.bigram import Bigram
from gpt_scratch.cache import KVCache
from gpt_scratch.config import BigramConfig, GPTConfig
from gpt_scratch.model import GPT

VOCAB = 19


def build(kind: str, n_head: int = 2, head_dim: int = 8, block_size: int = 48) -> GPT | Bigram:
    torch.manual_seed(0)
    if kind == "bigram":
        return Bigram(BigramConfig(init_std=1.0), vocab_size=VOCAB).eval()
    model = GPT(
        GPTConfig(n_layer=2, n_head=n_head, n_embd=n_head * head_dim, block_size=block_size), vocab_size=VOCAB
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return model


def check(model: GPT | Bigram, rows: list[list[int]], logits: torch.Tensor, counts: list[int]) -> None:
    """The last `counts[b]` positions of row b, as computed with the cache, equal those of the row alone, uncached."""
    for row, count, cached in zip(rows, counts, logits, strict=True):
        if count:
            with torch.no_grad():
                alone = model(torch.tensor([row]))[0, -count:]
            torch.testing.assert_close(cached[:count], alone, atol=1e-5, rtol=1e-5)


@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
@pytest.mark.parametrize("kind", ["gpt", "bigram"])
def test_any_sequence_of_operations_equals_no_cache(kind: str, data: st.DataObject) -> None:
    n_head, head_dim = data.draw(st.sampled_from([(1, 4), (2, 8), (4, 16), (2, 40)]))
    capacity = data.draw(st.integers(1, 48))
    model = build(kind, n_head, head_dim)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    batch = data.draw(st.integers(1, 4))
    rows: list[list[int]] = [[] for _ in range(batch)]
    cache = model.new_cache(batch, capacity)
    for _ in range(data.draw(st.integers(1, 7))):
        operation = data.draw(st.sampled_from(["append", "append one", "append ragged", "select", "truncate"]))
        if operation == "select":
            chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
            old = cache
            cache = cache.select(torch.tensor(chosen))
            assert old.lengths.tolist() == [len(row) for row in rows]
            rows = [list(rows[index]) for index in chosen]
        elif operation == "truncate":
            to = [data.draw(st.integers(0, capacity)) for _ in rows]
            cache.truncate(torch.tensor(to))
            rows = [row[:length] for row, length in zip(rows, to, strict=True)]
        else:
            width = 1 if operation == "append one" else data.draw(st.integers(1, 12))
            lengths = None
            counts = [width] * len(rows)
            if operation == "append ragged":
                counts = [data.draw(st.integers(0, min(width, capacity - len(row)))) for row in rows]
                lengths = torch.tensor(counts)
            ids = torch.randint(VOCAB, (len(rows), width), generator=generator)
            if max(len(row) + count for row, count in zip(rows, counts, strict=True)) > capacity:
                with pytest.raises(ValueError, match=f"does not fit a cache of {capacity} positions"):
                    model(ids, lengths=lengths, cache=cache)
            else:
                logits = model(ids, lengths=lengths, cache=cache)
                rows = [row + new[:count] for row, new, count in zip(rows, ids.tolist(), counts, strict=True)]
                check(model, rows, logits, counts)
        assert cache.lengths.tolist() == [len(row) for row in rows]
        assert cache.lengths.dtype == torch.int64


@pytest.mark.parametrize("ragged", [False, True])
def test_rollout_of_grouped_prompts(ragged: bool) -> None:
    """The life of a cache in reinforcement learning: padded prompts, each repeated, extended, finished rows dropped."""
    model = build("gpt")
    generator = torch.Generator().manual_seed(3)
    lengths = [3, 7, 5] if ragged else [7, 7, 7]
    prompts = torch.randint(VOCAB, (3, 7), generator=generator)
    cache = model.new_cache(3, 20)
    rows = [row[:length] for row, length in zip(prompts.tolist(), lengths, strict=True)]
    check(model, rows, model(prompts, lengths=torch.tensor(lengths), cache=cache), lengths)
    cache = cache.select(torch.arange(3).repeat_interleave(4))
    rows = [list(row) for row in rows for _ in range(4)]
    for step in range(13):
        ids = torch.randint(VOCAB, (len(rows), 1), generator=generator)
        rows = [row + new for row, new in zip(rows, ids.tolist(), strict=True)]
        check(model, rows, model(ids, cache=cache), [1] * len(rows))
        if step in (4, 8):
            keep = torch.arange(0, len(rows), 2)
            cache, rows = cache.select(keep), [rows[index] for index in keep.tolist()]


def test_padding_may_stick_out_of_cache_and_model() -> None:
    model = build("gpt", block_size=12)
    cache = model.new_cache(2, 12)
    first = torch.randint(VOCAB, (2, 10), generator=torch.Generator().manual_seed(0))
    model(first, cache=cache)
    more = torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0]])  # real are 2 and 1: they end at positions 11 and 10
    logits = model(more, lengths=torch.tensor([2, 1]), cache=cache)
    rows = [[*first[0].tolist(), 1, 2], [*first[1].tolist(), 5]]
    check(model, rows, logits, [2, 1])


def test_memory_that_holds_nan_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    real_empty, real_new_empty = torch.empty, torch.Tensor.new_empty
    monkeypatch.setattr(torch, "empty", lambda *args, **kw: real_empty(*args, **kw).fill_(float("nan")))
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda self, *args, **kw: real_new_empty(self, *args, **kw).fill_(float("nan"))
    )
    model = build("gpt")
    cache = model.new_cache(2, 40)
    model(torch.tensor([[1, 2, 3], [4, 5, 0]]), lengths=torch.tensor([3, 2]), cache=cache)
    cache = cache.select(torch.tensor([1, 0, 1]))
    for _ in range(30):
        logits = model(torch.tensor([[1], [2], [3]]), cache=cache)
        assert bool(logits.isfinite().all())
    assert cache.lengths.tolist() == [32, 33, 32]


def test_a_failed_call_leaves_the_cache_as_it_was() -> None:
    model = build("gpt")
    cache = model.new_cache(1, 6)
    model(torch.tensor([[1, 2, 3]]), cache=cache)
    with pytest.raises(ValueError, match="position 6 does not fit a cache of 6"):
        model(torch.tensor([[1, 2, 3, 4]]), cache=cache)
    with pytest.raises(ValueError, match="not in the vocabulary"):
        model(torch.tensor([[99]]), cache=cache)
    assert cache.lengths.tolist() == [3]
    check(model, [[1, 2, 3, 4]], model(torch.tensor([[4]]), cache=cache), [1])


def test_nothing_flows_back_through_a_cache_and_dropout_is_off() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=8, dropout=0.5), vocab_size=VOCAB).train()
    ids = torch.tensor([[1, 2, 3]])
    cached = model(ids, cache=model.new_cache(1, 3))
    assert not cached.requires_grad
    assert model(ids).requires_grad
    model.eval()
    torch.testing.assert_close(cached, model(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gpt", "bigram"])
def test_misuse_is_refused(kind: str) -> None:
    model = build(kind)
    with pytest.raises(ValueError, match="at least 1"):
        model.new_cache(0, 4)
    with pytest.raises(ValueError, match="at least 1"):
        model.new_cache(1, 0)
    with pytest.raises(ValueError, match="got 1 rows, but the cache has 2"):
        model(torch.tensor([[1]]), cache=model.new_cache(2, 4))
    with pytest.raises(TypeError, match="new_cache"):
        model(torch.tensor([[1]]), cache=object())
    with pytest.raises(ValueError, match="row 0 says -1"):
        model.new_cache(2, 4).truncate(torch.tensor([-1, 0]))


def test_uniform_rows_are_known_to_be_uniform() -> None:
    """The fast path is really taken: after a uniform prompt, and again after truncating to one length."""
    model = build("gpt")
    cache = model.new_cache(3, 30)
    assert isinstance(cache, KVCache)
    ids = torch.ones(3, 4, dtype=torch.int64)
    model(ids, lengths=torch.tensor([4, 4, 4]), cache=cache)
    assert cache.append(1).start == 4
    model(ids, lengths=torch.tensor([4, 2, 1]), cache=cache)
    assert cache.append(1).start is None
    assert cache.select(torch.tensor([1, 1])).append(1).start == 6
    cache.truncate(torch.tensor([5, 5, 5]))
    assert cache.append(2).start == 5
