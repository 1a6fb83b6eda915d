"""A part under test, and the partners that it is tested with.

A partner is a stand-in if one provides what is needed, else a part of the registry (the tested package's own first).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scratch_cli import config as configs
from scratch_cli.fit import fits
from scratch_cli.registry import Part, Registry
from scratch_cli.testing.outcome import CheckSkipped
from scratch_cli.testing.standins import standin_registry


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The part that a check looks at."""

    part: Part
    registry: Registry = field(default_factory=Registry)
    """Where partners come from that no stand-in can play."""

    def cls(self) -> Any:
        return self.part.load()

    def config(self, **options: Any) -> Any:
        """The part's config with its `smoke` options, and these over them."""
        return configured(self.part, options)

    def partner(self, kind: str) -> Part:
        """A part of this kind that fits. Raises CheckSkipped if there is none."""
        own = [p for p in self.registry.parts(kind) if p.distribution == self.part.distribution]
        for candidate in (*standin_registry().parts(kind), *own, *self.registry.parts(kind)):
            if fits(self.part, candidate):
                return candidate
        raise CheckSkipped(f"no {kind} is installed that provides {', '.join(self.part.needs.get(kind, ()))}")


def configured(part: Part, options: Mapping[str, Any] | None = None) -> Any:
    """A part's config with its `smoke` options, and `options` over them."""
    return configs.build(part.load_config(), configs.merged(part.smoke, options or {}), part.kind)
