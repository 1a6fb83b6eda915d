"""Checks for trainers: they can be stopped at any step and go on to the bit, judging changes nothing, frozen is frozen.

Each trains the part's `smoke` options, with 20 steps, on tiny partners; a model with dropout where one fits.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratch_cli.config import field_types
from scratch_cli.testing import trainer_bench as on
from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.outcome import CheckSkipped, require
from scratch_cli.testing.saving import require_plain_files
from scratch_cli.testing.subject import Subject

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

RESUME_AFTER = (1, 7, 13, 19)


def _require_metrics(metrics: Any, where: str) -> None:
    require(isinstance(metrics, Mapping), f"{where}: metrics are {type(metrics).__name__}, must be one flat mapping")
    for key, value in metrics.items():
        require(isinstance(key, str), f"{where}: the metric {key!r} must have text as its name")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        require(value is None or number, f"{where}: {key} is {value!r}, must be a number or None")
        require(value is None or math.isfinite(value), f"{where}: {key} is {value!r}, must be finite (None if unknown)")


def check_metrics(subject: Subject) -> None:
    """train() yields flat, finite metrics with `step` counted from 1, and ends after config.steps."""
    bench = on.bench(subject)
    steps: list[Any] = []
    for metrics in bench.trainer.train():
        _require_metrics(metrics, f"step {len(steps) + 1}")
        steps.append(metrics.get("step"))
        require(len(steps) <= bench.steps, f"train() goes on after config.steps = {bench.steps}")
    require(steps == list(range(1, len(steps) + 1)), f"`step` must count 1, 2, 3 ...; it was {steps}")
    require(len(steps) >= 2, f"train() ended after {len(steps)} steps; smoke options must allow 2 or more")
    require(not list(bench.trainer.train()), "train() called again after the end takes more steps")


def check_weights_change(subject: Subject) -> None:
    """Training changes the weights, and keeps them finite."""
    bench = on.bench(subject)
    before = on.snapshot(bench)["model.state_dict()"]
    for _ in bench.trainer.train():
        pass
    after = bench.model.state_dict()
    require(on.difference(before, after) is not None, "no weight has changed after training")
    for name, tensor in after.items():
        require(not tensor.is_floating_point() or bool(tensor.isfinite().all()), f"{name} is not finite after training")


def check_repeatable(subject: Subject) -> None:
    """Two runs from the same seeds give the same metrics and the same weights, to the bit."""
    runs = []
    for _ in range(2):
        bench = on.bench(subject)
        runs.append(([on.repeatable(m) for m in bench.trainer.train()], on.snapshot(bench)))
    for step, (a, b) in enumerate(zip(runs[0][0], runs[1][0], strict=False), start=1):
        found = on.same_metrics(a, b)
        require(found is None, f"the same seeds, step {step}: {found}")
    found = on.difference(runs[0][1], runs[1][1])
    require(found is None, f"the same seeds, at the end: {found}")


def check_resume_is_bit_equal(subject: Subject) -> None:
    """20 steps equal k steps, a checkpoint, and the rest in new objects: metrics, weights, state, random numbers."""
    _check_resume(subject, with_adapter=False, ks=RESUME_AFTER)


def check_resume_with_adapter(subject: Subject) -> None:
    """The same where the model is frozen and an adapter is trained: the state then need not hold the frozen weights."""
    if not on.has_linear_layers(subject):
        raise CheckSkipped("its models have no linear layers for an adapter")
    _check_resume(subject, with_adapter=True, ks=(7,))


def _check_resume(subject: Subject, *, with_adapter: bool, ks: tuple[int, ...]) -> None:
    straight = on.bench(subject, with_adapter=with_adapter)
    metrics, states = [], {}
    for step, m in enumerate(straight.trainer.train(), start=1):
        metrics.append(on.repeatable(m))
        if step in ks:
            states[step] = on.through_storage(straight.trainer.state_dict())
    end = on.snapshot(straight)
    usable = {k: state for k, state in states.items() if k < len(metrics)}
    require(usable, f"train() ended after {len(metrics)} steps, too early to resume; smoke options must allow more")
    untouched = on.bench(subject, with_adapter=with_adapter)
    for step, m in enumerate(untouched.trainer.train(), start=1):
        found = on.same_metrics(m, metrics[step - 1])
        require(found is None, f"calling state_dict() changes the run: at step {step} {found}")
    for k, state in usable.items():
        # Everything that is not in the state starts from somewhere else.
        resumed = on.bench(subject, model_seed=99, with_adapter=with_adapter, like=straight.model)
        torch.manual_seed(99)
        resumed.trainer.load_state_dict(state)
        followed = list(resumed.trainer.train())
        expected = len(metrics) - k
        require(len(followed) == expected, f"resumed after {k}: takes {len(followed)} steps more, not {expected}")
        for step, m in enumerate(followed, start=k + 1):
            found = on.same_metrics(m, metrics[step - 1])
            require(found is None, f"resumed after {k}: at step {step} {found} (resumed, straight)")
        found = on.difference(on.snapshot(resumed), end)
        require(found is None, f"resumed after {k}: at the end {found} (resumed, straight)")


def check_state_is_not_shared(subject: Subject) -> None:
    """Training after load_state_dict leaves the given state as it was."""
    bench = on.bench(subject)
    steps = bench.trainer.train()
    next(steps)
    state = on.through_storage(bench.trainer.state_dict())
    kept = on.through_storage(state)
    other = on.bench(subject)
    other.trainer.load_state_dict(state)
    for _ in zip(range(3), other.trainer.train(), strict=False):
        pass
    found = on.difference(state, kept)
    require(found is None, f"training changes the state that was loaded: {found}")


def check_evaluate_changes_nothing(subject: Subject) -> None:
    """evaluate() gives finite numbers, the same twice, and leaves weights, modes and all random states as they were."""
    bench = on.bench(subject)
    steps = bench.trainer.train()
    for when in ("before training", "after a step", "after two steps"):
        for mode in (True, False):
            bench.model.train(mode)
            before = on.snapshot(bench)
            metrics = bench.trainer.evaluate()
            found = on.difference(before, on.snapshot(bench))
            require(found is None, f"evaluate() {when} changes {found} (before, after)")
            _require_metrics(metrics, "evaluate()")
            found = on.same_metrics(metrics, bench.trainer.evaluate())
            require(found is None, f"evaluate() {when} gives other numbers the second time: {found}")
        next(steps, None)
    if "checker" in subject.part.needs.get("task", ()):
        for name in ("greedy", "sampled"):
            value = metrics.get(name)
            require(value is not None and 0 <= value <= 1, f"evaluate(): {name} is {value!r}, must be in 0 .. 1")
    else:
        require(metrics, "evaluate() gives no numbers")


def check_judging_between_steps(subject: Subject) -> None:
    """A run in which evaluate() and samples() are called between steps is the run without them, to the bit."""
    runs = []
    for judged in (False, True):
        bench = on.bench(subject)
        metrics = []
        for m in bench.trainer.train():
            metrics.append(on.repeatable(m))
            if judged and len(metrics) in (1, 4):
                bench.trainer.evaluate()
                if hasattr(bench.trainer, "samples"):
                    bench.trainer.samples(2)
            if len(metrics) == 6:
                break
        runs.append((metrics, on.snapshot(bench)))
    for step, (a, b) in enumerate(zip(runs[0][0], runs[1][0], strict=True), start=1):
        found = on.same_metrics(a, b)
        require(found is None, f"evaluate() between steps changes the run: at step {step} {found} (without, with)")
    found = on.difference(runs[0][1], runs[1][1])
    require(found is None, f"evaluate() between steps changes the run: {found} (without, with)")


def check_frozen_parameters_stay_frozen(subject: Subject) -> None:
    """Parameters with requires_grad=False keep their bits and their flag; others change. So also below an adapter."""
    ways = [{"frozen": True}]
    if on.has_linear_layers(subject):
        ways.append({"with_adapter": True})
    for way in ways:
        bench = on.bench(subject, **way)
        start = {name: p.detach().clone() for name, p in bench.model.named_parameters()}
        for _ in zip(range(6), bench.trainer.train(), strict=False):
            pass
        moved = set()
        for name, parameter in bench.model.named_parameters():
            same = on.difference(parameter.detach(), start[name]) is None
            moved |= set() if same else {name}
            require(same or name not in bench.frozen, f"{way}: the frozen parameter {name} has changed")
            require(
                parameter.requires_grad == (name not in bench.frozen), f"{way}: requires_grad of {name} has changed"
            )
        require(moved, f"{way}: no trainable parameter has changed in 6 steps")


def check_gradients_do_not_depend_on_the_split(subject: Subject) -> None:
    """A step in one part and a step in two (`grad_accum_steps`) have the same metrics, but for rounding."""
    if "grad_accum_steps" not in field_types(subject.part.load_config()):
        raise CheckSkipped("the trainer has no option grad_accum_steps")
    whole, halves = (next(on.bench(subject, dropout=False, grad_accum_steps=parts).trainer.train()) for parts in (1, 2))
    for name, value in on.repeatable(whole).items():
        other = halves.get(name)
        if value is None or other is None:
            require(value is other, f"{name} is {value} for one part and {other} for two")
        else:
            same = math.isclose(value, other, rel_tol=1e-3, abs_tol=1e-5)
            require(same, f"{name} is {value} for one part and {other} for two: divide sums by what is known before")


def check_samples(subject: Subject) -> None:
    """samples(n), if there is one, gives up to n mappings with prompt and completion, and changes nothing."""
    bench = on.bench(subject)
    if not hasattr(bench.trainer, "samples"):
        raise CheckSkipped("the trainer shows no samples")
    next(bench.trainer.train())
    before = on.snapshot(bench)
    shown = bench.trainer.samples(2)
    found = on.difference(before, on.snapshot(bench))
    require(found is None, f"samples() changes {found}")
    require(len(shown) <= 2, f"samples(2) gives {len(shown)}")
    for sample in shown:
        _require_json(sample, "samples()")
        for key in ("prompt", "completion"):
            require(isinstance(sample.get(key), str), f"samples(): {key} is {sample.get(key)!r}, must be text")


def check_rollouts(subject: Subject) -> None:
    """last_rollouts(), if there is one, gives JSON-able mappings of the last step."""
    bench = on.bench(subject)
    if not hasattr(bench.trainer, "last_rollouts"):
        raise CheckSkipped("the trainer records no rollouts")
    next(bench.trainer.train())
    rollouts = bench.trainer.last_rollouts()
    require(len(rollouts) > 0, "last_rollouts() is empty after a step")
    for rollout in rollouts:
        _require_json(rollout, "last_rollouts()")


def check_files(subject: Subject) -> None:
    """save(), if there is one, writes plain files; with load() a new trainer judges the saved model as before."""
    bench = on.bench(subject)
    if not hasattr(bench.trainer, "save"):
        raise CheckSkipped("the trainer saves no files")
    for _ in zip(range(3), bench.trainer.train(), strict=False):
        pass
    metrics = bench.trainer.evaluate()
    before = on.snapshot(bench)
    with tempfile.TemporaryDirectory() as name:
        bench.trainer.save(Path(name))
        found = on.difference(before, on.snapshot(bench))
        require(found is None, f"save() changes {found}")
        require_plain_files(Path(name))
        other = on.bench(subject, weights=bench.model.state_dict())
        other.trainer.load(Path(name))
    found = on.same_metrics(metrics, other.trainer.evaluate())
    require(found is None, f"after load(), evaluate() of the saved model differs: {found} (saved, loaded)")


def _require_json(value: Any, where: str) -> None:
    require(isinstance(value, Mapping), f"{where} has {type(value).__name__}, must hold mappings")
    try:
        json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        require(False, f"{where} has what is not JSON: {error}")


CHECKS = (
    check_metrics,
    check_weights_change,
    check_repeatable,
    check_resume_is_bit_equal,
    check_resume_with_adapter,
    check_state_is_not_shared,
    check_evaluate_changes_nothing,
    check_judging_between_steps,
    check_frozen_parameters_stay_frozen,
    check_gradients_do_not_depend_on_the_split,
    check_samples,
    check_rollouts,
    check_files,
)
