"""What packages offer: parts, and commands, proofs and ablations, as names and import strings; and what failed."""

from __future__ import annotations

import contextlib
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scratch_cli.errors import PluginError

KINDS = ("tokenizer", "model", "sampler", "trainer", "adapter", "task")
OFFERS = ("command", "proofs", "ablation")
"""What packages offer besides parts."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A name and an import string that a package offers; nothing is imported yet."""

    kind: str
    name: str
    distribution: str
    version: str
    target: str
    summary: str

    @property
    def qualified(self) -> str:
        """`name@distribution`, which is never ambiguous."""
        return f"{self.name}@{self.distribution}"

    @property
    def label(self) -> str:
        """How messages speak of it."""
        return f"{self.kind} {self.name!r} ({self.distribution} {self.version})"

    def load(self) -> Any:
        """What `target` names: the class of a part, a click command, a callable that gives proofs, or the path of an
        ablation file.

        Raises PluginError, naming the distribution, its version and what is missing.
        """
        return _resolve(self.target, self)


@dataclass(frozen=True, kw_only=True)
class Part(Registered):
    """One part that a package offers; its kind is one of KINDS."""

    config: str
    provides: tuple[str, ...] = ()
    """Capabilities that partners may need."""
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Kind of partner -> capabilities it must provide. The partner is then required."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Kind of partner -> the part to take when the user names none."""
    smoke: Mapping[str, Any] = field(default_factory=dict)
    """Option values that make the part tiny and quick."""
    data: str | None = None
    """Tasks: the config field that `--data FILE` sets."""
    warm_start: Mapping[str, Any] | None = None
    """Trainers: `{"trainer": name, "options": {...}}`, to be run first on an untrained model."""

    def load_config(self) -> type[Any]:
        """The dataclass that `config` names. Raises PluginError like `load`."""
        loaded: type[Any] = _resolve(self.config, self)
        return loaded


@dataclass(frozen=True, kw_only=True)
class Offer(Registered):
    """Something besides parts: a sub-command, proofs of a package's claims, or a ready ablation file; one of OFFERS."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A plugin that could not be used: which one, and one line that says why."""

    distribution: str
    version: str
    error: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}: {self.error}"


def _resolve(target: str, owner: Registered) -> Any:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return pkgutil.resolve_name(target)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name:
            missing = f"the module {error.name!r} is missing"
        else:
            missing = one_line(error)
        raise PluginError(
            f"{owner.label} cannot be loaded from {target!r}: {missing}; "
            f"repair it with: pip install --force-reinstall {owner.distribution}"
        ) from error


def one_line(error: BaseException) -> str:
    """An error's type and message in one line of bounded length."""
    if isinstance(error, SyntaxError):
        text = f"{error.msg} ({error.filename}, line {error.lineno})"
    else:
        text = str(error)
    text = " ".join(text.split())
    text = text if len(text) <= 500 else text[:499] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
