"""From names and values to a plan: which parts, with which configs, checked before anything is built.

A part is named by a flag, else by the TOML file or `--set kind.name=...`, else by the `defaults` that the chosen parts
were registered with (the trainer's first), else by the host's own defaults. `none` names no part. A value comes from
the config's default, overridden by the file, by `--set`, and by flags such as `--steps`.

`Plan.to_toml()` writes all of it out; reading that file again gives an equal plan. Two more tables may stand in such
a file, `[versions]` and `[hashes]`: they record what a run was made with and are ignored here. Any other unknown table
is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from scratch_cli import config as configs
from scratch_cli.errors import UsageError
from scratch_cli.fit import misfit
from scratch_cli.registry import KINDS, Part, Registry, nearest

HOST_DEFAULTS: Mapping[str, str] = {
    "trainer": "grpo",
    "tokenizer": "bpe",
    "model": "gpt",
    "sampler": "multinomial",
}
REQUIRED = ("tokenizer", "model", "trainer")
RECORDS = ("versions", "hashes")
"""Tables of a run's TOML file that record what it was made with and change nothing."""
SECTIONS = ("run", *KINDS, "warm_start")
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How the host drives a run. The number of steps belongs to the trainer."""

    seed: int = field(default=1, metadata={"help": "seed of all random choices"})
    device: Literal["auto", "cpu", "cuda", "mps"] = field(
        default="auto", metadata={"help": "where to compute; auto takes the GPU if there is one"}
    )
    threads: int = field(
        default=0,
        metadata={
            "help": "CPU threads; 0 means 1 below 2 M parameters (faster, repeatable), else OMP_NUM_THREADS, else all"
        },
    )
    eval_every: int = field(default=20, metadata={"help": "steps between evaluations on held-out data; 0 means never"})
    save_every: int = field(default=50, metadata={"help": "steps between checkpoints; 0 means only at the end"})
    log_every: int = field(default=1, metadata={"help": "steps between lines of metrics.jsonl"})
    keep: int = field(default=2, metadata={"help": "how many of the newest checkpoints to keep"})
    runs: str = field(default="runs", metadata={"help": "directory in which run directories are made (see also --out)"})
    start_from: str | None = field(
        default=None, metadata={"help": "directory of the run whose tokenizer and model this one starts from (--from)"}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: got {self.seed}, must be in 0 .. 2**63 - 1: torch takes no other")
        if not 0 <= self.threads <= 4096:
            raise ValueError(f"threads: got {self.threads}, must be in 0 .. 4096: 0 chooses by the model's size")
        for name in ("eval_every", "save_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, must be 0 or more: it counts steps, 0 is never")
        if self.log_every < 1:
            raise ValueError(f"log_every: got {self.log_every}, must be 1 or more: it counts steps")
        if self.keep < 1:
            raise ValueError(f"keep: got {self.keep}, must be 1 or more: without a checkpoint nothing can be resumed")
        if not self.runs:
            raise ValueError("runs: got '', must name a directory: '.' is the current one")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A part and the config it will be built with. Building is `chosen.part.load()` and up to the caller."""

    part: Part
    config: Any
    spelled: str
    """The name as the user or a default gave it: `gpt`, or `gpt@distribution`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a run is made of, resolved and checked."""

    run: RunConfig
    tokenizer: Chosen
    model: Chosen
    trainer: Chosen
    sampler: Chosen | None = None
    adapter: Chosen | None = None
    task: Chosen | None = None
    warm_start: Chosen | None = None
    """The trainer that runs first on an untrained model."""

    def chosen(self) -> dict[str, Chosen | None]:
        """By section: the six kinds, and `warm_start`."""
        return {section: getattr(self, section) for section in SECTIONS if section != "run"}

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """Section -> resolved values, with `name` first; a section without a part has the name `none`."""
        mapping: dict[str, dict[str, Any]] = {"run": configs.to_values(self.run)}
        for section, chosen in self.chosen().items():
            if chosen is None:
                mapping[section] = {"name": NONE}
            else:
                mapping[section] = {"name": chosen.spelled, **configs.to_values(chosen.config)}
        return mapping

    def to_toml(self) -> str:
        """The plan as TOML text. `make_plan(registry, names={}, toml=file with it)` gives an equal plan."""
        import tomli_w

        return tomli_w.dumps(self.to_mapping())


def make_plan(
    registry: Registry,
    *,
    names: Mapping[str, str | None],
    toml: Path | Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    data: str | None = None,
    base: Mapping[str, Any] | None = None,
) -> Plan:
    """Resolve every name, check that the parts fit together, and build every config. Builds no part.

    names: kind -> name given by a flag (None: not given; `none`: no such part).
    toml: a file with sections `run`, the kinds, and `warm_start`; or what such a file holds.
    sets: texts `kind.field=value`.
    steps, seed, device, data: values of the flags of these names; `steps` is the trainer's, `data` is the field that
        the task was registered with.
    base: the mapping (`Plan.to_mapping`, or a run's TOML file as read) of the run whose model this one starts from:
        its tokenizer and model are taken as they are, and there is no warm start unless one is asked for by name.

    Raises UsageError for whatever the user can repair, PluginError for a part whose package is broken.
    """
    return _Planner(registry, names, toml, sets, steps, seed, device, data, base).plan()


class _Planner:
    """One use: collects the layers in `__init__`, then resolves them in `plan`, a stage at a time."""

    def __init__(
        self,
        registry: Registry,
        names: Mapping[str, str | None],
        toml: Path | Mapping[str, Any] | None,
        sets: Sequence[str],
        steps: int | None,
        seed: int | None,
        device: str | None,
        data: str | None,
        base: Mapping[str, Any] | None,
    ) -> None:
        self.registry = registry
        self.data = data
        self.base = base
        self.file: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self.sets: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self.flags: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        if toml is not None:
            tables, where = (toml, "") if isinstance(toml, Mapping) else (configs.read_toml(toml), f"{toml}: ")
            for section, values in tables.items():
                if section not in RECORDS:
                    self.file[_section(section, where)] = dict(values)
        for text in sets:
            section, dotted, value = configs.parse_set(text)
            section = _section(section, f"--set {text!r}: ")
            for key in reversed(dotted.split(".")):
                value = {key: value}
            self.sets[section] = configs.merged(self.sets[section], value)
        for kind, name in names.items():
            if kind not in SECTIONS or kind == "run":
                raise UsageError(f"there is no kind {kind!r}{nearest(kind, KINDS)}; kinds are {', '.join(KINDS)}")
            if name is not None:
                self.flags[kind]["name"] = name
        for section, key, flag in (("trainer", "steps", steps), ("run", "seed", seed), ("run", "device", device)):
            if flag is not None:
                self.flags[section][key] = flag

    def plan(self) -> Plan:
        run = configs.build(RunConfig, self.values("run"), "run")
        parts, spelled = self.choose()
        reason = misfit(parts, self.registry)
        if reason:
            raise UsageError(reason)
        warm, warm_spelled, warm_options = self.choose_warm_start(parts)
        chosen: dict[str, Chosen | None] = {}
        for kind in KINDS:
            chosen[kind] = self.configure(kind, parts[kind], spelled[kind], {})
        chosen["warm_start"] = self.configure("warm_start", warm, warm_spelled, warm_options)
        required = {kind: part for kind in REQUIRED if (part := chosen[kind]) is not None}  # `choose` has seen to it
        return Plan(
            run=run,
            **required,
            sampler=chosen["sampler"],
            adapter=chosen["adapter"],
            task=chosen["task"],
            warm_start=chosen["warm_start"],
        )

    # --- names

    def explicit(self, section: str) -> str | None:
        """The name that the user gave in a flag, `--set` or the file, if any."""
        flag, text = self.flags[section].get("name"), self.sets[section].get("name")
        if flag is not None and text is not None and flag != text:
            raise UsageError(f"--{section} {flag} and --set {section}.name={text} contradict each other; keep one")
        for name in (flag, text, self.file[section].get("name")):
            if name is not None:
                if not isinstance(name, str) or not name:
                    raise UsageError(f"{section}.name: got {name!r}, must be the name of a {section}")
                return name
        return None

    def choose(self) -> tuple[dict[str, Part | None], dict[str, str]]:
        """Part and spelled name for each kind."""
        names = {kind: self.explicit(kind) for kind in KINDS}
        if self.base is not None:
            for kind in ("tokenizer", "model"):
                fixed = self.base[kind]["name"]
                if names[kind] not in (None, fixed):
                    raise UsageError(
                        f"{kind}: got {names[kind]!r}, but the run to start from has {fixed!r}; leave the name out"
                    )
                names[kind] = fixed
        parts: dict[str, Part | None] = {}
        spelled: dict[str, str] = {}
        for kind, name in names.items():
            if name == NONE:
                if kind in REQUIRED:
                    raise UsageError(f"{kind}.name: got 'none', but no run goes without a {kind}")
                parts[kind], spelled[kind] = None, NONE
            elif name is not None:
                parts[kind], spelled[kind] = self.registry.find(kind, name), name
        if self.data is not None and "task" not in parts:
            task = self.task_for_data(parts.get("trainer"))
            parts["task"], spelled["task"] = task, task.name
        for kind in ("trainer", "task", "model", "tokenizer", "sampler", "adapter"):
            if kind not in parts:
                parts[kind], spelled[kind] = self.default(kind, parts)
        if self.data is not None:
            self.give_data(parts["task"])
        return parts, spelled

    def default(self, kind: str, parts: Mapping[str, Part | None]) -> tuple[Part | None, str]:
        """What is taken for a kind that the user named no part of."""
        for owner_kind in ("trainer", "task", "model", "adapter", "sampler", "tokenizer"):
            owner = parts.get(owner_kind)
            if owner is not None and kind in owner.defaults:
                return self.default_of(owner, kind, owner.defaults[kind])
        name = HOST_DEFAULTS.get(kind)
        model, trainer = parts.get("model"), parts.get("trainer")
        if kind == "sampler" and not (trainer and "sampler" in trainer.needs):
            # Nobody requires it, but it is what samples are shown with, if there is anything to sample from.
            offered = any(part.name == name for part in self.registry.parts(kind))
            if not offered or not model or "causal-lm" not in model.provides:
                return None, NONE
        return (self.registry.find(kind, name), name) if name else (None, NONE)

    def default_of(self, owner: Part, kind: str, name: str) -> tuple[Part, str]:
        """The part that `owner` was registered with; its own package's, where several offer the name."""
        own = [p for p in self.registry.parts(kind) if p.name == name and p.distribution == owner.distribution]
        if own and sum(p.name == name for p in self.registry.parts(kind)) > 1:
            return own[0], own[0].qualified
        try:
            return self.registry.find(kind, name), name
        except UsageError as error:
            raise UsageError(f"{owner.label} takes the {kind} {name!r} unless another is named, but {error}") from error

    def task_for_data(self, trainer: Part | None) -> Part:
        """The task that `--data` means when none is named: the trainer's own if it reads data, else the one that can do
        whatever any other fitting one can."""
        able = [part for part in self.registry.parts("task") if part.data is not None]
        if trainer is not None:
            preferred = [part for part in able if part.name == trainer.defaults.get("task")]
            needed = set(trainer.needs.get("task", ()))
            fitting = [part for part in able if needed <= set(part.provides)]
            most = [
                part
                for part in fitting
                if all(set(other.provides) < set(part.provides) for other in fitting if other is not part)
            ]
            able = preferred if len(preferred) == 1 else most if len(most) == 1 else fitting or able
        if len(able) == 1:
            return able[0]
        names = ", ".join(part.qualified for part in able)
        raise UsageError(
            f"--data: say which task reads it with --task; there are {names}"
            if able
            else "--data: no installed task reads a file of data"
        )

    def give_data(self, task: Part | None) -> None:
        if task is None or task.data is None:
            able = sorted({part.name for part in self.registry.parts("task") if part.data is not None})
            what = "there is no task" if task is None else f"{task.label} reads no data"
            raise UsageError(f"--data {self.data}: {what}; tasks that read data: {', '.join(able) or 'none installed'}")
        self.flags["task"][task.data] = self.data

    def choose_warm_start(self, parts: Mapping[str, Part | None]) -> tuple[Part | None, str, Mapping[str, Any]]:
        """The trainer to run first, if any, its spelled name, and the options it was registered with."""
        trainer = parts["trainer"]
        assert trainer is not None
        offered = trainer.warm_start
        name = self.explicit("warm_start")
        if name == NONE or (name is None and (offered is None or self.base is not None)):
            return None, NONE, {}
        hint = "; go without the warm start by --set warm_start.name=none"
        if name is None:
            assert offered is not None
            try:
                warm, name = self.default_of(trainer, "trainer", offered["trainer"])
            except UsageError as error:
                raise UsageError(f"warm start: {error}{hint}") from error
        else:
            warm = self.registry.find("trainer", name)
        reason = misfit({**parts, "trainer": warm}, self.registry)
        if reason:
            raise UsageError(f"warm start: {reason}{hint}")
        options = offered["options"] if offered and offered["trainer"].partition("@")[0] == warm.name else {}
        return warm, name, options

    # --- values

    def values(self, section: str) -> dict[str, Any]:
        """What file, `--set` and flags say for a section, without `name`."""
        for key, value in self.flags[section].items():
            said = self.sets[section].get(key, value)
            if key != "name" and said != value:
                raise UsageError(f"--set {section}.{key}={said} and a flag that says {value} contradict; keep one")
        layers = [self.file[section], self.sets[section], self.flags[section]]
        merged = configs.merged(*layers)
        if section != "run":
            merged.pop("name", None)
        return merged

    def configure(self, section: str, part: Part | None, spelled: str, below: Mapping[str, Any]) -> Chosen | None:
        """The part with its config built; `below` lies under the file's values."""
        values = self.values(section)
        if part is None:
            self.refuse_values_of_nothing(section)
            return None
        config_cls = part.load_config()
        fixed = self.base[section] if self.base is not None and section in ("tokenizer", "model") else None
        if fixed is not None:
            below = {key: value for key, value in fixed.items() if key != "name"}
        try:
            built = configs.build(config_cls, configs.merged(below, values), section)
        except UsageError as error:
            raise UsageError(f"{error}{self.about_another(section, spelled)}") from error
        if fixed is not None and built != configs.build(config_cls, below, section):
            raise UsageError(
                f"{section}: {', '.join(values)} cannot be changed; the {section} comes from the run to start from"
            )
        return Chosen(part=part, config=built, spelled=spelled)

    def about_another(self, section: str, spelled: str) -> str:
        """A hint for an error in a section whose part is not the one that the file's values are for."""
        filed = self.file[section].get("name", spelled)
        if filed == spelled or len(self.file[section]) < 2:
            return ""
        return f"; the file's [{section}] is for {filed!r} and not for {spelled!r}: take out what does not fit"

    def refuse_values_of_nothing(self, section: str) -> None:
        """Values for a part that there is none of are an error, unless a higher layer has taken the part away."""
        above = {**self.sets[section], **self.flags[section]}
        taken_away = above.get("name") == NONE
        left = {**({} if taken_away else self.file[section]), **above}
        left.pop("name", None)
        if left:
            raise UsageError(
                f"{section}.{next(iter(left))}: is given, but there is no {section}; "
                f"name one with --set {section}.name=..."
            )


def _section(name: str, where: str) -> str:
    if name not in SECTIONS:
        raise UsageError(
            f"{where}there is no section {name!r}{nearest(name, SECTIONS)}; sections are {', '.join(SECTIONS)}"
        )
    return name
