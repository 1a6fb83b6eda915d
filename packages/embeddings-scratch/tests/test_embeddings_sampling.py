"""Draws against the distributions they are said to come from."""

from __future__ import annotations

import math

import pytest
import torch

from embeddings_scratch.corpus import Corpus
from embeddings_scratch.errors import CorpusError
from embeddings_scratch.noise import NoiseTable
from embeddings_scratch.pairs import PairStream, keep_probabilities

COUNTS = torch.tensor([0, 1000, 500, 0, 100, 20, 5, 1, 0])


@pytest.mark.parametrize("exponent", [0.75, 1.0, 0.0, -0.5])
def test_negatives_pass_a_chi_square_test(exponent):
    stats = pytest.importorskip("scipy.stats", reason="the p-value comes from scipy")
    draws = NoiseTable(COUNTS, exponent).draw((1000, 1000), torch.Generator().manual_seed(5))
    observed = torch.bincount(draws.reshape(-1), minlength=len(COUNTS))
    counted = COUNTS > 0
    assert not observed[~counted].any()
    weights = COUNTS[counted].double() ** exponent
    expected = weights / weights.sum() * 1_000_000
    assert stats.chisquare(observed[counted].numpy(), expected.numpy()).pvalue > 0.001


def test_stated_probabilities_are_those_of_the_formula():
    weights = COUNTS.double() ** 0.75
    torch.testing.assert_close(NoiseTable(COUNTS, 0.75).probabilities, weights / weights.sum())


def test_extreme_exponents_do_not_overflow():
    table = NoiseTable(torch.tensor([1, 10**9]), 10.0)
    assert table.draw((100,), torch.Generator().manual_seed(0)).tolist() == [1] * 100
    table = NoiseTable(torch.tensor([1, 10**9]), -10.0)
    assert table.draw((100,), torch.Generator().manual_seed(0)).tolist() == [0] * 100


def test_no_counts_are_refused():
    with pytest.raises(CorpusError, match="no id was counted"):
        NoiseTable(torch.zeros(3, dtype=torch.int64), 0.75)


def test_keep_probability_is_that_of_the_c_program():
    counts = torch.tensor([900, 99, 1, 0])
    keep = keep_probabilities(counts, 1e-2)
    for i, f in enumerate((0.9, 0.099, 0.001)):
        assert float(keep[i]) == pytest.approx(min(1.0, math.sqrt(1e-2 / f) + 1e-2 / f), rel=1e-12)
    assert keep[2] == 1
    assert keep[3] == 1
    assert keep_probabilities(counts, 0.0).tolist() == [1, 1, 1, 1]


def stream_of(ids: torch.Tensor, lengths: list[int], keep: torch.Tensor, **options) -> PairStream:
    corpus = Corpus(ids.to(torch.int32), torch.tensor(lengths))
    return PairStream(corpus, keep, **({"window": 1, "shrink_windows": False, "seed": 0} | options))


def test_subsampling_rates_are_within_four_sigma():
    """Sentences of two equal ids: a pair is left exactly when both are kept, which has probability keep**2."""
    sentences_of, n_ids = torch.tensor([20_000, 5_000, 1_000]), 3
    ids = torch.arange(n_ids).repeat_interleave(2 * sentences_of)
    keep = keep_probabilities(sentences_of * 2, 0.02)
    stream = stream_of(ids, [2] * int(sentences_of.sum()), keep)
    seen = torch.cat(list(stream.rest_of_epoch()), dim=1)
    kept_sentences = torch.bincount(seen[0], minlength=n_ids) / 2
    for i, n in enumerate(sentences_of.tolist()):
        p = float(keep[i]) ** 2
        assert abs(int(kept_sentences[i]) - n * p) <= 4 * math.sqrt(n * p * (1 - p))


def test_windows_are_uniform():
    """In a row of distinct ids the pairs at distance d come from windows of d or more: (window + 1 - d) / window."""
    stats = pytest.importorskip("scipy.stats", reason="the p-value comes from scipy")
    n, window = 60_000, 5
    stream = stream_of(torch.arange(n), [n], torch.ones(n), window=window, shrink_windows=True)
    centres, contexts = torch.cat(list(stream.rest_of_epoch()), dim=1)
    inner = (centres >= window) & (centres < n - window)
    reach = torch.zeros(n, dtype=torch.int64).scatter_reduce(
        0, centres[inner], (centres - contexts)[inner].abs(), reduce="amax"
    )
    drawn = torch.bincount(reach[window : n - window], minlength=window + 1)
    assert drawn[0] == 0
    assert stats.chisquare(drawn[1:].numpy()).pvalue > 0.001


def test_fixed_windows_are_full():
    n = 1000
    stream = stream_of(torch.arange(n), [n], torch.ones(n), window=3)
    centres, contexts = torch.cat(list(stream.rest_of_epoch()), dim=1)
    distances = torch.bincount((centres - contexts).abs())
    assert distances.tolist() == [0, 2 * (n - 1), 2 * (n - 2), 2 * (n - 3)]
