"""What a saved run is used with: its tokenizer and model, and a sampler or a task that may be another than its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scratch_cli import config as configs
from scratch_cli.build import Workshop, build
from scratch_cli.errors import UsageError
from scratch_cli.pipeline import rebuild
from scratch_cli.plan import HOST_DEFAULTS
from scratch_cli.progress import say

if TYPE_CHECKING:
    from scratch_cli.plan import Chosen, Plan
    from scratch_cli.registry import Part, Registry
    from scratch_cli.saved import SavedRun


def load_parts(saved: SavedRun, device: str) -> tuple[Any, Any]:
    """Tokenizer and model, with the adapter if there is one; of an unfinished run, those of its newest checkpoint."""
    workshop = Workshop(saved.plan, saved.directory, device)
    if not saved.directory.finished:
        parts = rebuild(workshop, saved, build(saved.plan.task), warn=say)
        say(f"{saved.directory.path}: is not finished; using {parts.where}")
        return parts.tokenizer, parts.model
    tokenizer, model = saved.tokenizer(), workshop.placed(saved.base_model())
    saved.attach_adapter(model)
    return tokenizer, model


def choose_sampler(registry: Registry, plan: Plan, name: str | None, sets: Sequence[str]) -> Any:
    """The sampler that is named, with the options that are set; else the run's own, with these over its own."""
    values = _values("sampler", sets)
    part, values = _own_or_named(registry, "sampler", plan.sampler, name, HOST_DEFAULTS["sampler"], values)
    config = configs.build(part.load_config(), values, "sampler")
    return part.load()(config)


def choose_task(registry: Registry, plan: Plan, name: str | None, data: str | None, sets: Sequence[str]) -> Any:
    """The task that is named, else the run's own; on the file `data`, and with the options that are set.

    Returns the name and the task. Raises UsageError if there is none, or none that marks answers.
    """
    values = _values("task", sets)
    if name is None and plan.task is None:
        raise UsageError("the run has no task to be judged by; name one with --task")
    part, values = _own_or_named(registry, "task", plan.task, name, "", values)
    if data is not None:
        if part.data is None:
            able = sorted({p.name for p in registry.parts("task") if p.data and "checker" in p.provides})
            raise UsageError(f"--data {data}: {part.label} reads no data; tasks that do: {', '.join(able) or 'none'}")
        values[part.data] = data
    if "checker" not in part.provides:
        able = sorted({p.name for p in registry.parts("task") if "checker" in p.provides})
        raise UsageError(f"{part.label} does not mark answers; name a task that does with --task: {', '.join(able)}")
    return part.name, part.load()(configs.build(part.load_config(), values, "task"))


def _values(section: str, sets: Sequence[str]) -> dict[str, Any]:
    """What `--set` says for the only section that can be set here."""
    values: dict[str, Any] = {}
    for text in sets:
        where, field, value = configs.parse_set(text)
        if where != section:
            raise UsageError(f"--set {text!r}: only options of the {section} can be set here: {section}.FIELD=VALUE")
        values[field] = value
    return values


def _own_or_named(
    registry: Registry, kind: str, own: Chosen | None, name: str | None, default: str, values: dict[str, Any]
) -> tuple[Part, dict[str, Any]]:
    """The part, and the values over the run's own if it is the run's own part."""
    if own is not None and name in (None, own.spelled, own.part.name):
        return own.part, {**configs.to_values(own.config), **values}
    return registry.find(kind, name or default), values
