"""A language with a known answer: words of a topic must become neighbours, and only by training."""

from __future__ import annotations

import pytest
import torch

from embeddings_scratch.config import SkipGramConfig, Word2VecConfig
from embeddings_scratch.model import SkipGram
from embeddings_scratch.queries import VectorIndex
from embeddings_scratch.trainer import Word2Vec


def purity(model: SkipGram) -> float:
    """Share of the 9 nearest neighbours that are of the word's own topic: 9/199 by chance, 1 at best."""
    nearest = VectorIndex(model.get_all_embeddings()).most_similar_batch([([i], []) for i in range(200)], topn=9)
    return sum(j // 10 == i // 10 for i, row in enumerate(nearest) for j, _ in row) / 1800


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_topics_are_found(world, topics, seed):
    tokenizer, task = world(topics(seed, 3000), topics(seed + 100, 300))
    torch.manual_seed(seed)
    model = SkipGram(SkipGramConfig(embed_dim=32), vocab_size=200)
    config = Word2VecConfig(steps=400, subsample=0.0)
    trainer = Word2Vec(config, model=model, tokenizer=tokenizer, task=task, seed=seed)
    assert purity(model) < 0.1
    before = trainer.evaluate()
    *_, last = trainer.train()
    after = trainer.evaluate()
    assert purity(model) >= 0.99
    assert before["auc"] == 0.5
    assert after["auc"] > 0.75
    assert after["loss"] < 0.6 * before["loss"]
    assert last["loss"] == pytest.approx(after["loss"], abs=0.2)

    # Scores of pairs, not only neighbourhoods: same-topic words beat words of other topics.
    scores = (model.get_all_embeddings() @ model.output.weight.detach().T).double()
    generator = torch.Generator().manual_seed(0)
    word = torch.randint(200, (10_000,), generator=generator)
    friend = word // 10 * 10 + (word + torch.randint(1, 10, (10_000,), generator=generator)) % 10
    stranger = (word + torch.randint(10, 190, (10_000,), generator=generator)) % 200
    other_topic = stranger // 10 != word // 10
    won = (scores[word, friend] > scores[word, stranger])[other_topic]
    assert float(won.double().mean()) > 0.99


def test_shuffled_words_teach_nothing(world, topics):
    """The control: the same words in sentences without topics leave neighbours at chance."""
    words = " ".join(topics(1, 3000)).split()
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [" ".join(words[j] for j in order[i : i + 8]) for i in range(0, len(words), 8)]
    tokenizer, task = world(shuffled, shuffled[:10])
    torch.manual_seed(1)
    model = SkipGram(SkipGramConfig(embed_dim=32), vocab_size=200)
    for _ in Word2Vec(Word2VecConfig(steps=400, subsample=0.0), model=model, tokenizer=tokenizer, task=task).train():
        pass
    assert purity(model) < 0.1
