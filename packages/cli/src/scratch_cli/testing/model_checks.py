"""Checks for models: what they compute, and that they can be saved and trained. The cache has a file of its own.

All but saving, building and gradients are for capability `causal-lm`. B rows, T positions, V vocabulary size.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.outcome import require
from scratch_cli.testing.saving import require_plain_files
from scratch_cli.testing.subject import Subject

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch")

VOCAB_SIZE = 29
RTOL, ATOL = 1e-4, 1e-5


def built(subject: Subject, *, seed: int = 0, vocab_size: int = VOCAB_SIZE) -> Any:
    """A model with every parameter moved off its start, so that nothing is zero by construction; in eval mode."""
    torch.manual_seed(seed)
    model = subject.cls()(subject.config(), vocab_size=vocab_size)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def random_ids(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB_SIZE, (rows, columns), generator=torch.Generator().manual_seed(seed))  # (B, T)


def room(model: Any, wanted: int = 12) -> int:
    """A length that the model can take: `wanted`, or its limit."""
    return wanted if model.max_length is None else min(wanted, int(model.max_length))


def close(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, rtol=RTOL, atol=ATOL)


def gap(left: Tensor, right: Tensor) -> str:
    """How far apart, for a message."""
    if left.shape != right.shape:
        return f"shapes {tuple(left.shape)} and {tuple(right.shape)}"
    return f"largest difference {float((left - right).abs().max()):.3g}" if left.numel() else "both empty"


def check_is_a_module(subject: Subject) -> None:
    """The model is a torch module with parameters, `vocab_size` and `max_length`."""
    model = built(subject)
    require(isinstance(model, torch.nn.Module), f"{type(model).__name__} must be a torch.nn.Module")
    require(sum(p.numel() for p in model.parameters()) > 0, "the model has no parameters")
    require(model.vocab_size == VOCAB_SIZE, f"vocab_size is {model.vocab_size!r}, was built with {VOCAB_SIZE}")
    limit = model.max_length
    require(limit is None or (type(limit) is int and limit > 1), f"max_length is {limit!r}, must be None or an int > 1")


def check_building_is_deterministic(subject: Subject) -> None:
    """Two models built under one seed of torch are equal; under another seed they differ."""
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(subject.cls()(subject.config(), vocab_size=VOCAB_SIZE).state_dict())
    first, same, other = states
    require(first.keys() == same.keys(), "two models have differently named weights")
    for name in first:
        require(torch.equal(first[name], same[name]), f"{name} differs between two models of one seed")
    differs = any(not torch.equal(first[name], other[name]) for name in first)
    floating = any(tensor.is_floating_point() and tensor.any() for tensor in first.values())
    require(differs or not floating, "another seed gives the same weights")


def check_linear_layers(subject: Subject) -> None:
    """A model that provides `linear-layers` has torch.nn.Linear modules for an adapter to wrap."""
    found = any(isinstance(module, torch.nn.Linear) for module in built(subject).modules())
    require(found, "provides 'linear-layers', but has no torch.nn.Linear")


def check_shapes(subject: Subject) -> None:
    """Ids (B, T) give logits (B, T, V), of floating point and finite, for any B and T; head(features) is forward."""
    model = built(subject)
    longest = room(model)
    with torch.no_grad():
        for rows, columns in ((1, 1), (3, 1), (1, longest), (2, longest), (5, 2)):
            ids = random_ids(rows, columns)
            logits, features = model(ids), model.features(ids)
            require(
                tuple(logits.shape) == (rows, columns, VOCAB_SIZE),
                f"ids {(rows, columns)} give logits {tuple(logits.shape)}, must be {(rows, columns, VOCAB_SIZE)}",
            )
            require(logits.is_floating_point(), f"logits are {logits.dtype}, must be of floating point")
            require(bool(logits.isfinite().all()), "logits are not finite")
            require(
                features.dim() == 3 and tuple(features.shape[:2]) == (rows, columns),
                f"ids {(rows, columns)} give features {tuple(features.shape)}",
            )
            through = model.head(features)
            require(close(through, logits), f"head(features(ids)) is not model(ids): {gap(through, logits)}")
            one = model.head(features[:, -1])
            require(
                close(one, logits[:, -1]), "head must take features of any leading shape: (B, D) gives other logits"
            )


def check_logits_depend_on_ids(subject: Subject) -> None:
    """Other ids at a position give other logits there."""
    model = built(subject)
    with torch.no_grad():
        logits = model(torch.arange(VOCAB_SIZE)[:, None])  # (V, 1, V)
    require(len(torch.unique(logits, dim=0)) > 1, "logits are the same whatever the id is")


def check_causality(subject: Subject) -> None:
    """Changing the ids from position t on leaves all logits before t as they were."""
    model = built(subject)
    length = room(model)
    ids, other = random_ids(2, length, 1), random_ids(2, length, 2)
    with torch.no_grad():
        logits = model(ids)
        for t in range(1, length):
            changed = torch.cat([ids[:, :t], other[:, t:]], dim=1)
            after = model(changed)[:, :t]
            require(close(after, logits[:, :t]), f"logits before position {t} see it: {gap(after, logits[:, :t])}")


def check_row_alone(subject: Subject) -> None:
    """A row in a padded batch gives the logits of the row alone, whatever the padding is."""
    model = built(subject)
    longest = room(model)
    lengths = torch.tensor([longest, 1, max(1, longest // 2), max(1, longest - 1)])
    ids = random_ids(4, longest, 3)
    with torch.no_grad():
        for padding in (0, VOCAB_SIZE - 1):
            padded = ids.clone()
            for row, n in enumerate(lengths.tolist()):
                padded[row, n:] = padding
            together = model(padded, lengths=lengths)
            for row, n in enumerate(lengths.tolist()):
                alone = model(ids[row : row + 1, :n])[0]
                seen = together[row, :n]
                require(close(seen, alone), f"row of {n} in a batch of {longest} differs: {gap(seen, alone)}")


def check_eval_is_repeatable(subject: Subject) -> None:
    """In eval mode the same ids give the same logits, and neither weights nor random states change."""
    model = built(subject)
    ids = random_ids(2, room(model), 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        require(torch.equal(model(ids), model(ids)), "two calls in eval mode give different logits")
    require(torch.equal(state, torch.get_rng_state()), "a call in eval mode draws from torch's generator")
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    require(not changed, f"a call in eval mode changes {', '.join(changed)}")


def check_save_and_load(subject: Subject) -> None:
    """A loaded model has the saved weights bit for bit, and computes the same; its files are no pickles."""
    model = built(subject)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "saved"
        directory.mkdir()
        model.save(directory)
        require_plain_files(directory)
        loaded = subject.cls().load(directory)
    loaded.eval()
    require(loaded.vocab_size == model.vocab_size, "loaded: vocab_size differs")
    require(loaded.max_length == model.max_length, "loaded: max_length differs")
    saved, back = model.state_dict(), loaded.state_dict()
    require(saved.keys() == back.keys(), f"loaded: weights {sorted(saved.keys() ^ back.keys())} differ in name")
    for key in saved:
        require(torch.equal(saved[key], back[key]), f"loaded: {key} differs: {gap(saved[key], back[key])}")
    if "causal-lm" in subject.part.provides:
        ids = random_ids(2, room(model), 5)
        with torch.no_grad():
            require(torch.equal(loaded(ids), model(ids)), "loaded: logits differ though all weights are equal")


def check_gradients(subject: Subject) -> None:
    """A loss over varied ids gives every trainable parameter a finite gradient that is not zero."""
    model = built(subject)
    weights = torch.Generator().manual_seed(6)
    if "causal-lm" in subject.part.provides:
        length = room(model, 1 << 10) if model.max_length is not None else 16
        out = model(random_ids(8, length, 6))
    elif "word-vectors" in subject.part.provides:
        out = model.pair_scores(random_ids(64, 1, 6)[:, 0], random_ids(64, 3, 7))
    else:
        out = model(random_ids(8, room(model), 6))
    (out * torch.randn(out.shape, generator=weights)).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            require(gradient is not None, f"{name}: no gradient reaches it")
            assert gradient is not None  # for the type checker
            dense = gradient.to_dense()
            require(bool(dense.isfinite().all()), f"{name}: its gradient is not finite")
            require(bool(dense.any()), f"{name}: its gradient is zero everywhere")


CHECKS = (check_is_a_module, check_building_is_deterministic, check_save_and_load, check_gradients)
CAUSAL_CHECKS = (
    check_shapes,
    check_logits_depend_on_ids,
    check_causality,
    check_row_alone,
    check_eval_is_repeatable,
)
LINEAR_CHECKS = (check_linear_layers,)
