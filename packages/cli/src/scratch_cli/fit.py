"""Whether parts fit together: every capability that one needs is provided by its partner.

Pure functions over what was registered; nothing is imported.
"""

from __future__ import annotations

from collections.abc import Mapping

from scratch_cli.registry import KINDS, Part, Registry


def fits(owner: Part, partner: Part) -> bool:
    """Whether `partner` provides what `owner` needs of its kind, and the other way round."""
    return not _lacks(owner, partner) and not _lacks(partner, owner)


def _lacks(owner: Part, partner: Part) -> list[str]:
    return [need for need in owner.needs.get(partner.kind, ()) if need not in partner.provides]


def misfit(parts: Mapping[str, Part | None], registry: Registry) -> str | None:
    """Why these parts (by kind) do not fit together, in one line that names both sides and what would fit; or None."""
    for kind in KINDS:
        owner = parts.get(kind)
        if owner is None:
            continue
        for partner_kind, needs in owner.needs.items():
            partner = parts.get(partner_kind)
            if partner is None:
                return (
                    f"{owner.label} needs {_a(partner_kind)}{_that_provides(needs)}, and none is chosen; "
                    f"{_what_fits(owner, partner_kind, registry)}"
                )
            if _lacks(owner, partner):
                return (
                    f"{owner.label} needs {_a(partner_kind)}{_that_provides(needs)}, but {partner.label} provides "
                    f"{_list(partner.provides)}; {_what_fits(owner, partner_kind, registry)}; "
                    f"{_what_fits(partner, owner.kind, registry)}"
                )
    return None


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _that_provides(needs: tuple[str, ...]) -> str:
    return f" that provides {_list(needs)}" if needs else ""


def _what_fits(part: Part, kind: str, registry: Registry) -> str:
    fitting = sorted({other.name for other in registry.parts(kind) if fits(part, other)})
    return f"{kind}s that fit {part.name}: {', '.join(fitting) or 'none installed'}"


def _list(capabilities: tuple[str, ...]) -> str:
    return ", ".join(repr(capability) for capability in capabilities) or "nothing"
