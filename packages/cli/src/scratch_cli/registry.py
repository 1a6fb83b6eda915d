"""Finds the parts that installed packages offer, without importing any of them.

Each entry point in the group `scratch` is one plugin: a module that imports nothing but pluggy and implements some of
the hooks in `scratch_cli.hookspecs`. Plugins are looked at one by one, sorted by name, each with a plugin manager of
its own: whatever one of them does wrong (an import that fails or exits, a hook that raises, is misspelt or takes
other arguments, a bad `register` call) becomes one `Failure` and leaves the others alone. What a plugin registers is
staged and counts only when all its hooks have succeeded.

Nothing here is global: `discover()` returns a new `Registry`, and takes the entry points to look at.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import inspect
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pluggy

from scratch_cli import hookspecs
from scratch_cli.errors import PluginError, UsageError
from scratch_cli.parts import KINDS, OFFERS, Failure, Offer, Part, one_line
from scratch_cli.registration import OFFER_WORDS, Register, RegisterOffer, Stage

__all__ = [
    "KINDS",
    "OFFERS",
    "Failure",
    "Offer",
    "Part",
    "Register",
    "RegisterOffer",
    "Registry",
    "discover",
    "nearest",
    "normalized",
]

GROUP = "scratch"
ALLOW_LIST = "SCRATCH_PLUGINS"
"""Environment variable: comma-separated distributions to look at. Set but empty: none. Not set: all."""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """What the plugins that work offer, and the failures of those that do not."""

    all_parts: tuple[Part, ...] = ()
    all_offers: tuple[Offer, ...] = ()
    failures: tuple[Failure, ...] = ()
    distributions: tuple[tuple[str, str], ...] = ()
    """Name and version of each plugin that works, also of those that offer no parts."""

    def parts(self, kind: str | None = None) -> tuple[Part, ...]:
        """The parts of one kind (all, if None), sorted by kind, name and distribution.

        Raises UsageError if there is no such kind.
        """
        if kind is None:
            return self.all_parts
        if kind not in KINDS:
            raise UsageError(f"there is no kind {kind!r}{nearest(kind, KINDS)}; kinds are {', '.join(KINDS)}")
        return tuple(part for part in self.all_parts if part.kind == kind)

    def find(self, kind: str, name: str) -> Part:
        """The part of this kind called `name`, or `name@distribution` where several packages offer the name.

        Raises UsageError if there is none, with the nearest name and what exists, or if the name alone is ambiguous;
        PluginError if the distribution is asked for by name and is broken or not installed.
        """
        parts = self.parts(kind)
        found = self._find(kind, name, parts)
        assert isinstance(found, Part)  # parts came in, a part comes out
        return found

    @property
    def commands(self) -> tuple[Offer, ...]:
        return self.offers("command")

    def offers(self, kind: str) -> tuple[Offer, ...]:
        """What packages offer besides parts, of one kind of OFFERS, sorted by name and distribution."""
        return tuple(offer for offer in self.all_offers if offer.kind == kind)

    def find_offer(self, kind: str, name: str) -> Offer:
        """The packages' command, proofs or ablation called `name` or `name@distribution`. Raises like `find`."""
        found = self._find(kind, name, self.offers(kind))
        assert isinstance(found, Offer)  # offers came in, an offer comes out
        return found

    def restricted(self, distribution: str) -> Registry:
        """The part of this registry that one distribution offers.

        Raises PluginError if that distribution is broken or offers nothing here.
        """
        key = normalized(distribution)
        for failure in self.failures:
            if normalized(failure.distribution) == key:
                raise PluginError(f"the plugin {failure.distribution} {failure.version} is broken: {failure.error}")
        names = [name for name, _ in self.distributions]
        if key not in map(normalized, names):
            raise PluginError(
                f"no installed plugin comes from the distribution {distribution!r}{nearest(distribution, names)}; "
                f"there are {', '.join(names) or 'none'}; if it is missing: pip install {distribution}{self.broken()}"
            )
        return Registry(
            all_parts=tuple(part for part in self.all_parts if normalized(part.distribution) == key),
            all_offers=tuple(offer for offer in self.all_offers if normalized(offer.distribution) == key),
            distributions=tuple(pair for pair in self.distributions if normalized(pair[0]) == key),
        )

    def _find(self, kind: str, name: str, candidates: Sequence[Part | Offer]) -> Part | Offer:
        bare, at, distribution = name.partition("@")
        if at:
            candidates = self.restricted(distribution)._of(kind)
        matching = [candidate for candidate in candidates if candidate.name == bare]
        if len(matching) == 1:
            return matching[0]
        if matching:
            offers = ", ".join(f"{m.name}@{m.distribution} (version {m.version})" for m in matching)
            raise UsageError(f"{kind} {bare!r} is offered by several packages; say which: {offers}")
        exist = sorted({candidate.name for candidate in candidates})
        inside = f" in {distribution}" if at else ""
        raise UsageError(
            f"there is no {kind} {bare!r}{inside}{nearest(bare, exist)}; there are {', '.join(exist) or 'none'}"
            f"{self.broken()}"
        )

    def _of(self, kind: str) -> Sequence[Part | Offer]:
        return self.offers(kind) if kind in OFFERS else self.parts(kind)

    def broken(self) -> str:
        """`; broken plugins: ...` to end a message about something that was not found; empty if none is."""
        if not self.failures:
            return ""
        return "; broken plugins: " + "; ".join(str(failure) for failure in self.failures)


def normalized(distribution: str) -> str:
    """A distribution's name as PyPI compares it: case, `-`, `_` and `.` do not matter."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` if one of the known names is close, else nothing."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not close:
        lower = {k.lower(): k for k in known}
        close = [lower[c] for c in difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.6)]
    return f", did you mean {close[0]!r}?" if close else ""


# --- discovery -----------------------------------------------------------------------------------------------------


def discover(
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None, *, only: Iterable[str] | None = None
) -> Registry:
    """Look at the given entry points (None: all installed ones of the group `scratch`) and collect what they offer.

    only: names of the distributions to look at. None: all of them, or, for the installed ones, those that the
    environment variable SCRATCH_PLUGINS names if it is set.

    Never raises because of a plugin, and lets nothing that a plugin prints reach standard output.
    """
    asked = "asked for"
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=GROUP)
        asked = f"named in {ALLOW_LIST}"
        if only is None and ALLOW_LIST in os.environ:
            only = [name.strip() for name in os.environ[ALLOW_LIST].split(",") if name.strip()]
    candidates = [(ep, *_origin(ep)) for ep in entry_points]
    candidates.sort(key=lambda c: (c[0].name, c[1], c[0].value))
    failures: list[Failure] = []
    if only is not None:
        wanted = {normalized(name): name for name in only}
        candidates = [c for c in candidates if normalized(c[1]) in wanted]
        missing = wanted.keys() - {normalized(distribution) for _, distribution, _ in candidates}
        failures += [
            Failure(distribution=wanted[key], version="?", error=f"{asked}, but not installed")
            for key in sorted(missing)
        ]

    stages: list[Stage] = []
    uses = Counter(ep.name for ep, _, _ in candidates)
    taken: dict[str, str] = {}
    # A plugin called like its distribution has the first right to that entry-point name.
    for ep, distribution, version in candidates:
        if normalized(ep.name) == normalized(distribution):
            taken.setdefault(ep.name, f"{distribution} {version}")
    claimed: set[str] = set()
    for ep, distribution, version in candidates:
        rightful = normalized(ep.name) == normalized(distribution) or ep.name not in taken
        if uses[ep.name] > 1 and (not rightful or ep.name in claimed):
            error = (
                f"the entry-point name {ep.name!r} is already used by {taken[ep.name]}; "
                "an entry point is called like its own distribution"
            )
            failures.append(Failure(distribution=distribution, version=version, error=error))
            continue
        claimed.add(ep.name)
        taken.setdefault(ep.name, f"{distribution} {version}")
        stage = Stage(distribution, version)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                _collect(ep, stage)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: a plugin that exits on import must not take the host along
            failures.append(Failure(distribution=distribution, version=version, error=one_line(error)))
        else:
            stages.append(stage)
        finally:
            stage.open = False
    return Registry(
        all_parts=tuple(
            sorted(
                (part for stage in stages for part in stage.parts),
                key=lambda part: (KINDS.index(part.kind), part.name, part.distribution),
            )
        ),
        all_offers=tuple(
            sorted(
                (offer for stage in stages for offer in stage.offers),
                key=lambda offer: (OFFERS.index(offer.kind), offer.name, offer.distribution),
            )
        ),
        failures=tuple(failures),
        distributions=tuple(sorted({(stage.distribution, stage.version) for stage in stages})),
    )


def _origin(ep: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """The distribution and version an entry point comes from; its own name if it comes from none."""
    if ep.dist is None:
        return ep.name, "?"
    return ep.dist.name, ep.dist.version


def _collect(ep: importlib.metadata.EntryPoint, stage: Stage) -> None:
    """Import one plugin and call its hooks. Raises whatever is wrong with it."""
    plugin = ep.load()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=ep.name)
    manager.check_pending()
    callers = manager.get_hookcallers(plugin) or []
    if not callers:
        raise ValueError(f"{ep.value} implements no hook; is @hookimpl with the marker {hookspecs.PROJECT!r} missing?")
    hooks: dict[str, Callable[..., None]] = {f"register_{kind}s": stage.register(kind) for kind in KINDS}
    hooks |= {f"register_{word}": stage.register_offer(kind) for kind, word in OFFER_WORDS.items()}
    for caller in sorted(callers, key=lambda caller: caller.name):
        for implementation in caller.get_hookimpls():
            if implementation.argnames != ("register",) or implementation.kwargnames:
                raise TypeError(f"{caller.name} must take exactly one argument, 'register', without a default")
        for returned in caller(register=hooks[caller.name]):
            if inspect.iscoroutine(returned) or inspect.isgenerator(returned):
                returned.close()
            raise TypeError(f"{caller.name} returned {type(returned).__name__}; a hook calls register and returns None")
