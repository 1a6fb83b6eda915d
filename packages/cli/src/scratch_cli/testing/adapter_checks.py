"""Checks for adapters, on a small model with linear layers. What the base model computed is never lost."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.model_checks import close, gap
from scratch_cli.testing.outcome import CheckFailed, require
from scratch_cli.testing.saving import require_plain_files
from scratch_cli.testing.subject import Subject, configured

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch = lazy("torch")

VOCAB_SIZE = 23


def base_model(subject: Subject) -> nn.Module:
    """The same model every time, in eval mode."""
    part = subject.partner("model")
    torch.manual_seed(0)
    model: nn.Module = part.load()(configured(part), vocab_size=VOCAB_SIZE)
    return model.eval()


def ids() -> Tensor:
    return torch.randint(VOCAB_SIZE, (3, 6), generator=torch.Generator().manual_seed(1))  # (B, T)


def wrapped(subject: Subject) -> tuple[Any, nn.Module]:
    torch.manual_seed(2)
    adapter, model = subject.cls()(subject.config()), base_model(subject)
    adapter.wrap(model)
    return adapter, model


def changed(subject: Subject) -> tuple[Any, nn.Module]:
    """An adapter whose trainables were moved, so that it has an effect."""
    adapter, model = wrapped(subject)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return adapter, model


def logits_of(model: nn.Module) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(ids())  # (B, T, V)
    return logits


def check_no_effect_at_start(subject: Subject) -> None:
    """Wrapping does not change what the model computes, nor its train/eval mode."""
    plain = logits_of(base_model(subject))
    _, model = wrapped(subject)
    require(not any(module.training for module in model.modules()), "wrap() turns an evaluated model to training mode")
    out = logits_of(model)
    require(close(out, plain), f"wrap() changes what the model computes: {gap(out, plain)}")


def check_only_the_adapter_is_trainable(subject: Subject) -> None:
    """After wrap() exactly the adapter's parameters require gradients, and there are some."""
    adapter, model = wrapped(subject)
    trainable = adapter.trainable_parameters()
    require(len(trainable) > 0, "trainable_parameters() is empty")
    mine = {id(p) for p in trainable.values()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            require(id(parameter) in mine, f"{name} requires gradients, but is not in trainable_parameters()")
    in_model = {id(p) for p in model.parameters()}
    for name, parameter in trainable.items():
        require(parameter.requires_grad, f"trainable_parameters(): {name} does not require gradients")
        require(id(parameter) in in_model, f"trainable_parameters(): {name} is no parameter of the model")


def check_training_reaches_it(subject: Subject) -> None:
    """Gradients reach every trainable parameter; steps change what the model computes, and no base weight."""
    adapter, model = changed(subject)
    weights = torch.randn(3, 6, VOCAB_SIZE, generator=torch.Generator().manual_seed(4))
    before = logits_of(model)
    base = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD(adapter.trainable_parameters().values(), lr=0.1)
    (model(ids()) * weights).sum().backward()
    for name, parameter in adapter.trainable_parameters().items():
        require(parameter.grad is not None and bool(parameter.grad.any()), f"no gradient reaches {name}")
    optimizer.step()
    require(not close(logits_of(model), before), "a step on the trainable parameters changes nothing")
    for name, parameter in model.named_parameters():
        require(name not in base or torch.equal(parameter, base[name]), f"a step changes the base weight {name}")


def check_merge_equals_unmerged(subject: Subject) -> None:
    """Merged, the model computes what it computed unmerged; merging twice is merging once."""
    adapter, model = changed(subject)
    plain = logits_of(base_model(subject))
    unmerged = logits_of(model)
    require(not close(unmerged, plain), "moving the trainable parameters has no effect")
    adapter.merge()
    merged = logits_of(model)
    require(close(merged, unmerged), f"merge() changes what the model computes: {gap(merged, unmerged)}")
    adapter.merge()
    again = logits_of(model)
    require(torch.equal(again, merged), f"merge() twice differs from once: {gap(again, merged)}")


def check_unmerge_is_exact(subject: Subject) -> None:
    """unmerge() gives every weight back bit for bit, however often one merges; without a merge it does nothing."""
    adapter, model = changed(subject)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = logits_of(model)
    adapter.unmerge()
    require(torch.equal(logits_of(model), before), "unmerge() without merge() changes what the model computes")
    for round_ in range(1, 4):
        adapter.merge()
        adapter.unmerge()
        now = model.state_dict()
        require(now.keys() == weights.keys(), "merge() and unmerge() change the names of the weights")
        wrong = [name for name, tensor in now.items() if not torch.equal(tensor, weights[name])]
        require(not wrong, f"after {round_} x merge and unmerge, {', '.join(wrong[:3])} are not bit-equal")
        require(torch.equal(logits_of(model), before), "after merge and unmerge the model computes something else")


def check_disabled(subject: Subject) -> None:
    """Inside disabled() the model is the base model, and afterwards it is not, also after an error in the block."""
    adapter, model = changed(subject)
    plain, with_it = logits_of(base_model(subject)), logits_of(model)
    with adapter.disabled():
        inside = logits_of(model)
    require(close(inside, plain), f"inside disabled() the model is not the base model: {gap(inside, plain)}")
    require(torch.equal(logits_of(model), with_it), "after disabled() the adapter is not back")
    try:
        with adapter.disabled():
            raise KeyError("an error inside of the block")
    except KeyError:
        pass
    require(torch.equal(logits_of(model), with_it), "after an error inside of disabled() the adapter is not back")
    trainable = all(p.requires_grad for p in adapter.trainable_parameters().values())
    require(trainable, "after disabled() the adapter's parameters are not trainable any more")


def check_save_and_load(subject: Subject) -> None:
    """A loaded adapter on the same base model computes the same; the files hold no base weight and no pickle."""
    adapter, model = changed(subject)
    wanted = logits_of(model)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "saved"
        directory.mkdir()
        adapter.save(directory)
        require_plain_files(directory)
        saved = b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())
        loaded = subject.cls().load(directory)
    for key, parameter in base_model(subject).named_parameters():
        raw = bytes(parameter.detach().contiguous().view(torch.uint8).flatten().tolist())
        require(len(raw) < 64 or raw not in saved, f"save() wrote the base weight {key}; it saves the adapter alone")
    other = base_model(subject)
    loaded.wrap(other)
    out = logits_of(other)
    require(close(out, wanted), f"the loaded adapter computes something else: {gap(out, wanted)}")
    mine, theirs = adapter.trainable_parameters(), loaded.trainable_parameters()
    require(mine.keys() == theirs.keys(), "the loaded adapter has other trainable parameters")
    for key in mine:
        require(torch.equal(mine[key], theirs[key]), f"loaded: {key} is not bit-equal")


def check_wraps_once(subject: Subject) -> None:
    """An adapter that wraps a model refuses another one, with an error."""
    adapter, _ = wrapped(subject)
    try:
        adapter.wrap(base_model(subject))
    except Exception:
        return
    raise CheckFailed("wrap() a second time must raise an error: an adapter belongs to one model")


CHECKS = (
    check_no_effect_at_start,
    check_only_the_adapter_is_trainable,
    check_training_reaches_it,
    check_merge_equals_unmerged,
    check_unmerge_is_exact,
    check_disabled,
    check_save_and_load,
    check_wraps_once,
)
