"""The embedding layer, and the two queries that go with it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from embeddings_scratch.layer import TokenEmbeddingLayer
from embeddings_scratch.queries import VectorIndex, compute_embedding_similarity, find_nearest_embeddings


def table(rows=40, width=9, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_looks_rows_up():
    torch.manual_seed(0)
    layer = TokenEmbeddingLayer(11, embed_dim=4)
    for shape in ((), (3,), (2, 5), (2, 0), (2, 3, 4)):
        ids = torch.randint(11, shape)
        assert torch.equal(layer(ids), F.embedding(ids, layer.weight))
        assert layer(ids.int()).shape == (*shape, 4)
    assert TokenEmbeddingLayer(3).embed_dim == 128
    assert str(layer) == "TokenEmbeddingLayer(11, 4, pad_token_id=0)"


def test_padding_is_zero_and_learns_nothing():
    layer = TokenEmbeddingLayer(6, 4, pad_token_id=2)
    assert not layer.weight[2].any()
    assert all(layer.weight[i].any() for i in (0, 1, 3, 4, 5))
    layer(torch.tensor([[2, 1, 2], [3, 2, 2]])).pow(2).sum().add(layer(torch.tensor([2])).sum()).backward()
    assert not layer.weight.grad[2].any()
    assert layer.weight.grad[1].any()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert not layer.weight[2].any()
    layer = TokenEmbeddingLayer(6, 4, pad_token_id=None)
    assert layer.weight[0].any()
    layer(torch.tensor([0])).sum().backward()
    assert layer.weight.grad[0].any()


def test_it_is_saved_with_the_model():
    first, second = TokenEmbeddingLayer(6, 4), TokenEmbeddingLayer(6, 4)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.weight, second.weight)
    assert abs(TokenEmbeddingLayer(2000, 64).weight.square().sum(dim=1).mean().item() - 1) < 0.02


def test_what_the_layer_refuses():
    for options, reason in (
        ({"vocab_size": 0}, "vocab_size: got 0"),
        ({"vocab_size": 4, "embed_dim": -1}, "embed_dim: got -1"),
        ({"vocab_size": 4, "pad_token_id": 4}, "pad_token_id: got 4, must be from 0 to 3"),
        ({"vocab_size": 4, "pad_token_id": -1}, "pad_token_id: got -1"),
    ):
        with pytest.raises(ValueError, match=reason):
            TokenEmbeddingLayer(**options)
    layer = TokenEmbeddingLayer(4, 2)
    for wrong in (-1, 4):
        with pytest.raises(IndexError, match=rf"ids: got {wrong}, must be from 0 to 3"):
            layer(torch.tensor([1, wrong]))
    with pytest.raises(TypeError, match=r"ids: got torch\.float32"):
        layer(torch.tensor([1.0]))


@pytest.mark.parametrize(("first", "second"), [((9,), (9,)), ((9,), (5, 9)), ((4, 9), (9,)), ((4, 9), (5, 9))])
def test_similarity_of_each_with_each(first, second):
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in (first, second))
    expected = F.cosine_similarity(a.reshape(-1, 1, 9), b.reshape(1, -1, 9), dim=2).reshape((*first[:-1], *second[:-1]))
    assert torch.allclose(compute_embedding_similarity(a, b), expected, atol=1e-12)


def test_similarity_at_its_edges():
    one = torch.tensor([1.0, 2.0])
    assert compute_embedding_similarity(one, torch.zeros(2)) == 0
    assert compute_embedding_similarity(one * 1e30, one * 1e-30) == pytest.approx(1)
    half = compute_embedding_similarity(torch.full((4096,), 8.0, dtype=torch.float16), torch.ones(3, 4096))
    assert half.dtype == torch.float32
    assert half.tolist() == pytest.approx([1.0] * 3)
    vectors = table(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: compute_embedding_similarity(x, table(2, seed=5)), vectors)
    for a, b in ((one, torch.ones(3)), (torch.ones(1, 2, 2), one), (torch.tensor(1.0), one)):
        with pytest.raises(ValueError, match=r"^e1, e2: got shapes"):
            compute_embedding_similarity(a, b)


def test_nearest_equals_brute_force():
    vectors, query = table(), table(1, seed=3)[0]
    scores = F.cosine_similarity(query[None], vectors)
    expected = [i for i in scores.argsort(descending=True).tolist() if i not in (4, 7)]
    found = find_nearest_embeddings(query, vectors, top_k=6, exclude_indices=[4, 7])
    assert [i for i, _ in found] == expected[:6]
    assert [score for _, score in found] == pytest.approx([scores[i].item() for i in expected[:6]])
    assert len(find_nearest_embeddings(query, vectors)) == 5
    assert len(find_nearest_embeddings(query, vectors, top_k=99, exclude_indices={0})) == 39


def test_many_queries_are_each_alone():
    vectors, queries = table(), table(6, seed=4)
    batch = find_nearest_embeddings(queries, vectors, top_k=3, exclude_indices=[1])
    assert batch == [find_nearest_embeddings(query, vectors, top_k=3, exclude_indices=[1]) for query in queries]
    assert batch == VectorIndex(vectors).nearest(queries, topn=3, exclude=[[1]] * 6)
    assert find_nearest_embeddings(queries[:0], vectors) == []
    assert find_nearest_embeddings(vectors[2], vectors, top_k=1) == [(2, pytest.approx(1.0))]
    same = torch.ones(4, 9, dtype=torch.float64)
    assert [i for i, _ in find_nearest_embeddings(same[0], same, top_k=4)] == [0, 1, 2, 3]  # ties by row


@pytest.mark.parametrize(
    ("query", "options", "reason"),
    [
        (torch.ones(8), {}, "query, embeddings: got shapes"),
        (torch.ones(2, 2, 9), {}, "query, embeddings: got shapes"),
        (torch.full((9,), float("nan")), {}, "query: has a value that is not a finite number"),
        (torch.ones(9), {"top_k": 0}, "topn: got 0"),
        (torch.ones(9), {"exclude_indices": [40]}, "exclude: got id 40"),
    ],
)
def test_what_nearest_refuses(query, options, reason):
    with pytest.raises(ValueError, match=reason):
        find_nearest_embeddings(query, table(), **options)
