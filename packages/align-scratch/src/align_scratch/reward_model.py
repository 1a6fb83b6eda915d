"""A reward model: one number for a prompt and its completion, learned from pairs of which one was preferred.

A scalar head reads the features of a language model at the last real token (Ouyang et al. 2022, arXiv:2203.02155,
section 3.4), or the mean vector of a small bidirectional encoder. The last token is found by length and never by
looking for padding: where padding and the end mark have one id, such a search reads the token before the end.

On disk the head is a folder of its own, `trainer/` in the directory of a run, without pickle: reward_model.json says
what belongs together, head.safetensors has the numbers. A language model below the head lies in the run's `model/`.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from align_scratch.encoder import Encoder
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.protocols import Adapter, Model, Tokenizer
from align_scratch.saved_tensors import FOLDER, read_about, read_into, write
from inference_scratch.score import Sequences

ABOUT, WEIGHTS = "reward_model.json", "head.safetensors"
_ROWS = 256  # scored at a time: bounds memory, not the result
_PROBE_TEXT = "The quick brown fox: 0 1 2 3 4 5 6 7 8 9 + - = ?"


class RewardModel(nn.Module):
    """A body and a scalar head. `score` is what users of a trained one call; `forward` is what training calls."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, *, kind: str, width: int, about: Mapping[str, Any], seed: int) -> None:
        """`kind` is model or encoder, `width` D what the head reads; `about` goes into the JSON as it is."""
        super().__init__()
        self.body, self.kind, self.width, self.about = body, kind, width, dict(about)
        device = next(body.parameters()).device
        with torch.random.fork_rng(devices=[]):  # nn.Linear draws, and nobody else's numbers are to change for it
            self.head = nn.Linear(width, 1)
        # Scores near 0 with a spread near 1 at the start (Stiennon et al. 2020, arXiv:2009.01325).
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(1, width, generator=generator) / math.sqrt(width + 1))
            self.head.bias.zero_()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.to(device)

    # --- building

    @classmethod
    def on_model(cls, model: Model, tokenizer: Tokenizer, *, adapter: Adapter | None = None, seed: int = 0) -> Self:
        """A new head on a language model, which is shared and not copied; `adapter` is what it is adapted by."""
        about = {
            "vocab_size": model.vocab_size,
            "tokenizer": tokenizer_hash(tokenizer, model.vocab_size),
            "model": type(model).__name__,
            "adapter": None if adapter is None else _class(adapter),
        }
        body: Any = model
        return cls(body, kind="model", width=_feature_width(model), about=about, seed=seed)

    @classmethod
    def on_encoder(cls, shape: Mapping[str, Any], tokenizer: Tokenizer, *, seed: int = 0) -> Self:
        """A new head on a new encoder; `shape` are the arguments of `Encoder`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            body = Encoder(**shape)
        about = {
            "vocab_size": shape["vocab_size"],
            "tokenizer": tokenizer_hash(tokenizer, shape["vocab_size"]),
            "encoder": dict(shape),
        }
        return cls(body, kind="encoder", width=shape["n_embd"], about=about, seed=seed)

    @property
    def max_length(self) -> int | None:
        """Most tokens of prompt and completion together."""
        longest: int | None = self.body.max_length  # type: ignore[assignment]
        return longest

    # --- scoring

    def forward(self, rows: Sequences) -> Tensor:
        """Scores (N,) as the head gives them, before normalisation; differentiable."""
        lengths = rows.prompt_lengths + rows.completion_lengths  # (N,)
        ids = rows.ids[:, : int(lengths.max())]  # (N, T)
        if self.kind == "encoder":
            read = self.body(ids, lengths)  # (N, D)
        else:
            body: Any = self.body
            features = body.features(ids, lengths=lengths)  # (N, T, D)
            read = features[torch.arange(len(ids), device=ids.device), lengths - 1]  # (N, D)
        scores: Tensor = self.head(read.float())[:, 0]
        return scores

    @torch.no_grad()
    def raw_scores(self, rows: Sequences) -> Tensor:
        """As `forward`, without gradients and dropout, for any number of rows: (N,) fp32."""
        with evaluating(self):
            parts = torch.split(torch.arange(len(rows.ids), device=rows.ids.device), _ROWS)
            return torch.cat([self(rows.select(part)) for part in parts])

    def score(self, rows: Sequences, /) -> Tensor:
        """(raw score - mean) / std: (N,) fp32, without gradients. Raises ValueError if a score is not finite."""
        scores = (self.raw_scores(rows) - self.mean) / self.std
        if not bool(scores.isfinite().all()):
            raise ValueError("reward model: gave a score that is not finite; its weights or what it reads are damaged")
        return scores

    def normalise_on(self, rows: Sequences) -> None:
        """From now on `score` has mean 0 and standard deviation 1 on these reference samples."""
        raw = self.raw_scores(rows).cpu().double()  # (N,); not every device has fp64
        spread = raw.std(correction=0)
        self.mean.copy_(raw.mean())
        self.std.copy_(spread if spread > 1e-6 else torch.ones(()))

    # --- files

    def save(self, directory: Path, /) -> None:
        """Write the head, and the encoder if the body is one; a language model is saved by whoever owns it."""
        about = {
            "body": self.kind,
            "width": self.width,
            **self.about,
            "mean": self.mean.item(),
            "std": self.std.item(),
            "probe": self._probe(),
        }
        write(directory / ABOUT, directory / WEIGHTS, about, self._own_tensors())

    def _own_tensors(self) -> dict[str, Tensor]:
        """What is saved with the head: all but the numbers of a language model."""
        tensors: dict[str, Tensor] = {"weight": self.head.weight, "bias": self.head.bias}
        if self.kind == "encoder":
            tensors |= {f"encoder.{name}": tensor for name, tensor in self.body.state_dict().items()}
        return tensors

    def read_head(self, directory: Path, /) -> None:
        """Load what `save` wrote in `directory` into this reward model, whose body is there already.

        Raises DataError naming the file if it is damaged, DoesNotFit if it belongs to another tokenizer or body.
        """
        about = _read_about(directory / ABOUT)
        for name, what in (("vocab_size", "vocabulary"), ("tokenizer", "tokenizer")):
            _same(about, directory / ABOUT, name, what, self.about[name])
        read_into(self._own_tensors(), directory / WEIGHTS, about)
        with torch.no_grad():
            self.mean.fill_(_number(about, "mean", directory / ABOUT))
            self.std.fill_(_number(about, "std", directory / ABOUT))
        if not float(self.std) > 0:
            raise DataError(f"{directory / ABOUT}: std is {float(self.std)}, must be positive")
        probe, expected = self._probe(), _number(about, "probe", directory / ABOUT)
        if not math.isclose(probe, expected, rel_tol=1e-2, abs_tol=1e-2):
            raise DataError(
                f"{directory}: the head does not belong to this body: a known text scores {probe:.4g}, and scored "
                f"{expected:.4g} when it was saved"
            )

    @classmethod
    def load(
        cls,
        run_directory: Path | str,
        policy_model: Model,
        *,
        tokenizer: Tokenizer,
        adapter: Adapter | None = None,
    ) -> Self:
        """The reward model of a finished run of trainer `reward`, frozen, where `policy_model` is.

        A language model as body is loaded by the class of `policy_model`, and the adapter that it may have by the class
        of `adapter`. Raises DataError if a file is damaged, DoesNotFit if the run has no reward model, or one for
        another tokenizer or model class.
        """
        run = Path(run_directory)
        folder = run / FOLDER
        if not (folder / ABOUT).is_file():
            raise DoesNotFit(
                f"reward_model: {run} holds no reward model; give the directory of a finished run of trainer reward"
            )
        about = _read_about(folder / ABOUT)
        _same(about, folder / ABOUT, "vocab_size", "vocabulary", policy_model.vocab_size)  # before its ids are read
        device = next(policy_model.parameters()).device
        if about.get("body") == "encoder":
            shape = _encoder_shape(about, folder / ABOUT)
            loaded = cls.on_encoder(shape, tokenizer)
        else:
            loaded = cls.on_model(_load_body(run, about, policy_model, adapter), tokenizer, adapter=adapter)
        loaded.to(device)
        loaded.read_head(folder)
        return loaded.eval().requires_grad_(False)

    def _probe(self) -> float:
        """The raw score of a row that is the same everywhere: says whether head and body belong together."""
        n = min(int(self.about["vocab_size"]), self.max_length or 8, 8)
        device = self.head.weight.device
        rows = Sequences(
            ids=torch.arange(n, device=device)[None],
            prompt_lengths=torch.ones(1, dtype=torch.int64, device=device),
            completion_lengths=torch.full((1,), n - 1, device=device),
        )
        return float(self.raw_scores(rows)[0])


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every submodule is as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def tokenizer_hash(tokenizer: Tokenizer, vocab_size: int) -> str:
    """Says whether two tokenizers read and write alike: of the text of every id, the end mark, a sentence's ids."""
    texts = tokenizer.decode_batch([[i] for i in range(vocab_size)])
    known = [tokenizer.eos_id, texts, _probe_ids(tokenizer)]
    return sha256(json.dumps(known).encode()).hexdigest()


def _probe_ids(tokenizer: Tokenizer) -> list[int] | None:
    try:
        return tokenizer.encode_batch([_PROBE_TEXT])[0]
    except ValueError:  # a tokenizer of characters may not know them all
        return None


@torch.no_grad()
def _feature_width(model: Model) -> int:
    device = next(model.parameters()).device
    with evaluating(model):
        return int(model.features(torch.zeros(1, 1, dtype=torch.int64, device=device)).shape[-1])


def _load_body(run: Path, about: Mapping[str, Any], policy_model: Model, adapter: Adapter | None) -> Any:
    here = type(policy_model)
    if about.get("model") != here.__name__:
        raise DoesNotFit(
            f"reward_model: {run} is made of the model {about.get('model')}, and can only be read where the policy is "
            f"one too; it is {here.__name__}: train the reward model --from the policy's own start"
        )
    loader: Any = here
    adapted = (run / "adapter").is_dir()
    if adapted and (adapter is None or about.get("adapter") not in (None, _class(adapter))):
        name, here_is = _adapter_name(run), "none" if adapter is None else _class(adapter)
        raise DoesNotFit(
            f"reward_model: {run} was trained with the adapter {name or about.get('adapter')}, and can only be read in "
            f"a run with an adapter of that kind; this one has {here_is}: give it --adapter {name or 'of that kind'}, "
            "or train the reward model without one"
        )
    try:
        model = loader.load(run / "model")
        if adapted:
            attachment: Any = type(adapter)
            attachment.load(run / "adapter").wrap(model)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{run}: its model cannot be read: {type(error).__name__}: {error}") from error
    return model.to(next(policy_model.parameters()).device)


def _class(adapter: Adapter) -> str:
    return f"{type(adapter).__module__}:{type(adapter).__qualname__}"


def _adapter_name(run: Path) -> str | None:
    """What the host calls the adapter of a run; None if that is not to be found out."""
    try:
        name = tomllib.loads((run / "run.toml").read_text("utf-8"))["adapter"]["name"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _read_about(path: Path) -> dict[str, Any]:
    about = read_about(path, "reward model")
    if about.get("body") not in ("model", "encoder"):
        raise DataError(f"{path}: describes no reward model that is known here: its body is {about.get('body')!r}")
    return about


def _same(about: Mapping[str, Any], path: Path, name: str, what: str, here: object) -> None:
    if about.get(name) != here:
        raise DoesNotFit(
            f"{path}: was trained with another {what} ({str(about.get(name))[:16]}, here {str(here)[:16]}): "
            "ids would mean other texts; use the tokenizer of that run, by starting both runs --from one"
        )


def _number(about: Mapping[str, Any], name: str, path: Path) -> float:
    value = about.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(f"{path}: {name} is {value!r}, must be a finite number")
    return float(value)


_SHAPE_LIMITS = {"vocab_size": 2**22, "n_layer": 256, "n_head": 256, "n_embd": 2**16, "max_length": 2**20}


def _encoder_shape(about: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The arguments of `Encoder`, with limits, so that a damaged file cannot ask for all memory."""
    shape = about.get("encoder")
    if not isinstance(shape, dict) or shape.keys() != {*_SHAPE_LIMITS, "dropout"}:
        raise DataError(f"{path}: has no shape of an encoder")
    for name, most in _SHAPE_LIMITS.items():
        if type(shape[name]) is not int or not 1 <= shape[name] <= most:
            raise DataError(f"{path}: {name} is {shape[name]!r}, must be a whole number from 1 to {most}")
    if shape["n_embd"] % shape["n_head"] or not 0 <= _number(shape, "dropout", path) < 1:
        raise DataError(f"{path}: n_embd {shape['n_embd']} in {shape['n_head']} heads, dropout {shape['dropout']!r}")
    return shape
