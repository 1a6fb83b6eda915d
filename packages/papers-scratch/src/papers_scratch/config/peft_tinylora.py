"""Options of PEFT's own TinyLoRA. Importing this file imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from papers_scratch.config.checks import at_least, check_targets, option, refuse, within
from papers_scratch.config.frames import TARGETS_HELP


@dataclass(frozen=True, kw_only=True)
class PeftTinyLoRAConfig:
    """The change of a weight is `B (sum_i v_i P_i) A`, half of the singular values in A and half in B."""

    r: int = option(2, "singular directions of each weight that the change lives in")
    u: int = option(1, "trained numbers in a group of layers (PEFT's own default, 64, is redundant where r is 2)")
    weight_tying: float = option(0.0, "0 = numbers for each layer, 1 = the same numbers for all")
    seed: int = option(42, "decides the fixed matrices P")
    dropout: float = option(0.0, "dropout on the input of A while training")
    target_modules: tuple[str, ...] = option((), TARGETS_HELP)

    def __post_init__(self) -> None:
        at_least(self, 1, "r", "u", why="it is a count")
        within(self, 0.0, 1.0, "weight_tying", why="it is a share")
        within(self, 0, 2**62, "seed", why="a negative seed draws what another draws")
        check_targets(self)
        if not 0.0 <= self.dropout < 1.0:
            refuse("dropout", self.dropout, "at least 0 and below 1", "at 1 nothing is learnt")
