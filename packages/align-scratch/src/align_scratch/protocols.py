"""The shapes of what trainers here are given: model, tokenizer, task, sampler, adapter. Nothing is inherited.

Shapes: B rows, T positions, V vocabulary size, D width of the features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn

from inference_scratch.score import Sequences


class Model(Protocol):
    """An `nn.Module` for next-token prediction. Rows are padded on the right; `lengths` (B,) says what is real."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def max_length(self) -> int | None: ...
    @property
    def training(self) -> bool: ...
    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        """Ids (B, T) -> (B, T, D)."""
        ...

    def head(self, features: Tensor, /) -> Tensor:
        """Features (..., D) -> logits (..., V)."""
        ...

    def new_cache(self, batch_size: int, max_length: int, /) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self, *, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Parameter]]: ...
    def state_dict(self) -> Mapping[str, Tensor]: ...


class Tokenizer(Protocol):
    @property
    def eos_id(self) -> int | None: ...
    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]: ...
    def decode_batch(self, rows: Iterable[Iterable[int]], /) -> list[str]: ...


class Sampler(Protocol):
    def log_probs(self, logits: Tensor, /) -> Tensor:
        """Logits (..., V) -> log-probabilities (..., V) of the distribution that is drawn from."""
        ...


class Adapter(Protocol):
    def disabled(self) -> AbstractContextManager[None]:
        """Inside the block the model computes what the base model computes."""
        ...


class Example(Protocol):
    @property
    def prompt(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def demonstration(self) -> str: ...


class Score(Protocol):
    @property
    def reward(self) -> float: ...
    @property
    def correct(self) -> bool: ...
    @property
    def parts(self) -> Mapping[str, float]: ...
    @property
    def explanation(self) -> str: ...

    # A score may also have `counts`, a mapping of `PART/errors`, `PART/timeouts`, ... to how often.


class Task(Protocol):
    def examples(self, split: str, /) -> Sequence[Any]:
        """Each an Example; splits are "train" and "held_out"."""
        ...

    def check(self, example: Any, completion: str, /) -> Score: ...


class Pair(Protocol):
    """Two completions of one prompt. It may have `margin` too, a float: by how much the chosen is better."""

    @property
    def prompt(self) -> str: ...
    @property
    def chosen(self) -> str: ...
    @property
    def rejected(self) -> str: ...


class PairTask(Protocol):
    def pairs(self, split: str, /) -> Sequence[Pair]:
        """Splits are "train" and "held_out"."""
        ...


class Scorer(Protocol):
    """Something that values whole sequences, such as a trained reward model; higher is better."""

    def score(self, rows: Sequences, /) -> Tensor:
        """Rows of prompt and completion, with the end mark where the completion ended -> (N,) fp32, without gradients.

        Neither the padding nor the other rows of the batch change a row's score.
        """
        ...
