"""Pretraining: exact resume, gradients that no split changes, learning, and clear failures."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from gpt_scratch.bigram import Bigram
from gpt_scratch.config import BigramConfig, GPTConfig, PretrainConfig
from gpt_scratch.errors import CorpusError, NonFiniteError, StateError
from gpt_scratch.model import GPT
from gpt_scratch.optimizer import decay_groups
from gpt_scratch.pretrain import Pretrain

TEXT = "it was the best of times, it was the worst of times, it was the age of wisdom. " * 6


class Letters:
    """A stand-in tokenizer: one id a byte, and EOS."""

    vocab_size, eos_id = 257, 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(i for i in ids if i < 256).decode(errors="replace")


class Book:
    def __init__(
        self, train: Iterable[str] = (TEXT,), held_out: Iterable[str] = ("it was the epoch of belief",)
    ) -> None:
        self.split = {"train": train, "held_out": held_out}

    def texts(self, split: str = "train") -> Iterable[str]:
        return self.split[split]


CONFIG = PretrainConfig(steps=20, batch_size=5, grad_accum_steps=2, context=12, lr=1e-2, eval_tokens=20)


def build(
    config: PretrainConfig = CONFIG, *, dropout: float = 0.1, seed: int = 0, task: Book | None = None, **shape: Any
) -> Pretrain:
    torch.manual_seed(seed)
    model = GPT(
        GPTConfig(**{"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "dropout": dropout} | shape),
        vocab_size=257,
    )
    return Pretrain(config, model=model, tokenizer=Letters(), task=task or Book(), seed=seed)


def take(trainer: Pretrain, steps: int) -> list[dict[str, float]]:
    metrics = []
    for row in trainer.train():
        metrics.append({key: value for key, value in row.items() if not key.startswith("time/")})
        if len(metrics) == steps:
            break
    return metrics


def assert_equal_trees(a: Any, b: Any, path: str = "state") -> None:
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal_trees(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


@pytest.mark.parametrize("k", [1, 7, 13, 19])
def test_resuming_is_exact(k: int) -> None:
    """20 straight steps equal k steps, and 20 - k more in another trainer around another model."""
    straight = build()
    expected = take(straight, 20)
    first = build()
    head = take(first, k)
    state = copy.deepcopy(first.state_dict())
    take(first, 20)  # going on does not reach into the state
    torch.manual_seed(999)
    second = build(seed=0)
    with torch.no_grad():
        for parameter in second.model.parameters():
            parameter.normal_()
    torch.manual_seed(31337)
    second.load_state_dict(state)
    second.evaluate()
    second.samples(2)
    assert head + take(second, 20) == expected
    assert_equal_trees(second.state_dict(), straight.state_dict())
    assert second.evaluate() == straight.evaluate()
    assert second.samples(2) == straight.samples(2)


def test_state_is_made_of_what_files_can_hold() -> None:
    trainer = build()
    take(trainer, 2)

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            for inner in value.values():
                visit(inner)
        else:
            assert isinstance(value, torch.Tensor | int | float | str)

    state = trainer.state_dict()
    visit(state)
    assert "lm_head.weight" not in state["model"]  # tied: listed once
    assert state["optimizer"].keys() == state["model"].keys()


def gradients(split: int, batch_size: int = 8) -> dict[str, torch.Tensor]:
    config = PretrainConfig(
        steps=1, batch_size=batch_size, grad_accum_steps=split, context=12, grad_clip=0.0, eval_tokens=20
    )
    trainer = build(config, dropout=0.0)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.mul_(3)
    take(trainer, 1)
    return {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("split", [2, 3, 8])
def test_micro_batches_do_not_change_gradients(split: int) -> None:
    whole = gradients(1)
    assert max(float(g.abs().max()) for g in whole.values()) > 1e-2
    for name, gradient in gradients(split).items():
        torch.testing.assert_close(gradient, whole[name], atol=1e-6, rtol=1e-5)


def test_metrics_mean_what_they_say() -> None:
    trainer = build(dropout=0.0)
    starts = trainer.windows.starts(0, 5)
    inputs, targets = trainer.windows.batch(starts)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(trainer.model(inputs).flatten(0, 1), targets.flatten())
    metrics = take(trainer, 20)
    assert metrics[0]["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert [row["step"] for row in metrics] == list(range(1, 21))
    assert [row["num_tokens"] for row in metrics] == [60 * step for step in range(1, 21)]
    assert metrics[-1]["epoch"] == pytest.approx(100 / (len(TEXT) // 12), abs=0.1)
    assert [row["lr"] for row in metrics] == [trainer.learning_rate(step) for step in range(20)]
    assert all(math.isfinite(value) for row in metrics for value in row.values())
    assert next(trainer.train(), None) is None  # the run is over


def test_decay_of_matrices_only_and_tied_ones_once() -> None:
    trainer = build()
    groups = decay_groups(trainer.parameters, 0.25)
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]
    names = {id(p): name for name, p in trainer.model.named_parameters(remove_duplicate=False)}
    listed = [names[id(p)] for group in groups for p in group["params"]]
    assert len(listed) == len(set(listed)) == len(list(trainer.model.parameters()))
    assert all(p.dim() == 2 for p in groups[0]["params"])
    assert all(p.dim() == 1 for p in groups[1]["params"])


def test_optimizer_is_adamw_with_clipping() -> None:
    """One step by hand, from the gradient: decay, clip, and a first Adam step of size lr."""
    config = PretrainConfig(
        steps=1, batch_size=2, context=12, lr=0.01, warmup_ratio=0.0, grad_clip=0.5, weight_decay=0.3, eval_tokens=20
    )
    trainer = build(config, dropout=0.0)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    (row,) = take(trainer, 1)
    assert row["grad_norm"] > 0.5
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in trainer.model.parameters()))
    assert norm == pytest.approx(0.5, rel=1e-4)
    for name, p in trainer.model.named_parameters():
        decayed = before[name] * (1 - 0.01 * (0.3 if p.dim() == 2 else 0.0))
        torch.testing.assert_close(p.detach(), decayed - 0.01 * p.grad / (p.grad.abs() + 1e-8), atol=1e-6, rtol=1e-5)


def test_frozen_parameters_stay_frozen() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=16), vocab_size=257)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("attn" in name)
    before = copy.deepcopy(model.state_dict())
    trainer = Pretrain(CONFIG, model=model, tokenizer=Letters(), task=Book())
    take(trainer, 3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == ("attn" not in name), name
    assert all("attn" in name for name in trainer.state_dict()["model"])
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        Pretrain(CONFIG, model=model, tokenizer=Letters(), task=Book())


@pytest.mark.parametrize("kind", ["gpt", "bigram"])
def test_learns_what_can_be_learned(kind: str) -> None:
    """In aabbaabb... one letter leaves two choices, two letters leave none: ln 2 for a bigram model, and for a decoder
    ln 2 on the first target of a window only."""
    torch.manual_seed(0)
    config = PretrainConfig(steps=300, batch_size=8, context=16, lr=1e-2, weight_decay=0.0, eval_tokens=200)
    text = "aabb" * 100
    model: Any
    if kind == "gpt":
        model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=16), vocab_size=257)
    else:
        model = Bigram(BigramConfig(), vocab_size=257)
        config = dataclasses.replace(config, lr=0.1)
    trainer = Pretrain(config, model=model, tokenizer=Letters(), task=Book([text], [text]))
    assert trainer.evaluate()["loss"] > 4
    losses = [row["loss"] for row in trainer.train()]
    reached = sum(losses[-10:]) / 10
    if kind == "bigram":
        assert reached == pytest.approx(math.log(2), abs=0.03)
    else:
        assert math.log(2) / 16 - 0.02 < reached < math.log(2) / 4
    assert trainer.evaluate()["loss"] == pytest.approx(reached, abs=0.03)


def test_overfits_one_batch() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=32), vocab_size=50)
    ids = torch.randint(50, (8, 33))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05


def test_context_is_capped_by_the_model() -> None:
    assert build(PretrainConfig(eval_tokens=20)).context == 16
    assert build(PretrainConfig(context=3, eval_tokens=20)).context == 3
    unlimited = Bigram(BigramConfig(), vocab_size=257)
    assert Pretrain(PretrainConfig(eval_tokens=20), model=unlimited, tokenizer=Letters(), task=Book()).context == 128


def test_too_little_text_is_a_data_error() -> None:
    with pytest.raises(CorpusError, match="the training text has 6 tokens, but one window needs 13"):
        build(task=Book(train=["short"]))
    with pytest.raises(CorpusError, match="held-out text"):
        build(task=Book(held_out=[]))


def test_a_tokenizer_that_is_too_large_for_the_model_is_refused() -> None:
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=4), vocab_size=100)
    with pytest.raises(ValueError, match="257 ids, but the model only 100"):
        Pretrain(CONFIG, model=model, tokenizer=Letters(), task=Book())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_step(value: float) -> None:
    trainer = build()
    take(trainer, 2)
    with torch.no_grad():
        trainer.model.h[0].mlp.c_fc.bias[0] = value
    before = copy.deepcopy(trainer.model.state_dict())
    with pytest.raises(NonFiniteError, match=r"step 3: loss nan.* the step was not taken") as caught:
        take(trainer, 1)
    assert caught.value.exit_code == 1
    assert caught.value.step == 3
    assert caught.value.window_starts == trainer.windows.starts(10, 5)
    assert trainer.step == 2
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[name]) or name == "h.0.mlp.c_fc.bias"


def test_a_state_of_something_else_is_refused_and_changes_nothing() -> None:
    trainer = build()
    take(trainer, 1)
    state = trainer.state_dict()
    wider = build(n_embd=18)
    with pytest.raises(StateError, match=r"wte.weight: saved \(257, 16\), this model has \(257, 18\)"):
        wider.load_state_dict(state)
    with pytest.raises(StateError, match="in only one of"):
        build(n_layer=3).load_state_dict(state)
    with pytest.raises(StateError, match="training text"):
        build(task=Book(train=[TEXT + "!"])).load_state_dict(state)
    other = build(seed=5)
    before = copy.deepcopy(other.state_dict())
    broken = copy.deepcopy(state)
    broken["optimizer"]["wpe.weight"]["exp_avg"] = torch.zeros(1, 1)
    with pytest.raises(StateError, match=r"wpe\.weight\.exp_avg"):
        other.load_state_dict(broken)
    broken["optimizer"] = {"nobody": {}}
    with pytest.raises(StateError, match="nobody"):
        other.load_state_dict(broken)
    assert_equal_trees(other.state_dict(), before)
