"""Which layers share one vector of trained numbers."""

from __future__ import annotations

from collections.abc import Sequence


def groups(names: Sequence[str], *, tying: str, n_tie: int | None, weight_tying: float = 0.0) -> list[int]:
    """The group 0, 1, ... of each layer, given by full name in the order of the model.

    tiled: `n_tie` consecutive layers share, whatever their kind; the last group may be smaller. 196 layers with n_tie
    16 are 13 groups (TinyLoRA, arXiv:2602.04118, section 3).
    structured: `n_tie` layers of one kind, the last part of their name, at neighbouring depth share.
    peft: as PEFT 0.21 has it: round(n (1 - weight_tying)) groups, at least 1, of n // groups each; what is left over
    joins the last one.
    """
    n = len(names)
    size = n if n_tie is None else min(n_tie, n)
    if tying == "tiled":
        return [i // size for i in range(n)]
    if tying == "structured":
        seen: dict[str, int] = {}
        keys = []
        for name in names:
            kind = name.rpartition(".")[2]
            keys.append((kind, seen.get(kind, 0) // size))
            seen[kind] = seen.get(kind, 0) + 1
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return [numbers[key] for key in keys]
    if tying == "peft":
        count = max(1, round(n * (1 - weight_tying)))
        return [min(i // (n // count), count - 1) for i in range(n)]
    raise ValueError(f"tying: got {tying!r}, must be tiled, structured or peft")
