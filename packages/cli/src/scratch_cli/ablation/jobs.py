"""From cells and seeds to runs: every plan checked before the first one begins, warm starts shared.

Cells of one seed that would be warm-started in the same way (equal tokenizer, model, task, sampler and options of the
warm start) start from one and the same model: a run of its own that they all begin `--from`. Equal starts are what
makes their differences differences of the cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratch_cli.ablation.grid import Ablation
from scratch_cli.errors import ScratchError, UsageError
from scratch_cli.plan import Plan, make_plan
from scratch_cli.rundir import RunDirectory, config_hash, data_hash, used_runs

if TYPE_CHECKING:
    from scratch_cli.registry import Registry

NOT_IN_WARM_STARTS = {"adapter": {"name": "none"}, "warm_start": {"name": "none"}}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run to be made, in a directory of its own."""

    title: str
    plan: Plan
    path: Path
    needs: Job | None = None
    """The warm start that it begins from."""

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.path)

    def finished(self) -> bool:
        """Whether its run is there. Raises UsageError if the directory holds another run, or one that was made with
        what another run held before (a reward model, say)."""
        if not self.directory.toml.exists():
            return False
        recorded = self.directory.hashes()
        data = data_hash(self.plan)
        # The hash of a configuration does not hold where its run began; the name of a warm start tells its options.
        begun = _start_name(self.directory.tables().get("run", {}).get("start_from"))
        other = recorded.get("config") != config_hash(self.plan) or begun != _start_name(self.plan.run.start_from)
        if other or (data and recorded.get("data") != data):
            raise UsageError(
                f"{self.path}: is a run with other options or data than {self.title!r} has now; choose another --out, "
                f"or remove that directory"
            )
        for option, now in used_runs(self.plan).items():
            if recorded.get(option, now) != now:  # runs from before this was recorded have no hash
                raise UsageError(
                    f"{self.path}: was made with another run than lies now where {option} points to; choose another "
                    f"--out, or remove that directory"
                )
        return self.directory.finished


def _start_name(path: object) -> str | None:
    """The last part of a path, which stays what it is where the whole ablation is moved."""
    return Path(path).name if isinstance(path, str) and path not in ("", "none") else None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All runs of an ablation: warm starts first, then cells, seed by seed."""

    warm: Sequence[Job]
    cells: Mapping[tuple[str, int], Job]
    """(label, seed) -> run."""
    same: Mapping[str, str]
    """Label of a cell that is equal to an earlier one -> label of that one; it is not run again."""


def schedule(
    ablation: Ablation,
    registry: Registry,
    out: Path,
    *,
    seeds: Sequence[int],
    sets: Sequence[str] = (),
    steps: int | None = None,
) -> Schedule:
    """Raises UsageError (or what the registry raises), naming the cell that cannot be."""
    warm: dict[str, Job] = {}
    jobs: dict[tuple[str, int], Job] = {}
    same: dict[str, str] = {}
    known: dict[str, str] = {}
    for seed in seeds:
        for cell in ablation.cells:
            try:
                own = make_plan(registry, names={}, toml=ablation.tables(cell, seed), sets=sets, steps=steps)
                first = known.setdefault(config_hash(own), cell.label)
                if first != cell.label:
                    same[cell.label] = first
                    continue
                start = _warm_start(own, registry, out, warm)
                plan = own if start is None else _begun_from(start, own, registry)
            except ScratchError as error:
                raise type(error)(f"cell {cell.label!r}: {error}") from error
            path = out / "runs" / cell.slug / f"seed-{seed}"
            jobs[cell.label, seed] = Job(title=f"{cell.label}, seed {seed}", plan=plan, path=path, needs=start)
    return Schedule(warm=tuple(warm.values()), cells=jobs, same=same)


def _warm_start(own: Plan, registry: Registry, out: Path, warm: dict[str, Job]) -> Job | None:
    """The run that warm-starts this plan, shared with all plans that are warm-started alike."""
    if own.warm_start is None:
        return None
    tables: dict[str, Any] = own.to_mapping()
    tables |= {"trainer": tables["warm_start"], **NOT_IN_WARM_STARTS}
    plan = make_plan(registry, names={}, toml=tables)
    key = config_hash(plan)
    if key not in warm:
        path = out / "warm" / f"{plan.trainer.part.name}-{key[:8]}-seed-{plan.run.seed}"
        title = f"warm start {len(warm) + 1}, seed {plan.run.seed}"
        warm[key] = Job(title=title, plan=plan, path=path)
    return warm[key]


def _begun_from(start: Job, own: Plan, registry: Registry) -> Plan:
    """The plan without its own warm start, as `scratch run --from` would make it."""
    tables: dict[str, Any] = {**own.to_mapping(), "warm_start": {"name": "none"}}
    plan = make_plan(registry, names={}, toml=tables, base=start.plan.to_mapping())
    return dataclasses.replace(plan, run=dataclasses.replace(plan.run, start_from=str(start.path.absolute())))
