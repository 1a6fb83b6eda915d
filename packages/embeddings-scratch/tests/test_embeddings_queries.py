"""Queries against brute force in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_scratch.queries import VectorIndex, cosine_similarity, unit_length


def table(rows: int = 300, width: int = 17, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(rows, width, generator=generator)
    return vectors * torch.rand(rows, 1, generator=generator) * 10


def brute_force(vectors, positive, negative, topn, exclude=()):
    rows = vectors.double().tolist()

    def unit(row):
        length = math.sqrt(sum(x * x for x in row))
        return [x / length for x in row]

    parts = [unit(rows[i]) for i in positive] + [[-x for x in unit(rows[i])] for i in negative]
    target = unit([sum(column) for column in zip(*parts, strict=True)])
    left_out = {*positive, *negative, *exclude}
    scores = [(-sum(a * b for a, b in zip(target, unit(row), strict=True)), i) for i, row in enumerate(rows)]
    return [(i, -score) for score, i in sorted(scores) if i not in left_out][:topn]


@pytest.mark.parametrize(("positive", "negative"), [([3], []), ([3, 8], [5]), ([1, 2, 3], []), ([], [4])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_most_similar_equals_brute_force(positive, negative, dtype):
    vectors = table().to(dtype)
    got = VectorIndex(vectors).most_similar(positive, negative, topn=12, exclude=[7, 9])
    expected = brute_force(vectors, positive, negative, 12, exclude=[7, 9])
    assert [i for i, _ in got] == [i for i, _ in expected]
    assert [score for _, score in got] == pytest.approx([score for _, score in expected], abs=1e-6)


def test_inputs_are_averaged_at_unit_length():
    vectors = torch.tensor([[100.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.1]])
    assert VectorIndex(vectors).most_similar([0, 1], topn=1) == [(2, pytest.approx(1.0))]


def test_analogy_is_b_minus_a_plus_c_without_its_inputs():
    index = VectorIndex(table())
    assert index.analogy(4, 9, 2, topn=5) == index.most_similar([9, 2], [4], topn=5)
    assert index.analogies([(4, 9, 2), (1, 2, 3)], topn=5) == [
        index.analogy(4, 9, 2, topn=5),
        index.analogy(1, 2, 3, topn=5),
    ]
    gender, royal, man = torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0])
    vectors = torch.stack((man, man + gender, man + royal, man + royal + gender, -man))  # man woman king queen other
    assert VectorIndex(vectors).analogy(0, 1, 2, topn=1)[0][0] == 3
    assert {i for i, _ in VectorIndex(vectors).analogy(0, 1, 2)} == {3, 4}


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 59), min_size=1, max_size=4), st.lists(st.integers(0, 59), max_size=2)),
        min_size=1,
        max_size=40,
    )
)
@settings(deadline=None, derandomize=True, max_examples=50)
def test_a_batch_equals_one_by_one_to_the_bit(questions):
    vectors = table(60)
    vectors[30:] = vectors[:30]  # every vector twice: ties everywhere
    index = VectorIndex(vectors)
    batch = index.most_similar_batch(questions, topn=7)
    assert batch == [index.most_similar(positive, negative, topn=7) for positive, negative in questions]


def test_blocks_do_not_matter(monkeypatch):
    index = VectorIndex(table())
    questions = [([i], [i + 1]) for i in range(50)]
    expected = index.most_similar_batch(questions)
    monkeypatch.setattr("embeddings_scratch.queries.SCORES_AT_ONCE", 900)
    assert index.most_similar_batch(questions) == expected


def test_ties_are_ordered_by_id():
    vectors = table(1000)
    copies = [3, 11, 500, 501, 999]
    vectors[copies] = vectors[3].clone()
    got = VectorIndex(vectors).most_similar([11], topn=4)
    assert [i for i, _ in got] == [3, 500, 501, 999]
    assert [score for _, score in got] == pytest.approx([1.0] * 4)
    assert [i for i, _ in VectorIndex(torch.ones(50, 3)).most_similar([2], topn=5)] == [0, 1, 3, 4, 5]


def test_only_allowed_answers():
    index = VectorIndex(table(), answers=[5, 6, 7])
    assert {i for i, _ in index.most_similar([6], topn=10)} == {5, 7}
    assert {i for i, _ in index.most_similar([9], topn=10)} == {5, 6, 7}


def test_asking_for_more_than_there_is():
    assert len(VectorIndex(table(4)).most_similar([0], topn=100)) == 3


def test_zero_vectors_are_at_zero_and_never_nan():
    vectors = table(5)
    vectors[2] = 0
    index = VectorIndex(vectors)
    assert dict(index.most_similar([0]))[2] == 0
    assert index.most_similar([2]) == [(0, 0.0), (1, 0.0), (3, 0.0), (4, 0.0)]
    assert float(cosine_similarity(vectors[2], vectors[0])) == 0
    assert float(cosine_similarity(vectors[2], vectors[2])) == 0


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1.0, 1e20, 1e38])
def test_cosine_does_not_depend_on_length(scale):
    a, b = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])
    assert float(cosine_similarity(a * (scale / 4), b)) == pytest.approx(24 / 25, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    a = torch.full((5000,), 100.0, dtype=dtype)
    similarity = cosine_similarity(a, a)
    assert similarity.dtype == torch.float32
    assert float(similarity) == pytest.approx(1.0, abs=1e-5)


def test_cosine_broadcasts():
    vectors = table(6)
    matrix = cosine_similarity(vectors[:, None], vectors[None])
    assert matrix.shape == (6, 6)
    torch.testing.assert_close(matrix.diagonal(), torch.ones(6))
    torch.testing.assert_close(matrix, torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1))
    assert unit_length(vectors).norm(dim=1).tolist() == pytest.approx([1.0] * 6)


def test_mistakes_are_named():
    index = VectorIndex(table(10))
    with pytest.raises(ValueError, match=r"positive: got id 10, must be from 0 to 9"):
        index.most_similar([10])
    with pytest.raises(ValueError, match=r"negative: got id -1"):
        index.most_similar([1], [-1])
    with pytest.raises(ValueError, match=r"exclude: got id 77"):
        index.most_similar([1], exclude=[77])
    with pytest.raises(ValueError, match=r"question 0: got no ids"):
        index.most_similar([])
    with pytest.raises(ValueError, match=r"topn: got 0"):
        index.most_similar([1], topn=0)
    with pytest.raises(ValueError, match=r"exclude: got 1 collections, must be one for each of 2"):
        index.nearest(torch.zeros(2, 17), exclude=[[1]])
    with pytest.raises(ValueError, match=r"answers: got id 10"):
        VectorIndex(table(10), answers=[10])
    with pytest.raises(ValueError, match=r"vectors: got shape \(3,\)"):
        VectorIndex(torch.zeros(3))
    vectors = table(10)
    vectors[4, 2] = torch.inf
    with pytest.raises(ValueError, match=r"vectors: row 4 has a value that is not a finite number"):
        VectorIndex(vectors)


def test_no_questions():
    assert VectorIndex(table()).most_similar_batch([]) == []
