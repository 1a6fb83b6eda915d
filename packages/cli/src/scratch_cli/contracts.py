"""The contracts between the host and the parts, as structural types.

A part is an instance of a class that nobody has to inherit from: it fits when it has these methods and they
behave as the docstrings say. Static checkers read this file; at run time nothing here is used for validation,
because `isinstance` against a Protocol proves only that names exist. Behaviour is proven by the contract kit
(`scratch_cli.testing`).

Packages never import this module: each states the narrower shape that it needs in its own `protocols.py`.

Shapes: B rows (sequences), T positions, V vocabulary size, D width of the features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Metrics = Mapping[str, float | int | None]
"""One flat mapping a step. Keys under `time/` are wall-clock seconds and are left out of every equality check."""


# --- tokenizer -----------------------------------------------------------------------------------------------------


class StreamDecoder(Protocol):
    """Turns ids into text as they come; the concatenation of all pieces equals `decode` of the whole."""

    def push(self, ids: Iterable[int], /) -> str: ...
    def flush(self) -> str: ...


class Tokenizer(Protocol):
    """Text <-> ids. Built by `Cls.train(texts, config)` or `Cls.load(directory)`; immutable afterwards."""

    @property
    def vocab_size(self) -> int:
        """Every id that `encode` returns, and every special id, is below it."""
        ...

    @property
    def pad_id(self) -> int | None: ...
    @property
    def bos_id(self) -> int | None: ...
    @property
    def eos_id(self) -> int | None: ...
    @property
    def unk_id(self) -> int | None: ...

    @classmethod
    def train(cls, texts: Iterable[str], config: Any, /) -> Self: ...
    @classmethod
    def load(cls, directory: Path, /) -> Self: ...
    def save(self, directory: Path, /) -> None: ...
    def encode(self, text: str, /) -> list[int]:
        """Ids of `text`, which is plain text: what looks like a special token in it is text. Adds no BOS or EOS."""
        ...

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]: ...
    def decode(self, ids: Iterable[int], /, *, skip_special: bool = True) -> str: ...
    def decode_batch(self, rows: Iterable[Iterable[int]], /, *, skip_special: bool = True) -> list[str]: ...
    def stream_decoder(self) -> StreamDecoder: ...


# --- model ---------------------------------------------------------------------------------------------------------


class Cache(Protocol):
    """What a model remembers of a prefix. Only its model reads the content."""

    @property
    def lengths(self) -> Tensor:
        """How many real positions each row holds: (B,), int64."""
        ...

    def select(self, rows: Tensor, /) -> Cache:
        """A new cache of `rows` (N,): to drop finished rows, or to repeat a prompt for a group of samples."""
        ...

    def truncate(self, lengths: Tensor, /) -> None:
        """Forget what lies beyond `lengths` (B,), in place."""
        ...


class Model(Protocol):
    """An `nn.Module`, built by `Cls(config, vocab_size=V)` or `Cls.load(directory)`.

    Rows are padded on the right and `lengths` (B,) says how many ids of each row are real (all, if None): a row in a
    batch then gives the same logits as the row alone. What stands at padded positions of an output is unspecified.
    Without a cache, row positions start at 0. With one, the ids continue each row at its own `cache.lengths`, and the
    call adds `lengths` to them.
    """

    vocab_size: int
    max_length: int | None
    """Longest sequence, prompt and completion together; None if there is no limit."""

    def __call__(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        """Ids (B, T), int64 -> logits (B, T, V). Always logits."""
        ...

    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        """Ids (B, T) -> what the output head reads: (B, T, D). `head(features(ids))` equals `model(ids)`."""
        ...

    def head(self, features: Tensor, /) -> Tensor:
        """Features (..., D) -> logits (..., V)."""
        ...

    def new_cache(self, batch_size: int, max_length: int, /) -> Any:
        """An empty `Cache` for `batch_size` rows of up to `max_length` positions."""
        ...

    def save(self, directory: Path, /) -> None: ...
    @classmethod
    def load(cls, directory: Path, /) -> Self: ...


class SharesPrompts(Model, Protocol):
    """Optional for a model: to compute a prompt once for all rows that continue it, with gradients."""

    def features_after(
        self, prompts: Tensor, ids: Tensor, prompt_of: Tensor, /, *, prompt_lengths: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Prompts (P, S) and continuations (N, T) -> what the head reads in both: (P, S, D) and (N, T, D).

        Row n of `ids` stands behind the `prompt_lengths` (P,) real ids of prompt `prompt_of[n]`; `lengths` (N,) of its
        ids are real. Equal to `features` of the joined rows. None: not as the model is now set up.
        """
        ...


class WordVectors(Model, Protocol):
    """A model with capability `word-vectors`: its logits score the words that may stand near a word."""

    def pair_scores(self, centres: Tensor, contexts: Tensor, /) -> Tensor:
        """Centre ids (B,) and context ids (B, K) -> scores (B, K), differentiable."""
        ...

    def get_all_embeddings(self) -> Tensor:
        """The vectors of all words: (V, D), detached."""
        ...


# --- sampler -------------------------------------------------------------------------------------------------------


class Sampler(Protocol):
    """A rule that turns logits into a choice. Built by `Cls(config)`; holds no state."""

    def log_probs(self, logits: Tensor, /) -> Tensor:
        """Log-probabilities (..., V) of the distribution that `sample` draws from; -inf for masked ids.

        Differentiable. Logits (..., V).
        """
        ...

    def sample(self, logits: Tensor, /, generator: torch.Generator) -> Tensor:
        """Logits (B, V) -> drawn ids (B,), int64. The draw depends on nothing but logits and generator."""
        ...


# --- adapter -------------------------------------------------------------------------------------------------------


class Adapter(Protocol):
    """A small trainable change to the linear layers of any module. Built by `Cls(config)` or `Cls.load(directory)`."""

    def wrap(self, model: torch.nn.Module, /) -> None:
        """Freeze `model` and attach to its linear layers, in place. Does not change what the model computes, unless
        the adapter was loaded, in which case it then computes what the saved one computed. Once per adapter."""
        ...

    def trainable_parameters(self) -> Mapping[str, torch.nn.Parameter]: ...
    def merge(self) -> None:
        """Fold the change into the base weights. Calling it twice changes nothing more."""
        ...

    def unmerge(self) -> None:
        """Give every base weight back bit for bit."""
        ...

    def disabled(self) -> AbstractContextManager[None]:
        """Inside the block the model computes what the base model computes."""
        ...

    def save(self, directory: Path, /) -> None:
        """Save the adapter alone, not the base model."""
        ...

    @classmethod
    def load(cls, directory: Path, /) -> Self: ...


# --- task ----------------------------------------------------------------------------------------------------------


class Example(Protocol):
    """One problem. `demonstration` is the completion to imitate; in some tasks it is deliberately not `answer`."""

    @property
    def prompt(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def demonstration(self) -> str: ...


class Score(Protocol):
    """What a checker says of one completion. `reward` is the weighted sum of `parts`."""

    @property
    def reward(self) -> float: ...
    @property
    def correct(self) -> bool: ...
    @property
    def parts(self) -> Mapping[str, float]: ...
    @property
    def explanation(self) -> str:
        """Why the completion is wrong, for a person or a model to read; empty if it is correct."""
        ...


class CountsFailures(Protocol):
    """Optional for a score: what went wrong in judging the parts of its reward."""

    @property
    def counts(self) -> Mapping[str, int]:
        """`PART/errors`, `PART/timeouts`, `PART/unparsed` or another count -> how often; only what occurred."""
        ...


class TextTask(Protocol):
    """Something to learn. Built by `Cls(config)`. Splits are "train" and "held_out" and share no text.

    This much is every task, capability `text`.
    """

    def texts(self, split: str = "train", /) -> Iterable[str]: ...


class Task(TextTask, Protocol):
    """A task with capability `checker`: the splits share no prompt either."""

    def examples(self, split: str, /) -> Sequence[Example]: ...
    def check(self, example: Any, completion: str, /) -> Score:
        """Judge `completion`, which is untrusted model text: in bounded time, without executing any of it."""
        ...


class GivesFinalAnswers(Protocol):
    """Optional for a task: what a majority of completions says is then more than their exact texts."""

    def final_answer(self, completion: str, /) -> str | None:
        """The answer in `completion`, untrusted model text, written in the one way in which equal answers are equal;
        None if there is none, and then it has no vote."""
        ...


class OffersChoices(Protocol):
    """Optional for a task: problems with given answers, to be told apart by how likely a model finds each of them.
    Examples may have a `subject`, by which results are averaged too."""

    def choices(self, example: Any, /) -> Sequence[str]:
        """Completions, one of which `check` marks as correct."""
        ...


class PreferenceTask(Task, Protocol):
    """A task with capability `pairs`."""

    def pairs(self, split: str, /) -> Sequence[Any]:
        """Objects with `prompt`, `chosen` and `rejected`."""
        ...


# --- trainer -------------------------------------------------------------------------------------------------------


class Trainer(Protocol):
    """An algorithm. Built by

        Cls(config, model=..., tokenizer=..., task=..., sampler=..., adapter=..., seed=...)

    where sampler and adapter may be None, the model is already on its device and already wrapped by the adapter.
    `config.steps` is the number of steps that `train()` yields in a whole run.
    """

    def train(self) -> Iterator[Metrics]:
        """Yield metrics after each step, with `step` counted from 1. Between two yields the trainer may be saved.
        Goes on from where `load_state_dict` put it. Ends after `config.steps`, or earlier if its goal is reached."""
        ...

    def evaluate(self) -> Metrics:
        """Judge the model on held-out data. Neither weights nor any random state differ afterwards.

        Tasks with a checker: at least `greedy` and `sampled`, accuracies in 0..1. Language modelling: `loss` (nats per
        token), `perplexity`, `bits_per_byte`. Word vectors: `loss` (nats per pair), `auc` (how often a true pair
        scores above a random one). Preferences: `accuracy`, the share of pairs whose chosen side is preferred.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that training changes: parameters, optimizer, every random state including torch's global one, position.
        Nested dicts and lists of tensors and JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue as if never interrupted: on one CPU thread, the same weights and metrics to the bit."""
        ...


class RecordsRollouts(Protocol):
    """Optional for a trainer: what was sampled in the last step, one JSON-able mapping a rollout."""

    def last_rollouts(self) -> Sequence[Mapping[str, Any]]: ...


class ShowsSamples(Protocol):
    """Optional for a trainer: `n` completions of held-out prompts for a person to read.

    Mappings with `prompt` and `completion`, and `reward`, `correct`, `answer` where the task has a checker.
    Changes no random state.
    """

    def samples(self, n: int, /) -> Sequence[Mapping[str, Any]]: ...


class SavesFiles(Protocol):
    """Optional for a trainer: what it learned besides the model, such as the head of a reward model.

    The host keeps it in `trainer/` of a finished run; checkpoints hold it in `state_dict()` as ever.
    """

    def save(self, directory: Path, /) -> None:
        """Write JSON and safetensors into `directory`, at the end of a run. No pickle."""
        ...

    def load(self, directory: Path, /) -> None:
        """Read what `save` wrote, in a trainer that was built with the saved model: `evaluate()` is then as it was."""
        ...
