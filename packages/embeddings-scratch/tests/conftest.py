"""Stand-ins for the partners of the trainer, and a synthetic language whose right answer is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
import torch


class WordTokenizer:
    """Ids are places in a fixed list of words; texts are words with spaces between."""

    def __init__(self, words: Sequence[str], extra_ids: int = 0) -> None:
        self.words = list(words)
        self.vocab_size = len(self.words) + extra_ids
        self._ids = {word: i for i, word in enumerate(self.words)}

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._ids[word] for word in text.split()] for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self.words[i] for i in ids)


class ListTask:
    def __init__(self, train: Sequence[str], held_out: Sequence[str] = ()) -> None:
        self.splits = {"train": train, "held_out": held_out}

    def texts(self, split: str = "train") -> Iterable[str]:
        return self.splits[split]


def make_world(
    train: Sequence[str], held_out: Sequence[str] = (), *, words: Sequence[str] | None = None, extra_ids: int = 0
) -> tuple[WordTokenizer, ListTask]:
    words = words or sorted({word for text in (*train, *held_out) for word in text.split()})
    return WordTokenizer(words, extra_ids), ListTask(train, held_out)


def make_topics(seed: int, sentences: int) -> list[str]:
    """Sentences of 8 words over 20 topics of 10 words; 80 % of a sentence's words are of its topic.

    Word `w123` is of topic 12.
    """
    generator = torch.Generator().manual_seed(seed)
    topic = torch.randint(20, (sentences, 1), generator=generator)
    own = topic * 10 + torch.randint(10, (sentences, 8), generator=generator)
    any_word = torch.randint(200, (sentences, 8), generator=generator)
    words = torch.where(torch.rand(sentences, 8, generator=generator) < 0.8, own, any_word)
    return [" ".join(f"w{word:03d}" for word in row) for row in words.tolist()]


@pytest.fixture
def world():
    return make_world


@pytest.fixture
def topics():
    return make_topics
