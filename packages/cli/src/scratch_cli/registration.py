"""The callables that hooks receive, and what becomes of their calls.

Arguments are checked at once and strictly; what one plugin registers is staged, and counts only if all of it succeeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from scratch_cli.parts import KINDS, Offer, Part

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")
OFFER_WORDS: Mapping[str, str] = MappingProxyType({"command": "commands", "proofs": "proofs", "ablation": "ablations"})
"""As in the name of the hook."""
_EMPTY: Mapping[str, Any] = MappingProxyType({})


class Register(Protocol):
    """What `register_tokenizers` ... `register_tasks` receive."""

    def __call__(
        self,
        name: str,
        target: str,
        /,
        *,
        config: str,
        summary: str,
        provides: Iterable[str] = (),
        needs: Mapping[str, Iterable[str]] = ...,
        defaults: Mapping[str, str] = ...,
        smoke: Mapping[str, Any] = ...,
        data: str | None = None,
        warm_start: Mapping[str, Any] | None = None,
    ) -> None:
        """Offer the part `name`, whose class is `target` and whose config dataclass is `config` ("module:attr").

        provides: capabilities that partners may need.
        needs: {kind: [capabilities of the partner]}; the partner is then required.
        defaults: {kind: name} of the partner that the host takes when the user names none.
        smoke: option values (fields of `config`) that make the part tiny and quick.
        data: tasks only, the config field that `--data FILE` sets.
        warm_start: trainers only, {"trainer": name, "options": {...}}: run this one first on an untrained model.

        Raises TypeError or ValueError for an argument that makes no sense; the plugin is then reported as broken.
        """


class RegisterOffer(Protocol):
    """What `register_commands`, `register_proofs` and `register_ablations` receive."""

    def __call__(self, name: str, target: str, /, *, summary: str) -> None:
        """Offer `name`; `target` ("module:attr") is imported when it is asked for.

        commands: `target` is a click command.
        proofs: `target` takes nothing and gives, one by one, objects with `claim`, `measured`, `tolerance` and `ok`.
        ablations: `target` is the path of a TOML file for `scratch ablate`.
        """


class Stage:
    """What one plugin has registered so far. Dropped as a whole if anything in the plugin fails."""

    def __init__(self, distribution: str, version: str) -> None:
        self.distribution = distribution
        self.version = version
        self.parts: list[Part] = []
        self.offers: list[Offer] = []
        self.open = True

    def register(self, kind: str) -> Register:
        def register(
            name: str,
            target: str,
            /,
            *,
            config: str,
            summary: str,
            provides: Iterable[str] = (),
            needs: Mapping[str, Iterable[str]] = _EMPTY,
            defaults: Mapping[str, str] = _EMPTY,
            smoke: Mapping[str, Any] = _EMPTY,
            data: str | None = None,
            warm_start: Mapping[str, Any] | None = None,
        ) -> None:
            where = f"register({name!r}) of {kind}s"
            self._check(where, name, summary, target=target, config=config)
            if any(part.kind == kind and part.name == name for part in self.parts):
                raise ValueError(f"{where}: the name is registered twice")
            if data is not None and kind != "task":
                raise ValueError(f"{where}: data is only for tasks")
            if warm_start is not None:
                if kind != "trainer":
                    raise ValueError(f"{where}: warm_start is only for trainers")
                if not isinstance(warm_start, Mapping) or set(warm_start) != {"trainer", "options"}:
                    raise ValueError(f'{where}: warm_start must be {{"trainer": name, "options": {{...}}}}')
                _expect(where, "warm_start['trainer']", warm_start["trainer"], str)
                warm_start = {
                    "trainer": warm_start["trainer"],
                    "options": _options(where, "warm_start['options']", warm_start["options"]),
                }
            if data is not None:
                _expect(where, "data", data, str)
            self.parts.append(
                Part(
                    kind=kind,
                    name=name,
                    distribution=self.distribution,
                    version=self.version,
                    target=target,
                    config=config,
                    summary=summary,
                    provides=_strings(where, "provides", provides),
                    needs={
                        k: _strings(where, f"needs[{k!r}]", v)
                        for k, v in _partners(where, "needs", needs, kind).items()
                    },
                    defaults={
                        k: _expect(where, f"defaults[{k!r}]", v, str)
                        for k, v in _partners(where, "defaults", defaults, kind).items()
                    },
                    smoke=_options(where, "smoke", smoke),
                    data=data,
                    warm_start=warm_start,
                )
            )

        register.__qualname__ = "register"  # as Python's own complaints about a call name it
        return register

    def register_offer(self, kind: str) -> RegisterOffer:
        def register(name: str, target: str, /, *, summary: str) -> None:
            where = f"register({name!r}) of {OFFER_WORDS[kind]}"
            self._check(where, name, summary, target=target)
            if any(offer.kind == kind and offer.name == name for offer in self.offers):
                raise ValueError(f"{where}: the name is registered twice")
            self.offers.append(
                Offer(
                    kind=kind,
                    name=name,
                    distribution=self.distribution,
                    version=self.version,
                    target=target,
                    summary=summary,
                )
            )

        register.__qualname__ = "register"
        return register

    def _check(self, where: str, name: object, summary: object, **targets: object) -> None:
        if not self.open:
            raise RuntimeError(f"{where}: called after the hook had returned")
        if not isinstance(name, str) or not _NAME.match(name) or name == "none":
            raise ValueError(
                f"{where}: a name starts with a letter or digit, goes on with those, '.', '_' or '-', and is not 'none'"
            )
        if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
            raise ValueError(f"{where}: summary must be one line of text")
        for key, value in targets.items():
            if not isinstance(value, str) or not _TARGET.match(value):
                raise ValueError(f'{where}: {key} must be text of the form "module:attribute", got {value!r}')


def _expect(where: str, key: str, value: Any, expected: type[Any]) -> Any:
    if not isinstance(value, expected):
        raise TypeError(f"{where}: {key} must be {expected.__name__}, got {value!r}")
    return value


def _strings(where: str, key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{where}: {key} must be a list of names, got {value!r}")
    return tuple(_expect(where, f"{key} entry", item, str) for item in value)


def _partners(where: str, key: str, value: Any, kind: str) -> Mapping[str, Any]:
    _expect(where, key, value, Mapping)
    for partner in value:
        if partner not in KINDS or partner == kind:
            others = ", ".join(k for k in KINDS if k != kind)
            raise ValueError(f"{where}: {key} names {partner!r}, which is no kind of partner; there are {others}")
    return dict(value)


def _options(where: str, key: str, value: Any) -> Mapping[str, Any]:
    _expect(where, key, value, Mapping)
    for option in value:
        _expect(where, f"{key} option", option, str)
    return dict(value)
