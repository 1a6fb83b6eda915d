"""A trainer on a bench: built with tiny partners, run step by step, its whole state compared.

`snapshot` is everything that could make two runs differ; `through_storage` is what a checkpoint does to a state.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scratch_cli.config import field_types
from scratch_cli.errors import ScratchError
from scratch_cli.registry import Part
from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.outcome import CheckFailed, require
from scratch_cli.testing.subject import Subject, configured

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

STEPS = 20
SEED = 3


@dataclass
class Bench:
    """A trainer and the objects it was built with."""

    trainer: Any
    model: Any
    adapter: Any
    steps: int
    frozen: frozenset[str]
    """Names of the parameters that were frozen before the trainer was built."""


def bench(
    subject: Subject,
    *,
    model_seed: int = 0,
    with_adapter: bool = False,
    frozen: bool = False,
    like: Any = None,
    weights: Any = None,
    dropout: bool = True,
    **options: Any,
) -> Bench:
    """Build the trainer with partners, from the same seeds every time.

    model_seed: of the weights' start. with_adapter: wrap the model with the stand-in adapter. frozen: freeze every
    second parameter. like: a model to take the frozen weights from, as a run takes them from its directory.
    weights: all of them, before the trainer is built. dropout: False turns it off, where the model has such an
    option. options: of the trainer, over `smoke`.
    """
    parts = {kind: subject.partner(kind) for kind in ("tokenizer", "model", "task")}
    optional = [kind for kind in ("sampler",) if kind in subject.part.needs or "causal-lm" in parts["model"].provides]
    parts |= {kind: subject.partner(kind) for kind in optional}
    task = _built(parts["task"])
    tokenizer_part = parts["tokenizer"]
    tokenizer = tokenizer_part.load().train(task.texts("train"), configured(tokenizer_part))
    torch.manual_seed(model_seed)
    off = {} if dropout or "dropout" not in field_types(parts["model"].load_config()) else {"dropout": 0.0}
    model = parts["model"].load()(configured(parts["model"], off), vocab_size=tokenizer.vocab_size)
    adapter = None
    if with_adapter:
        from scratch_cli.testing.standin_config import TinyAdapterConfig
        from scratch_cli.testing.standin_parts import TinyAdapter

        adapter = TinyAdapter(TinyAdapterConfig())
        adapter.wrap(model)
    if frozen:
        for index, parameter in enumerate(model.parameters()):
            parameter.requires_grad_(index % 2 == 1)
    if like is not None:
        theirs = dict(like.named_parameters())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not parameter.requires_grad:
                    parameter.copy_(theirs[name])
    if weights is not None:
        model.load_state_dict(weights)
    try:
        config = subject.config(**{"steps": STEPS, **options})
    except ScratchError as error:
        wanted = ", ".join(f"{name} = {value}" for name, value in {"steps": STEPS, **options}.items())
        raise CheckFailed(f"the smoke options must go with {wanted}: {error}") from error
    sampler = _built(parts["sampler"]) if "sampler" in parts else None
    still = frozenset(name for name, p in model.named_parameters() if not p.requires_grad)
    torch.manual_seed(SEED)
    trainer = subject.cls()(
        config, model=model, tokenizer=tokenizer, task=task, sampler=sampler, adapter=adapter, seed=SEED
    )
    return Bench(trainer, model, adapter, config.steps, still)


def _built(part: Part) -> Any:
    return part.load()(configured(part))


def has_linear_layers(subject: Subject) -> bool:
    return "linear-layers" in subject.partner("model").provides


def repeatable(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics without wall-clock values."""
    return {key: value for key, value in metrics.items() if not key.startswith("time/")}


def same_metrics(left: Mapping[str, Any], right: Mapping[str, Any]) -> str | None:
    """Why two mappings of metrics are not equal to the bit, or None."""
    left, right = repeatable(left), repeatable(right)
    for key in left.keys() | right.keys():
        a, b = left.get(key), right.get(key)
        both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
        if a != b and not both_nan:
            return f"{key} is {a!r} and {b!r}"
    return None


def snapshot(bench: Bench) -> dict[str, Any]:
    """State of trainer and model, requires_grad, modes, and every global random state, as independent copies."""
    numpy = sys.modules.get("numpy")
    return {
        "trainer.state_dict()": _copy(bench.trainer.state_dict()),
        "model.state_dict()": _copy(bench.model.state_dict()),
        "requires_grad": {name: p.requires_grad for name, p in bench.model.named_parameters()},
        "training mode": {name: module.training for name, module in bench.model.named_modules()},
        "torch's random state": torch.get_rng_state().clone(),
        "Python's random state": repr(random.getstate()),
        "NumPy's random state": repr(numpy.random.get_state()) if numpy is not None else "",
    }


def difference(left: Any, right: Any, where: str = "") -> str | None:
    """Where two nested states differ, in words, or None if they are equal to the bit."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        if left.dtype != right.dtype or left.shape != right.shape:
            return f"{where}: {left.dtype} {tuple(left.shape)} and {right.dtype} {tuple(right.shape)}"
        same = torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))
        return None if same else f"{where}: {int((left != right).sum())} of {left.numel()} numbers differ"
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if left.keys() != right.keys():
            return f"{where}: keys {sorted(map(str, left.keys() ^ right.keys()))} are only on one side"
        pairs = [(left[key], right[key], f"{where}[{key!r}]" if where else str(key)) for key in left]
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if len(left) != len(right):
            return f"{where}: {len(left)} and {len(right)} entries"
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(left, right, strict=True))]
    else:
        return None if type(left) is type(right) and left == right else f"{where}: {left!r:.80} and {right!r:.80}"
    return next((found for a, b, at in pairs if (found := difference(a, b, at)) is not None), None)


def through_storage(state: Any, where: str = "state_dict()") -> Any:
    """The state as a checkpoint gives it back: tensors copied, all else through JSON. CheckFailed if it cannot be."""
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, Mapping):
        for key in state:
            require(isinstance(key, str), f"{where} has the key {key!r}; only text can be a key in JSON")
        return {key: through_storage(value, f"{where}[{key!r}]") for key, value in state.items()}
    if isinstance(state, list):
        return [through_storage(value, f"{where}[{i}]") for i, value in enumerate(state)]
    require(
        state is None or isinstance(state, bool | int | float | str),
        f"{where} is {type(state).__name__} {state!r:.60}; only tensors, dicts, lists and JSON values can be stored",
    )
    try:
        return json.loads(json.dumps(state, allow_nan=False))
    except ValueError as error:
        raise CheckFailed(f"{where} is {state!r}, which is not JSON") from error


def _copy(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, Mapping):
        return {key: _copy(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_copy(value) for value in state]
    return state
