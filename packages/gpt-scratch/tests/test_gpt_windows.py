"""Windows: each once an epoch, other borders every epoch, and a position that is one integer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_scratch.errors import CorpusError
from gpt_scratch.windows import Windows, epoch_starts


@given(context=st.integers(1, 20), extra=st.integers(1, 200), seed=st.integers(-5, 2**70), epoch=st.integers(0, 5))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_an_epoch_visits_every_window_once(context: int, extra: int, seed: int, epoch: int) -> None:
    size = context + extra
    windows = Windows(torch.arange(size), context, seed=seed)
    n = windows.num_windows
    assert n == size // context
    starts = windows.starts(epoch * n, n)
    inputs, targets = windows.batch(starts)
    assert inputs.shape == targets.shape == (n, context)
    assert torch.equal(targets, (inputs + 1) % size)  # the stream counts up: the successor is known
    assert len(inputs.flatten().unique()) == n * context  # no token twice, so that all windows are different ones
    assert starts == epoch_starts(size, context, seed=seed, epoch=epoch).tolist()


def test_steps_see_the_same_windows_however_they_are_asked_for() -> None:
    stream = torch.arange(101)
    straight = Windows(stream, 7, seed=3).starts(0, 60)
    assert straight[20:33] == Windows(stream, 7, seed=3).starts(20, 13)  # over the border of an epoch of 14
    windows = Windows(stream, 7, seed=3)
    assert [windows.starts(number, 1)[0] for number in range(60)] == straight
    assert straight != Windows(stream, 7, seed=4).starts(0, 60)


def test_order_and_borders_change_between_epochs() -> None:
    first, second = (epoch_starts(1000, 10, seed=1, epoch=epoch) for epoch in (0, 1))
    assert len({int(start) % 10 for start in first}) == 1
    assert sorted(first.tolist()) != sorted(second.tolist())
    differences = [set(((epoch_starts(1000, 10, seed=1, epoch=e)) % 10).tolist()) for e in range(40)]
    assert len(set.union(*differences)) == 10


def test_too_small_a_corpus_says_how_small() -> None:
    Windows(torch.arange(9), 8, seed=0)
    with pytest.raises(CorpusError, match=r"has 8 tokens, but one window needs 9 \(context 8"):
        Windows(torch.arange(8), 8, seed=0)
    assert CorpusError.exit_code == 3
