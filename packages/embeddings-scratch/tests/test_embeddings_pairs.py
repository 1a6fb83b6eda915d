"""Pairs against a plain loop, and their order against interruptions."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from embeddings_scratch.corpus import Corpus
from embeddings_scratch.errors import CorpusError
from embeddings_scratch.pairs import PairStream, seeded, window_pairs


def sentences(seed: int = 0, n: int = 40, longest: int = 12) -> Corpus:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (n,), generator=generator)
    ids = torch.randint(0, 30, (int(lengths.sum()),), generator=generator)
    return Corpus(ids.to(torch.int32), lengths)


def stream(corpus: Corpus | None = None, **options) -> PairStream:
    chosen = {"window": 3, "shrink_windows": True, "seed": 7, "block_tokens": 50} | options
    return PairStream(corpus or sentences(), torch.full((30,), 0.8), **chosen)


def test_pairs_equal_those_of_a_plain_loop():
    generator = torch.Generator().manual_seed(2)
    corpus = sentences()
    sentence = torch.repeat_interleave(torch.arange(len(corpus.lengths)), corpus.lengths)
    windows = torch.randint(1, 5, (len(corpus.ids),), generator=generator)
    expected = Counter(
        (int(corpus.ids[i]), int(corpus.ids[j]))
        for i in range(len(corpus.ids))
        for j in range(len(corpus.ids))
        if i != j and sentence[i] == sentence[j] and abs(i - j) <= windows[i]
    )
    got = window_pairs(corpus.ids.long(), sentence, windows)
    assert Counter(map(tuple, got.T.tolist())) == expected


def test_pairs_never_cross_sentences():
    """Each sentence has an id of its own."""
    lengths = torch.tensor([1, 5, 2, 9, 3, 1, 4])
    corpus = Corpus(torch.arange(7).repeat_interleave(lengths).to(torch.int32), lengths)
    centres, contexts = PairStream(corpus, torch.ones(7), window=10, shrink_windows=False, seed=0).take(500)
    assert torch.equal(centres, contexts)
    assert set(centres.tolist()) == {1, 2, 3, 4, 6}


def test_an_epoch_is_every_sentence_once():
    lengths = torch.tensor([2] * 100)
    corpus = Corpus(torch.arange(200).to(torch.int32), lengths)
    epochs = PairStream(corpus, torch.ones(200), window=1, shrink_windows=True, seed=0, block_tokens=32)
    first, second = epochs.take(200), epochs.take(200)
    assert sorted(first[0].tolist()) == sorted(second[0].tolist()) == list(range(200))
    assert not torch.equal(first, second)
    assert first[0].tolist() != list(range(200))


@pytest.mark.parametrize("sizes", [[1] * 60, [7, 53], [400, 1, 399], [3000]])
def test_how_pairs_are_taken_does_not_matter(sizes):
    one, other = stream(), stream()
    assert torch.equal(one.take(sum(sizes)), torch.cat([other.take(size) for size in sizes], dim=1))
    assert one.state_dict() == other.state_dict()
    assert one.tokens == other.tokens


@pytest.mark.parametrize("before", [0, 1, 37, 256, 1000, 4001])
def test_position_is_enough_to_continue(before):
    one = stream()
    one.take(before)
    other = stream()
    other.load_state_dict(one.state_dict())
    assert one.tokens == other.tokens
    assert torch.equal(one.take(1500), other.take(1500))
    again = stream()
    again.take(9)  # a stream that was used may be put elsewhere too
    again.load_state_dict({"epoch": 0, "block": 0, "offset": 0})
    assert torch.equal(again.take(5), stream().take(5))


def test_seed_decides_the_order():
    assert torch.equal(stream(seed=1).take(100), stream(seed=1).take(100))
    assert not torch.equal(stream(seed=1).take(100), stream(seed=2).take(100))
    assert seeded(1, 23).initial_seed() != seeded(12, 3).initial_seed()


def test_tokens_count_passes_over_the_corpus():
    pairs, seen = stream(), [0]
    total = len(pairs.corpus.ids)
    while pairs.epoch < 3:
        pairs.take(10)
        seen.append(pairs.tokens)
    assert seen == sorted(seen)
    assert 3 * total <= seen[-1] < 3 * total + 50


def test_rest_of_epoch_and_take_agree():
    whole = torch.cat(list(stream().rest_of_epoch()), dim=1)
    assert torch.equal(whole, stream().take(whole.shape[1]))


def test_one_giant_sentence_is_one_block():
    corpus = Corpus(torch.randint(0, 30, (500,), generator=seeded(1)).to(torch.int32), torch.tensor([500]))
    assert stream(corpus).take(3000).shape == (2, 3000)


def test_a_corpus_thinned_to_nothing_is_an_error_and_no_endless_loop():
    corpus = Corpus(torch.zeros(4, dtype=torch.int32), torch.tensor([2, 2]))
    with pytest.raises(CorpusError, match=r"lower trainer.subsample|0 drops none") as caught:
        PairStream(corpus, torch.zeros(1), window=2, shrink_windows=True, seed=0).take(1)
    assert caught.value.exit_code == 3
