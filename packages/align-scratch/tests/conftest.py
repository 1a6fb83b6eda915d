"""A tiny recurrent model with a cache and a character tokenizer: trainers are tested without models of the family."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from align_scratch.config.tasks import SortConfig
from align_scratch.tasks.problems import Example, Score
from align_scratch.tasks.sorting import Sort
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial

sys.path.insert(0, str(Path(__file__).parent / "toys"))  # what several files of tests share


class ToyCache:
    def __init__(self, hidden: Tensor, lengths: Tensor) -> None:
        self.hidden, self.lengths = hidden, lengths

    def select(self, rows: Tensor, /) -> ToyCache:
        return ToyCache(self.hidden[rows], self.lengths[rows])


class ToyModel(nn.Module):
    """A GRU. Puts NaN wherever padding stands, so that nothing can read it unnoticed."""

    def __init__(self, vocab_size: int, n_embd: int = 24, max_length: int | None = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, max_length
        self.embed = nn.Embedding(vocab_size, n_embd)
        self.recur = nn.GRU(n_embd, n_embd, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(n_embd, vocab_size)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))  # a persistent buffer

    def new_cache(self, batch_size: int, max_length: int, /) -> ToyCache:
        return ToyCache(torch.zeros(batch_size, self.embed.embedding_dim), torch.zeros(batch_size, dtype=torch.int64))

    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        n_rows, n_new = ids.shape
        lengths = torch.full((n_rows,), n_new) if lengths is None else lengths
        start = None if cache is None else cache.hidden[None]
        hidden, _ = self.recur(self.embed(ids), start)  # (B, T, D)
        if cache is not None:
            cache.hidden = hidden[torch.arange(n_rows), lengths - 1]
            cache.lengths = cache.lengths + lengths
        real = torch.arange(n_new) < lengths[:, None]  # (B, T)
        return self.dropout(hidden).masked_fill(~real[:, :, None], torch.nan)

    def head(self, features: Tensor, /) -> Tensor:
        logits: Tensor = self.out(features)
        return logits

    def forward(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        return self.head(self.features(ids, lengths=lengths, cache=cache))


class ToyTokenizer:
    """Characters. The end mark is id 0, and so is the padding that rows are filled up with."""

    def __init__(self, characters: str = " 0123456789=+abcdefghijklmnopqrstuvwxyz", eos_id: int | None = 0) -> None:
        self.characters, self.eos_id = characters, eos_id
        self.vocab_size = 1 + len(characters)

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [[1 + self.characters.index(character) for character in text] for text in texts]

    def decode_batch(self, rows: Iterable[Iterable[int]], /) -> list[str]:
        return ["".join(self.characters[i - 1] for i in row if i > 0) for row in rows]


class ToyTask:
    """Nine prompts and one answer, `abc`; `reward` judges a completion in any way that a test needs."""

    def __init__(self, reward: Callable[[str], float]) -> None:
        self.reward = reward

    def examples(self, split: str) -> list[Example]:
        return [Example(prompt=f"{split[0]}{i} =", answer="abc", demonstration="abc") for i in range(9)]

    def check(self, example: Example, completion: str) -> Score:
        reward = self.reward(completion)
        return Score(reward=reward, correct=reward == 1.0, parts={"toy": reward}, explanation="" if reward else "no")


def make_parts(
    task: Any = None, *, seed: int = 0, dropout: float = 0.0, n_embd: int = 24, **changed: Any
) -> dict[str, Any]:
    """What a trainer is built from: sort 3 digits with a toy model, unless told otherwise."""
    tokenizer = ToyTokenizer()
    torch.manual_seed(seed)
    parts = {
        "model": ToyModel(tokenizer.vocab_size, n_embd=n_embd, dropout=dropout),
        "tokenizer": tokenizer,
        "task": Sort(SortConfig(length=3, n_train=200, n_held_out=40)) if task is None else task,
        "sampler": Multinomial(MultinomialConfig()),
        "seed": seed,
    }
    return parts | changed


def without_time(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def check_resume(build: Callable[[int], Any], k: int, steps: int) -> None:
    """`steps` straight steps equal `k`, the state carried into new objects, and the rest: metrics, weights, state."""
    straight = build(0)
    torch.manual_seed(7)
    expected, state = [], None
    for metrics in straight.train():
        expected.append(without_time(metrics))
        if len(expected) == k:
            state = copy.deepcopy(straight.state_dict())
    assert len(expected) == steps
    resumed = build(99)  # other weights, other random numbers: all must come from the state
    torch.manual_seed(123)
    resumed.load_state_dict(state)
    assert [without_time(metrics) for metrics in resumed.train()] == expected[k:]
    assert_same(resumed.state_dict(), straight.state_dict(), "state")


def assert_same(a: Any, b: Any, where: str) -> None:
    """Equal to the bit, all the way down."""
    if isinstance(a, Mapping):
        assert a.keys() == b.keys(), where
        for name in a:
            assert_same(a[name], b[name], f"{where}.{name}")
    elif isinstance(a, Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


@pytest.fixture
def parts() -> Callable[..., dict[str, Any]]:
    return make_parts


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Bit-equality is promised for one thread, and small products are quickest on one."""
    torch.set_num_threads(1)


@pytest.fixture
def toy_task() -> type[ToyTask]:
    return ToyTask


@pytest.fixture
def tokenizer() -> ToyTokenizer:
    return ToyTokenizer()


@pytest.fixture
def toy_model() -> type[ToyModel]:
    return ToyModel


@pytest.fixture
def resume() -> Callable[[Callable[[int], Any], int, int], None]:
    return check_resume


@pytest.fixture
def same() -> Callable[[Any, Any, str], None]:
    return assert_same


@pytest.fixture
def double() -> Iterator[None]:
    """One thread, and float64 for weights too: closed forms hold to 1e-12 only so."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
