"""The trainer: what a step computes, what a resumed run repeats, what it refuses."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch

from embeddings_scratch.config import SkipGramConfig, Word2VecConfig
from embeddings_scratch.errors import CorpusError, DivergedError
from embeddings_scratch.model import SkipGram
from embeddings_scratch.objective import negative_sampling_loss
from embeddings_scratch.trainer import Word2Vec

SMALL = {"batch_size": 50, "window": 2, "negative": 2, "subsample": 0.0, "steps": 20, "eval_pairs": 300}
ALL_WORDS = [f"w{i:03d}" for i in range(200)]


@pytest.fixture
def build(world, topics):
    train, held_out = topics(1, 60), topics(2, 30)

    def build(*, seed: int = 0, model: SkipGram | None = None, texts=None, extra_ids: int = 0, **options) -> Word2Vec:
        tokenizer, task = world(*(texts or (train, held_out)), words=None if texts else ALL_WORDS, extra_ids=extra_ids)
        if model is None:
            torch.manual_seed(seed)
            model = SkipGram(SkipGramConfig(embed_dim=8), vocab_size=tokenizer.vocab_size)
        config = Word2VecConfig(**(SMALL | options))
        return Word2Vec(config, model=model, tokenizer=tokenizer, task=task, sampler=None, adapter=None, seed=seed)

    return build


def assert_same(one, other):
    """Equal to the bit, all the way down."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_metrics(build):
    trainer = build(lr=0.2, min_lr=0.1)
    rows = list(trainer.train())
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert set(rows[0]) == {"step", "loss", "lr", "pairs", "num_tokens", "epoch"}
    assert [row["pairs"] for row in rows] == [50 * i for i in range(1, 21)]
    assert 2.9 * math.log(2) < rows[0]["loss"] < 3 * math.log(2)  # a few negatives equal the true context
    assert [row["lr"] for row in rows] == pytest.approx([0.2 - 0.1 * i / 20 for i in range(20)])
    tokens = [row["num_tokens"] for row in rows]
    assert tokens == sorted(tokens)
    assert rows[-1]["epoch"] == tokens[-1] / 480
    assert list(trainer.train()) == []


def test_a_run_goes_on_with_the_next_epoch(build):
    rows = list(build(batch_size=400).train())
    assert rows[-1]["epoch"] > 3
    assert all(math.isfinite(row["loss"]) for row in rows)


def test_step_equals_one_written_out(build):
    """Loss and update of the first step, from the pairs and negatives that an equal trainer draws."""
    trainer, twin = build(lr=0.3), build(lr=0.3)
    torch.nn.init.normal_(trainer.model.output.weight, generator=torch.Generator().manual_seed(3))
    v, u = (t.weight.detach().double().requires_grad_() for t in (trainer.model.input, trainer.model.output))
    centres, positives = twin.pairs.take(50)
    negatives = twin.noise.draw((50, 2), twin.generator)
    assert bool((negatives == positives[:, None]).any()), "the case of a negative that is the true context is missing"
    scores = v @ u.T
    rows = centres[:, None]
    weights = (negatives != positives[:, None]).double()
    chosen = scores[rows, torch.cat((positives[:, None], negatives), dim=1)]
    loss = negative_sampling_loss(chosen, weights).mean()
    loss.backward()

    metrics = next(trainer.train())
    assert metrics["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
    for before, after in ((v, trainer.model.input.weight), (u, trainer.model.output.weight)):
        size = before.grad.square().mean(dim=1, keepdim=True).sqrt()  # (V, 1)
        update = torch.where(size > 0, before.grad / size.clamp_min(1e-30), 0)
        torch.testing.assert_close(after.detach().double(), before.detach() - 0.3 * update, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("parts", [2, 3, 50])
def test_accumulation_does_not_change_the_gradient(build, parts):
    whole, split = build(), build(grad_accum_steps=parts)
    for trainer in (whole, split):
        torch.nn.init.normal_(trainer.model.output.weight, generator=torch.Generator().manual_seed(3))
    losses = [next(trainer.train())["loss"] for trainer in (whole, split)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for a, b in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad.to_dense(), b.grad.to_dense(), atol=1e-7, rtol=1e-5)
        torch.testing.assert_close(a, b)


class DroppingSkipGram(SkipGram):
    """A model that draws from torch's global generator in each step."""

    def pair_scores(self, centres, contexts):
        return torch.nn.functional.dropout(super().pair_scores(centres, contexts), 0.1, self.training)


@pytest.mark.parametrize("k", [1, 7, 13, 19])
def test_resume_is_bit_equal(build, k):
    def fresh() -> Word2Vec:
        torch.manual_seed(0)
        model = DroppingSkipGram(SkipGramConfig(embed_dim=8), vocab_size=200)
        return build(model=model, grad_accum_steps=2, batch_size=90, subsample=0.01)

    straight = fresh()
    expected = list(straight.train())
    final = straight.state_dict()
    assert expected[-1]["epoch"] > 1

    first = fresh()
    begun = list(islice(first.train(), k))
    state = first.state_dict()
    list(first.train())  # going on must not change what was saved

    second = fresh()
    for parameter in second.model.parameters():
        torch.nn.init.normal_(parameter)
    torch.manual_seed(999)
    second.load_state_dict(state)
    assert begun + list(second.train()) == expected
    assert_same(second.state_dict(), final)


def test_state_is_made_of_plain_values(build):
    def walk(value):
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        else:
            assert isinstance(value, (torch.Tensor, int, float, str, bool, type(None)))

    state = build().state_dict()
    walk(state)
    assert set(state["model"]) == {"input.weight", "output.weight"}


def test_state_of_another_model_is_refused(build):
    state = build(extra_ids=3).state_dict()
    with pytest.raises(ValueError, match=r"saved parameters are input.weight \(203, 8\).*the model has .*\(200, 8\)"):
        build().load_state_dict(state)


def test_seed_decides_the_run(build):
    one, same, other = (list(build(seed=seed).train()) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_global_random_state_decides_nothing(build):
    one, other = build(), build()
    torch.manual_seed(12345)
    rows = list(one.train())
    torch.manual_seed(54321)
    assert rows == list(other.train())


def test_frozen_parameters_stay_frozen(build):
    trainer = build()
    torch.nn.init.normal_(trainer.model.output.weight)
    trainer.model.input.weight.requires_grad_(False)
    trainer = build(model=trainer.model)
    before = trainer.model.input.weight.clone(), trainer.model.output.weight.detach().clone()
    list(trainer.train())
    assert torch.equal(trainer.model.input.weight, before[0])
    assert not torch.equal(trainer.model.output.weight, before[1])
    assert set(trainer.state_dict()["model"]) == {"output.weight"}
    trainer.model.output.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter is frozen"):
        build(model=trainer.model)


def test_ids_that_never_occur_are_not_touched(build):
    trainer = build(extra_ids=4, steps=30)
    before = trainer.model.input.weight[200:].clone()
    list(trainer.train())
    assert torch.equal(trainer.model.input.weight[200:], before)
    assert not trainer.model.output.weight[200:].any()


def test_evaluation_of_an_untrained_model_is_known(build):
    metrics = build().evaluate()
    # The output table is zero: every score is 0, every comparison a tie, every sigmoid 1/2.
    assert metrics["auc"] == 0.5
    assert 2.95 * math.log(2) < metrics["loss"] <= 3 * math.log(2)
    assert metrics["pairs"] == 300
    assert 0 < metrics["coverage"] <= 1


def test_evaluation_improves_and_is_the_same_twice_and_for_all_seeds(build):
    trainer = build(steps=150, batch_size=100, lr=0.1)
    before = trainer.evaluate()
    list(trainer.train())
    after = trainer.evaluate()
    assert after == trainer.evaluate()
    assert after["loss"] < before["loss"] - 0.1
    assert after["auc"] > 0.65
    assert build(seed=8, model=trainer.model).evaluate() == after
    assert build(batch_size=7, model=trainer.model).evaluate() == pytest.approx(after)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_and_samples_change_nothing(build, training):
    trainer = build()
    next(trainer.train())
    trainer.model.train(training)
    before, position = trainer.state_dict(), trainer.pairs.state_dict()
    trainer.evaluate()
    trainer.samples(3)
    assert_same(trainer.state_dict(), before)
    assert trainer.pairs.state_dict() == position
    assert trainer.model.training is training


def test_evaluation_without_held_out_pairs_says_so(build):
    texts = (["a b c d", "b c d a"], ["a", "z z z"])
    metrics = build(texts=texts).evaluate()
    assert metrics == {"loss": None, "auc": None, "pairs": 0, "coverage": 0.25}
    assert build(texts=(texts[0], [])).evaluate()["coverage"] is None


def test_samples_show_frequent_whole_words_first(build):
    texts = (["the whale the ship the whale of", "ship of the whale the"] * 3, [])
    samples = build(texts=texts).samples(3)
    assert [sample["prompt"] for sample in samples] == ["whale", "ship", "the"]
    assert len(samples[0]["completion"].split(", ")) == 3
    assert "whale" not in samples[0]["completion"]
    assert len(build(texts=texts).samples(99)) == 4


BAD_TEXTS = {
    "no text": ([], {}, r"0 tokens with 0 distinct ids; none occurs trainer.min_count=1"),
    "empty texts": (["", "  "], {}, "0 tokens"),
    "all too rare": (["a b c d e"], {"min_count": 5}, r"5 tokens with 5 distinct ids; none occurs trainer.min_count=5"),
    "one word": (["a a a a"], {}, r"4 tokens with 1 distinct ids; 1 of them .* two are needed"),
    "one word left": (["a a a a b"], {"min_count": 2}, "two are needed"),
    "one-word sentences": (["a", "b", "c", "d"], {}, r"none of the 4 sentences .* has two tokens"),
    "more negatives than words": (
        ["a b c"],
        {"negative": 3},
        r"3 of them can be learnt.*trainer.negative=3.*2 or less",
    ),
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_texts_that_teach_nothing_are_refused_before_training(build, kind):
    texts, options, message = BAD_TEXTS[kind]
    with pytest.raises(CorpusError, match=message) as caught:
        build(texts=(texts, []), extra_ids=1, **options)
    assert caught.value.exit_code == 3


def test_a_tokenizer_that_does_not_fit_the_model_is_refused(build):
    small = SkipGram(SkipGramConfig(embed_dim=8), vocab_size=100)
    with pytest.raises(ValueError, match=r"gave id 199, but the model has rows for 0 to 99"):
        build(model=small)


def test_divergence_is_an_error_with_a_way_out(build):
    trainer = build(lr=1e30)
    with pytest.raises(
        DivergedError, match=r"step \d+: the loss is (inf|nan): try a lower trainer.lr than 1e\+30"
    ) as caught:
        list(trainer.train())
    assert caught.value.exit_code == 1
