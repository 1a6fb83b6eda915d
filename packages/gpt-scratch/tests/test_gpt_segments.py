"""Several texts in a row: features and gradients are those of the texts in rows of their own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_scratch.config import GPTConfig
from gpt_scratch.model import GPT
from gpt_scratch.segments import Segments

VOCAB = 17


def model() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8), vocab_size=VOCAB).double()


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.lists(
        st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=8), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    )
)
def test_texts_of_a_row_do_not_see_each_other(packed: list[list[list[int]]]) -> None:
    gpt = model()
    width = max(sum(map(len, row)) for row in packed)  # may be beyond block_size: places are counted in each text
    ids = torch.zeros(len(packed), width, dtype=torch.long)
    segments = torch.full((len(packed), width), -1)
    for b, row in enumerate(packed):
        joined = [i for text in row for i in text]
        ids[b, : len(joined)] = torch.tensor(joined)
        segments[b, : len(joined)] = torch.tensor([n for n, text in enumerate(row) for _ in text])
    if any(sum(map(len, row)) + gpt.config.block_size < width for row in packed):
        width = 0  # so much padding has no places; nobody packs so
    if not width:
        with pytest.raises(ValueError, match="beyond this model"):
            gpt.features(ids, segments=segments)
        return
    together = gpt.features(ids, segments=segments)  # (B, T, C)
    alone = [gpt.features(torch.tensor([text]))[0] for row in packed for text in row]
    parts = [together[b, : sum(map(len, row))] for b, row in enumerate(packed)]
    torch.testing.assert_close(torch.cat(parts), torch.cat(alone), rtol=0, atol=1e-12)
    weight = torch.randn(sum(len(part) for part in parts), 16, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((torch.cat(found) * weight).sum(), [*gpt.h.parameters(), gpt.wpe.weight])
        for found in (parts, alone)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_one_text_a_row_is_what_it_is_without_segments() -> None:
    gpt, ids = model(), torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
    torch.testing.assert_close(gpt.features(ids, segments=torch.zeros_like(ids)), gpt.features(ids))


def test_places_begin_again_where_the_number_changes() -> None:
    apart = Segments(torch.tensor([[4, 4, 4, 1, 4, -1, -1]]))
    assert apart.positions.tolist() == [[0, 1, 2, 0, 0, 0, 1]]
    assert apart.seen[0, 0].sum(-1).tolist() == [1, 2, 3, 1, 1, 1, 2]  # equal numbers apart are two texts


def test_a_cache_and_a_wrong_shape_are_refused() -> None:
    gpt, ids = model(), torch.tensor([[3, 1]])
    with pytest.raises(ValueError, match="segments: got some beside a cache"):
        gpt.features(ids, segments=torch.zeros_like(ids), cache=gpt.new_cache(1, 4))
    with pytest.raises(ValueError, match=r"segments: got shape \(1, 3\), must be that of ids, \(1, 2\)"):
        gpt.features(ids, segments=torch.zeros(1, 3, dtype=torch.long))
