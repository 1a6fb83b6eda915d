"""An ablation file: what all cells share, and in which options they differ.

[ablation]
about = "what this asks"
seeds = [1, 2, 3]                            # each cell is run with each
metric = "sampled"                           # of the evaluation after the last step
minutes = 12                                 # what it takes, for people to read

[base.trainer]                               # sections of a RUN.toml
name = "grpo"

[vary]                                       # one option at a time; the base is the first cell
"trainer.lr" = [1e-4, 1e-3]

[cells."4 epochs, small batches"]            # several options together
"trainer.epochs_per_batch" = 4

[grid]                                       # instead of vary and cells: every combination; the first is the base
"trainer.lr" = [1e-4, 1e-3]
"trainer.group_size" = [4, 8]
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from scratch_cli import config as configs
from scratch_cli.errors import UsageError
from scratch_cli.plan import SECTIONS
from scratch_cli.registry import nearest

TABLES = ("ablation", "base", "vary", "cells", "grid")
BASE = "base"
MAX_CELLS = 1000
FEW_SEEDS = 3
"""With fewer seeds nothing can be said about a difference; with this many, little."""


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """Table [ablation] of an ablation file."""

    about: str = field(default="", metadata={"help": "what this asks, in a line"})
    seeds: tuple[int, ...] = field(default=(1, 2, 3), metadata={"help": "each cell is run with each of these"})
    metric: str = field(default="sampled", metadata={"help": "which value of the evaluation after the last step"})
    better: Literal["higher", "lower"] = field(default="higher", metadata={"help": "which values of it are better"})
    minutes: float | None = field(default=None, metadata={"help": "how long it takes, for people to read"})
    x: Literal["", "parameters", "trainable_parameters", "seconds"] = field(
        default="", metadata={"help": "number of a run's result to draw the metric against, a line a trainer"}
    )

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: got {list(self.seeds)}, must be one or more different numbers")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting: what it is called, and the options in which it differs from the base."""

    label: str
    options: Mapping[str, Any]
    """`section.field` -> value."""

    @property
    def slug(self) -> str:
        """A name for directories: readable, and different for different options."""
        digest = hashlib.sha256(json.dumps(self.options, sort_keys=True, default=str).encode()).hexdigest()[:6]
        return f"{re.sub(r'[^A-Za-z0-9_.=]+', '-', self.label).strip('-.')[:60]}-{digest}"


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A file, read and checked as far as no part is needed for it."""

    name: str
    config: AblationConfig
    base: Mapping[str, Mapping[str, Any]]
    cells: Sequence[Cell]
    """The first is what the others are compared with."""

    def tables(self, cell: Cell, seed: int) -> dict[str, dict[str, Any]]:
        """The RUN.toml of a cell, as far as it is not left to defaults."""
        tables: dict[str, Any] = configs.merged(self.base)
        for option, value in cell.options.items():
            section, _, name = option.partition(".")
            nested: Any = value
            for key in reversed(name.split(".")):
                nested = {key: nested}
            tables = configs.merged(tables, {section: nested})
            if name == "name":
                # Another part: the base's options are another part's.
                tables[section] = {"name": value}
                tables[section] |= {
                    k.partition(".")[2]: v for k, v in cell.options.items() if k.startswith(section + ".")
                }
        return configs.merged(tables, {"run": {"seed": seed}})


def read(path: Path) -> Ablation:
    """Raises UsageError, naming the file and the place in it."""
    tables = configs.read_toml(path)
    try:
        return _parsed(path.stem, tables)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _parsed(name: str, tables: Mapping[str, Any]) -> Ablation:
    for table in tables:
        if table not in TABLES:
            raise UsageError(f"there is no table {table!r}{nearest(table, TABLES)}; tables are {', '.join(TABLES)}")
    base = tables.get("base", {})
    for section, values in base.items():
        if section not in SECTIONS or not isinstance(values, Mapping):
            raise UsageError(f"base.{section}: must be a section{nearest(section, SECTIONS)}: {', '.join(SECTIONS)}")
    config = configs.build(AblationConfig, tables.get("ablation", {}), "ablation")
    varied, named, grid = (tables.get(table, {}) for table in ("vary", "cells", "grid"))
    if grid and (varied or named):
        raise UsageError("[grid] is every combination and stands alone; take out [vary] and [cells], or [grid]")
    cells = list(_combined(grid) if grid else _apart(varied, named))
    if len(cells) < 2:
        raise UsageError("has nothing to compare: name options in [vary] or [grid], or cells in [cells]")
    if len(cells) > MAX_CELLS:
        raise UsageError(f"has {len(cells)} cells; {MAX_CELLS} at most, which is more than anybody looks at")
    labels = [cell.label for cell in cells]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise UsageError(f"the cell {twice[0]!r} is there twice")
    return Ablation(name=name, config=config, base=base, cells=tuple(cells))


def _combined(grid: Mapping[str, Any]) -> Iterator[Cell]:
    axes = dict(_lists(grid, "grid"))
    for values in itertools.product(*axes.values()):
        options = dict(zip(axes, values, strict=True))
        yield Cell(label=_label(options), options=options)


def _apart(varied: Mapping[str, Any], named: Mapping[str, Any]) -> Iterator[Cell]:
    yield Cell(label=BASE, options={})
    for option, values in _lists(varied, "vary"):
        for value in values:
            yield Cell(label=_label({option: value}), options={option: value})
    for label, options in named.items():
        if not isinstance(options, Mapping) or not options:
            raise UsageError(f'cells.{label}: must be a table of options, for example "trainer.lr" = 1e-3')
        yield Cell(label=label, options=dict(_flat(options, f"cells.{label}")))


def _lists(table: Mapping[str, Any], where: str) -> Iterator[tuple[str, list[Any]]]:
    for option, values in _flat(table, where):
        if not isinstance(values, list) or not values:
            raise UsageError(f"{where}.{option}: got {values!r}, must be a list of values")
        yield option, values


def _flat(table: Mapping[str, Any], where: str, above: str = "") -> Iterator[tuple[str, Any]]:
    """`trainer.lr` may be written as one quoted key, or as a table in a table."""
    for key, value in table.items():
        option = f"{above}.{key}" if above else key
        if isinstance(value, Mapping):
            yield from _flat(value, where, option)
            continue
        section, dot, name = option.partition(".")
        if section not in SECTIONS or not dot or not name:
            raise UsageError(f"{where}: {option!r} must have the form section.option{nearest(section, SECTIONS)}; "
                             f"sections are {', '.join(SECTIONS)}")  # fmt: skip
        if option == "run.seed":
            raise UsageError(f"{where}: run.seed is not an option to compare: seeds are listed in [ablation]")
        yield option, value


def _label(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{option.removeprefix('trainer.')}={_shown(value)}" for option, value in options.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
