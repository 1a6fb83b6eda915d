"""What each option of SFT changes, and what it must not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align_scratch.config.sft import SFTConfig
from align_scratch.curriculum import batches
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.noise import embedding_noise, find_embedding, noisy
from align_scratch.sft import SFT
from align_scratch.sft_losses import labelled_loss, row_weights, token_terms
from align_scratch.tasks.problems import Example, Score


class Echo:
    """Words of 1 to 9 letters to say again."""

    def __init__(self, n: int = 23) -> None:
        self.n = n

    def examples(self, split: str) -> list[Example]:
        words = ["abcdefghi"[: 1 + (5 * i) % 9] for i in range(self.n)]
        return [Example(f"{split[0]} {i} {word}=", word, word) for i, word in enumerate(words)]

    def check(self, example: Example, completion: str) -> Score:
        return Score(float(completion == example.answer), completion == example.answer, {}, "no")


def step_of(trainer: SFT) -> tuple[dict[str, Any], Tensor]:
    """Metrics of one step and the gradient, up to a factor."""
    metrics = dict(next(iter(trainer.train())))
    return metrics, torch.cat([m["exp_avg"].flatten() for m in trainer.state_dict()["optimizer"].values()])


# --- losses --------------------------------------------------------------------------------------------------------


def test_row_weights_by_hand() -> None:
    counts = torch.tensor([2, 6])
    assert row_weights("nll", counts).tolist() == [0.125, 0.125]
    assert row_weights("dft", counts).tolist() == [0.125, 0.125]
    assert row_weights("sequence", counts).tolist() == pytest.approx([1 / 4, 1 / 12])
    assert row_weights("sum", counts, normalize_constant=5.0).tolist() == pytest.approx([0.1, 0.1])
    with pytest.raises(ValueError, match="loss_type: got 'mse', must be nll, sequence, sum or dft"):
        row_weights("mse", counts)


def test_token_terms_are_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float32, requires_grad=True)
    targets = torch.randint(11, (7,), generator=generator)
    for smoothing in (0.0, 0.3):
        ours = token_terms(logits, targets, label_smoothing=smoothing)
        theirs = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(ours, theirs)
        a, b = (torch.autograd.grad(x.sum(), logits)[0] for x in (ours, theirs))
        torch.testing.assert_close(a, b)


def test_dft_weighs_a_token_by_its_probability_without_gradient() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]], requires_grad=True)  # probabilities 1/4, 3/4
    term = token_terms(logits, torch.tensor([0]), loss_type="dft")
    assert term.item() == pytest.approx(math.log(4) / 4)
    (gradient,) = torch.autograd.grad(term.sum(), logits)
    assert gradient.tolist()[0] == pytest.approx([-3 / 16, 3 / 16])  # a quarter of p - onehot


@pytest.mark.parametrize("options", [{}, {"loss_type": "sequence"}, {"loss_type": "sum", "normalize_constant": 9.0},
                                     {"loss_type": "dft"}, {"label_smoothing": 0.1}, {"completion_only": False},
                                     {"neftune_alpha": 5.0}])  # fmt: skip
def test_no_option_depends_on_the_split(parts: Any, options: dict[str, Any]) -> None:
    found = [
        step_of(SFT(SFTConfig(steps=1, batch_size=13, grad_accum_steps=k, **options), **parts(Echo())))
        for k in (1, 3, 13)
    ]
    for metrics, gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-4, atol=1e-7)
        assert metrics["loss"] == pytest.approx(found[0][0]["loss"], rel=1e-5)


CHANGES: list[dict[str, Any]] = [{"loss_type": name} for name in ("sequence", "sum", "dft")]
CHANGES += [{"order": name} for name in ("short_first", "long_first", "as_given")]
CHANGES += [{"label_smoothing": 0.1}, {"completion_only": False}, {"neftune_alpha": 5.0}]


@pytest.mark.parametrize("options", CHANGES)
def test_every_option_changes_the_gradient(parts: Any, options: dict[str, Any]) -> None:
    _, plain = step_of(SFT(SFTConfig(steps=1, batch_size=7, grad_clip=None), **parts(Echo())))
    _, changed = step_of(SFT(SFTConfig(steps=1, batch_size=7, grad_clip=None, **options), **parts(Echo())))
    assert (plain - changed).norm() > 1e-2 * plain.norm()


def test_the_loss_of_a_step_is_the_mean_over_its_tokens(parts: Any) -> None:
    built = parts(Echo())
    trainer = SFT(SFTConfig(steps=1, batch_size=23), **built)
    total, count = 0.0, 0
    for row in trainer.rows:
        logits = built["model"](torch.tensor([row.reads]))[0]
        labels = torch.full((len(row.reads),), -100)
        for start, stop in row.spans:
            labels[start:stop] = torch.tensor(row.predicts[start:stop])
        total += F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum").item()
        count += int((labels >= 0).sum())
    metrics, _ = step_of(trainer)
    assert metrics["loss"] == pytest.approx(total / count, rel=1e-6)
    assert count == sum(len(e.demonstration) + 1 for e in Echo().examples("train"))
    assert metrics["num_tokens"] == sum(len(e.prompt) + len(e.demonstration) + 1 for e in Echo().examples("train"))


def test_entropy_is_the_mean_over_learned_positions(parts: Any) -> None:
    built = parts(Echo())
    trainer = SFT(SFTConfig(steps=1, batch_size=23), **built)
    found = []
    for row in trainer.rows:
        p = built["model"](torch.tensor([row.reads]))[0].softmax(-1)
        entropies = -(p * p.log()).sum(-1)
        found += [entropies[t].item() for start, stop in row.spans for t in range(start, stop)]
    assert step_of(trainer)[0]["entropy"] == pytest.approx(sum(found) / len(found), rel=1e-5)


def test_chunks_change_nothing_but_memory(toy_model: Any, parts: Any) -> None:
    trainer = SFT(SFTConfig(), **parts(Echo()))
    whole = trainer._micro_batches(trainer.rows)[0]
    results = []
    for chunk in (None, 1, 10):
        trainer.model.zero_grad()
        loss, hits, spread = labelled_loss(trainer.model, whole.rows, whole.weights, chunk=chunk)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
        results.append((loss.item(), hits, spread.item(), gradient))
    for loss, hits, spread, gradient in results[1:]:
        assert (loss, spread) == pytest.approx((results[0][0], results[0][2]), rel=1e-5)
        assert hits == results[0][1]
        torch.testing.assert_close(gradient, results[0][3], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        {"loss_type": "sequence", "packing": "buckets", "order": "short_first", "neftune_alpha": 5.0},
        {"loss_type": "dft", "order": "long_first", "epochs": 5.5, "neftune_alpha": 1.0},
        {"label_smoothing": 0.1, "max_length": 14, "too_long": "cut", "max_new_tokens": 4},
    ],
)
@pytest.mark.parametrize("k", [1, 7, 13])
def test_resume_is_bit_equal(parts: Any, resume: Any, options: dict[str, Any], k: int) -> None:
    config = SFTConfig(steps=20, batch_size=6, grad_accum_steps=2, warmup_steps=2, **options)
    resume(lambda seed: SFT(config, **parts(Echo(), seed=seed, dropout=0.2) | {"seed": 5}), k, 20)


# --- order and length of a run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["random", "short_first", "long_first", "as_given"])
def test_every_order_shows_each_row_once_an_epoch(order: str) -> None:
    lengths = [5, 1, 4, 1, 3, 2, 9]
    found = batches(order, lengths, 3, seed=1)
    rows = [row for batch in range(7) for row in found[batch]]  # 21 places: 3 epochs
    epochs = [rows[i : i + 7] for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert [found[batch] for batch in range(7)] == [batches(order, lengths, 3, seed=1)[batch] for batch in range(7)]
    seen = [[lengths[row] for row in epoch] for epoch in epochs]
    if order == "short_first":
        assert all(epoch == sorted(epoch) for epoch in seen)
        many = batches(order, [1] * 50, 50, seed=1)
        assert many[0] != many[1]  # ties are shuffled, anew each epoch
    if order == "long_first":
        assert all(epoch == sorted(epoch, reverse=True) for epoch in seen)
    if order == "as_given":
        assert epochs[0] == list(range(7))


def test_an_unknown_order() -> None:
    with pytest.raises(ValueError, match="order: got 'alphabetic', must be one of random, short_first"):
        batches("alphabetic", [1], 1, 0)


@pytest.mark.parametrize(("epochs", "steps", "seen"), [(1.0, 99, 23), (2.0, 99, 46), (0.5, 99, 12), (3.0, 2, 10)])
def test_epochs(parts: Any, epochs: float, steps: int, seen: int) -> None:
    """Nothing is dropped, nothing is seen twice in an epoch, and the rate has decayed at the end."""
    config = SFTConfig(steps=steps, epochs=epochs, batch_size=5, lr=1e-2, min_lr_ratio=0.1, warmup_steps=0)
    trainer = SFT(config, **parts(Echo()))
    sizes = [len(trainer._batch(step)) for step in range(trainer.steps)]
    assert sum(sizes) == seen
    if seen == 23:
        rows = [id(row) for step in range(trainer.steps) for row in trainer._batch(step)]
        assert len(set(rows)) == 23
    found = list(trainer.train())
    assert len(found) == math.ceil(seen / 5)
    assert found[-1]["lr"] == pytest.approx(1e-3)


# --- NEFTune -------------------------------------------------------------------------------------------------------


def test_noise_is_as_large_as_the_paper_says_and_nowhere_else() -> None:
    lengths = torch.tensor([4, 9])
    noise = embedding_noise(lengths, 9, 16, 5.0, torch.Generator().manual_seed(0))
    assert noise.shape == (2, 9, 16)
    assert not noise[0, 4:].any()
    for row, length in enumerate(lengths.tolist()):
        bound = 5.0 / math.sqrt(length * 16)
        real = noise[row, :length]
        assert real.abs().max() <= bound
        assert real.abs().max() > 0.9 * bound
        assert real.norm().item() == pytest.approx(5.0 / math.sqrt(3), rel=0.15)  # E |u|^2 = 1/3


def test_noise_never_reaches_evaluation_or_sampling(parts: Any) -> None:
    plain, noisy_one = (
        SFT(SFTConfig(steps=2, batch_size=8, neftune_alpha=alpha), **parts(Echo())) for alpha in (None, 50.0)
    )
    assert plain.evaluate() == noisy_one.evaluate()
    assert plain.samples(3) == noisy_one.samples(3)
    next(iter(noisy_one.train()))
    module = noisy_one.embedding
    assert module is not None
    assert not module._forward_hooks
    assert noisy_one.evaluate() == noisy_one.evaluate()


def test_no_hook_stays_behind_after_a_failure() -> None:
    table = nn.Embedding(3, 2)
    with pytest.raises(KeyError), noisy(table, torch.zeros(1)):
        raise KeyError
    assert not table._forward_hooks


def test_the_embedding_is_found_by_what_it_does(toy_model: Any) -> None:
    model = toy_model(40)
    model.train()
    before = torch.get_rng_state()
    assert find_embedding(model) is model.embed
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    tied = toy_model(24)
    tied.out.weight = tied.embed.weight  # a head of the same shape is no embedding
    assert find_embedding(tied) is tied.embed


def test_models_without_an_embedding_module_are_refused() -> None:
    class OneHot(nn.Module):
        vocab_size, max_length = 5, None

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(5, 4))

        def features(self, ids: Tensor, /, *, lengths: Any = None, cache: Any = None) -> Tensor:
            return self.table[ids]

    with pytest.raises(DoesNotFit, match="neftune_alpha: the model has 0 modules that look ids up in a table of 5"):
        find_embedding(OneHot())  # type: ignore[arg-type]


# --- what does not fit ---------------------------------------------------------------------------------------------


def test_rows_that_are_too_long(parts: Any) -> None:
    with pytest.raises(DoesNotFit, match=r"training example 2, 't 1 abcdef=', has 18 tokens, but a row has 14 at most"):
        SFT(SFTConfig(max_length=14, max_new_tokens=2), **parts(Echo()))
    skip = SFT(SFTConfig(steps=1, max_length=14, too_long="skip", max_new_tokens=4), **parts(Echo()))
    expected = [e for e in Echo().examples("train") if len(e.prompt) + len(e.demonstration) + 1 <= 14]
    assert len(skip.rows) == len(expected) < 23
    metrics, _ = step_of(skip)
    assert metrics["skipped"] == 23 - len(expected)
    judged = skip.evaluate()
    assert judged["problems"] + judged["left_out"] == 23
    assert judged["problems"] == sum(len(e.prompt) + 4 <= 14 for e in Echo().examples("held_out"))
    cut = SFT(SFTConfig(steps=1, max_length=14, too_long="cut", max_new_tokens=4), **parts(Echo()))
    assert len(skip.rows) < len(cut.rows) <= 23
    assert max(row.length for row in cut.rows) == 14
    assert math.isfinite(step_of(cut)[0]["loss"])


def test_held_out_prompts_that_are_too_long_are_found_before_training(parts: Any, toy_model: Any) -> None:
    task = Echo(5)
    task.examples = lambda split: [Example("a" * (9 if split == "train" else 19), "b", "b")]  # type: ignore[method-assign]
    with pytest.raises(DoesNotFit, match=r"the longest held-out prompt has 19 and a completion up to 2: enlarge"):
        SFT(SFTConfig(), **parts(task, model=toy_model(40, max_length=20)))


def test_nothing_left_to_learn_is_an_error_and_never_a_loss_of_zero(parts: Any) -> None:
    for too_long in ("skip", "cut"):
        with pytest.raises(DoesNotFit, match="none of 23 training examples has anything to learn within 4 tokens"):
            SFT(SFTConfig(max_length=4, too_long=too_long), **parts(Echo()))
    with pytest.raises(DoesNotFit, match=r"none of 23 train prompts leaves room for a completion to judge: only 0 tok"):
        SFT(SFTConfig(max_length=14, too_long="skip", max_new_tokens=14), **parts(Echo()))


def test_an_empty_demonstration_is_an_error(parts: Any) -> None:
    task = Echo()
    task.examples = lambda split: [Example("a =", "b", "")]  # type: ignore[method-assign]
    with pytest.raises(DataError, match="training example 1, 'a =', has no demonstration to imitate"):
        SFT(SFTConfig(), **parts(task))


def test_a_step_teaches_something(parts: Any) -> None:
    """Exact match, F1 and greedy accuracy of a task whose gold is its answer agree, and rise."""
    built = parts(Echo(9), n_embd=48)
    trainer = SFT(SFTConfig(steps=60, batch_size=9, lr=2e-2, order="short_first"), **built)
    before = trainer.evaluate()
    for _ in trainer.train():
        pass
    after = trainer.evaluate()
    assert before["greedy"] == before["exact_match"] == 0
    assert after["exact_match"] == after["greedy"] > 0.3
    assert after["token_f1"] >= after["exact_match"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss_type": "mse"}, "loss_type: got 'mse', must be one of nll, sequence, sum, dft"),
        ({"label_smoothing": 1.0}, "label_smoothing: got 1.0, must be at least 0 and below 1"),
        ({"label_smoothing": 0.1, "loss_type": "dft"}, "label_smoothing: got 0.1, must be 0 with loss_type dft"),
        ({"normalize_constant": 2.0}, "normalize_constant: got 2.0, must be 1.0 unless loss_type is sum"),
        ({"normalize_constant": 0.0, "loss_type": "sum"}, "normalize_constant: got 0.0, must be positive"),
        ({"assistant_only": True, "completion_only": False}, "assistant_only: got True, must be false where"),
        ({"neftune_alpha": -1.0}, "neftune_alpha: got -1.0, must be positive"),
        ({"neftune_alpha": 1.0, "packing": "shared_rows"}, "neftune_alpha: got 1.0, must be none with packing"),
        ({"order": "best"}, "order: got 'best', must be one of random, short_first, long_first, as_given"),
        ({"packing": "tight"}, "packing: got 'tight', must be one of none, buckets, shared_rows"),
        ({"too_long": "no"}, "too_long: got 'no', must be one of error, skip, cut"),
        ({"max_length": 1}, "max_length: got 1, must be at least 2"),
        ({"epochs": 0.0}, "epochs: got 0.0, must be positive"),
        ({"max_new_tokens": 0}, "max_new_tokens: got 0, must be at least 1"),
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SFTConfig(**wrong)
