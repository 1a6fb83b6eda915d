"""Which checks apply to which part: the cases of a distribution, without running or importing any of them."""

from __future__ import annotations

import contextlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scratch_cli.registry import Registry, discover
from scratch_cli.testing.subject import Subject

# Module of checks, name of a tuple in it, kind it is for (None: all), capability it is for (None: all).
_SUITES: tuple[tuple[str, str, str | None, str | None], ...] = (
    ("part_checks", "CHECKS", None, None),
    ("tokenizer_checks", "CHECKS", "tokenizer", None),
    ("model_checks", "CHECKS", "model", None),
    ("model_checks", "CAUSAL_CHECKS", "model", "causal-lm"),
    ("model_checks", "LINEAR_CHECKS", "model", "linear-layers"),
    ("cache_checks", "CAUSAL_CHECKS", "model", "causal-lm"),
    ("sampler_checks", "CHECKS", "sampler", None),
    ("sampler_checks", "FULL_SUPPORT_CHECKS", "sampler", "full-support"),
    ("trainer_checks", "CHECKS", "trainer", None),
    ("adapter_checks", "CHECKS", "adapter", None),
    ("task_checks", "CHECKS", "task", None),
    ("task_checks", "CHECKER_CHECKS", "task", "checker"),
    ("task_checks", "PAIR_CHECKS", "task", "pairs"),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One check of one part. Calling it runs it: CheckFailed, CheckSkipped, whatever the part raises, or nothing."""

    subject: Subject
    check: Callable[[Subject], None]

    @property
    def id(self) -> str:
        """`kind:name:check`, as `expected_failures` names it."""
        name = self.check.__name__.removeprefix("check_").replace("_", "-")
        return f"{self.subject.part.kind}:{self.subject.part.name}:{name}"

    @property
    def summary(self) -> str:
        """What the check demands, in one sentence."""
        return " ".join((self.check.__doc__ or "").split())

    def __call__(self) -> None:
        with _one_thread():
            self.check(self.subject)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Bit-equality is promised on one CPU thread, and parts as tiny as here are quicker on one."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cases_of(distribution: str | None, registry: Registry | None = None) -> list[Case]:
    """All cases of the parts of one distribution (None: of all), in the order of the registry.

    registry: None looks at what is installed. Partners that no stand-in can play are taken from it.

    Raises PluginError if the distribution is unknown, broken or offers no part: never an empty list.
    """
    from scratch_cli.errors import PluginError

    registry = discover() if registry is None else registry
    parts = (registry if distribution is None else registry.restricted(distribution)).parts()
    cases = []
    for part in parts:
        subject = Subject(part=part, registry=registry)
        for module, tuple_name, kind, capability in _SUITES:
            if kind in (None, part.kind) and (capability is None or capability in part.provides):
                checks = pkgutil.resolve_name(f"scratch_cli.testing.{module}:{tuple_name}")
                cases += [Case(subject=subject, check=check) for check in checks]
    if not cases:
        raise PluginError(f"{distribution or 'the installed packages'}: there is no part to check")
    return cases
