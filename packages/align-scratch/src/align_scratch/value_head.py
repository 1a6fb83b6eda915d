"""The value function of a policy: what a completion will be worth, as seen before each of its tokens.

A linear head reads the features that the model's output head reads, never its logits, and starts at 0, so the first
advantages are those of plain rewards. The trunk below it is the policy's own, with or without gradients of the value
loss in it, or a copy of its own. Under an adapter the features are those of the adapted model.

On disk it lies beside its policy, in `trainer/` of the run: value_head.json says what it is, value_head.safetensors has
the head, and what was trained of a trunk of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from align_scratch.errors import DoesNotFit
from align_scratch.protocols import Model, Sampler
from align_scratch.saved_tensors import FOLDER, read_about, read_into, write
from align_scratch.state import load_model_state, model_places, model_state, trainable
from inference_scratch.score import Sequences, completion_log_probs

TRUNKS = ("detached", "shared", "own")
ABOUT, WEIGHTS = "value_head.json", "value_head.safetensors"


class ValueHead(nn.Module):
    """Features (..., D) -> values (...): w x + b, with w = 0 and b = 0 at first."""

    def __init__(self, like: Tensor) -> None:
        """`like` (..., D) are features: their width, their device, their type."""
        super().__init__()
        # Not nn.Linear, which would draw weights from torch's global generator only to have them replaced.
        self.weight = nn.Parameter(like.new_zeros(like.shape[-1]))
        self.bias = nn.Parameter(like.new_zeros(()))

    def forward(self, features: Tensor, /) -> Tensor:
        values: Tensor = features @ self.weight + self.bias
        return values


class Read:
    """Rows that a model has read: everything about them that follows comes from this one pass."""

    def __init__(self, model: Model, rows: Sequences, *, to_the_end: bool = False) -> None:
        """Differentiable, in the mode that the model is in. `to_the_end` reads each row's last id too."""
        self.model, self.rows = model, rows
        ends = rows.prompt_lengths + rows.completion_lengths - (0 if to_the_end else 1)  # (N,)
        shortest, longest = torch.stack((ends.min(), ends.max())).tolist()
        self.hidden = model.features(rows.ids[:, :longest], lengths=ends if shortest < longest else None)  # (N, T, D)

    # What scoring asks a model for.

    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        return self.hidden[:, : ids.shape[1]]  # (N, T, D)

    def head(self, features: Tensor, /) -> Tensor:
        return self.model.head(features)

    def log_probs(self, sampler: Sampler | None, *, with_entropy: bool = False) -> tuple[Tensor, Tensor | None]:
        """log pi of each completion token, and the entropies of the whole distributions if asked: (N, T_new), 0 at
        padding, with the full vocabulary for a chunk of positions at a time."""
        reader: Any = self
        chunk = max(1024, 2**24 // self.model.vocab_size)
        return completion_log_probs(reader, self.rows, sampler=sampler, with_entropy=with_entropy, chunk_tokens=chunk)

    def before_tokens(self) -> Tensor:
        """The features (M, D) from which each real completion token is predicted, row after row."""
        row, column = self.rows.mask.nonzero(as_tuple=True)  # (M,)
        return self.hidden[row, self.rows.prompt_lengths[row] + column - 1]

    def after_tokens(self) -> Tensor:
        """The features (N, D) of each row's last real id; needs `to_the_end`."""
        ends = self.rows.prompt_lengths + self.rows.completion_lengths - 1  # (N,)
        return self.hidden[torch.arange(len(ends), device=ends.device), ends]


class ValueFunction:
    """V of a policy `model`, by `trunk`: "detached", "shared" or "own"."""

    def __init__(self, model: Model, trunk: str) -> None:
        if trunk not in TRUNKS:
            raise ValueError(f"value_trunk: got {trunk!r}, must be one of {', '.join(TRUNKS)}")
        self.model, self.trunk, self.detached = model, trunk, trunk == "detached"
        self.own: Any = copy.deepcopy(model) if trunk == "own" else None
        self.head = ValueHead(_some_features(model))

    def parameters(self) -> dict[str, nn.Parameter]:
        """What training changes beyond the policy's own parameters, by name."""
        named = {f"value_head.{name}": parameter for name, parameter in self.head.named_parameters()}
        if self.own is not None:
            named |= {f"value_trunk.{name}": parameter for name, parameter in trainable(self.own).items()}
        return named

    def train(self, mode: bool) -> None:
        """The mode of its own trunk; the policy's is the trainer's business."""
        if self.own is not None:
            self.own.train(mode)

    def __call__(self, read: Read) -> Tensor:
        """Values (N, T_new) before each completion token of the rows that the policy has read; 0 at padding."""
        read = self._read(read)
        features = read.before_tokens()  # (M, D)
        values: Tensor = self.head(features.detach() if self.detached else features).float()  # (M,)
        mask = read.rows.mask  # (N, T_new)
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    def after(self, read: Read) -> Tensor:
        """Values (N,) behind each row's last id, for rows that were read to the end."""
        values: Tensor = self.head(self._read(read).after_tokens()).float()
        return values

    def _read(self, read: Read) -> Read:
        return read if self.own is None else Read(self.own, read.rows, to_the_end=True)

    def state_dict(self) -> dict[str, Any]:
        state = {"head": {name: p.detach().clone() for name, p in self.head.named_parameters()}}
        return state | ({} if self.own is None else {"trunk": model_state(self.own)})

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.head.load_state_dict(state["head"])
        if self.own is not None:
            load_model_state(self.own, state["trunk"])

    def save(self, directory: Path, /) -> None:
        """Write the head, and what is trained of a trunk of its own, into `directory`."""
        about = {"trunk": self.trunk, "width": len(self.head.weight)}
        write(directory / ABOUT, directory / WEIGHTS, about, self._places())

    def load(self, directory: Path, /) -> None:
        """Read what `save` wrote. Raises DataError if a file is damaged; DoesNotFit, naming `directory`, if it is of
        another width or its trunk another."""
        if not (directory / ABOUT).is_file():
            raise DoesNotFit(f"value_head: {directory} holds none; finished runs of trainer ppo do, in {FOLDER}/")
        about = read_about(directory / ABOUT, "value head")
        width, trunk = len(self.head.weight), about.get("trunk")
        if about.get("width") != width:
            raise DoesNotFit(f"value_head: {directory} reads {about.get('width')} features; here are {width}")
        if (trunk == "own") != (self.trunk == "own"):
            raise DoesNotFit(f"value_head: {directory} is of value_trunk={trunk}; set that here too")
        read_into(self._places(), directory / WEIGHTS, about)

    def _places(self) -> dict[str, Tensor]:
        """Everything that is saved, by name: the tensors themselves."""
        places: dict[str, Tensor] = {f"head.{name}": parameter for name, parameter in self.head.named_parameters()}
        if self.own is not None:
            places |= {f"trunk.{name}": tensor for name, tensor in model_places(self.own).items()}
        return places


@torch.no_grad()
def _some_features(model: Model) -> Tensor:
    """Features (1, 1, D) of one id, to know their width and where they are; leaves the model as it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    device = next(model.parameters()).device
    features = model.features(torch.zeros(1, 1, dtype=torch.int64, device=device))
    for module in training:
        module.training = True
    return features
