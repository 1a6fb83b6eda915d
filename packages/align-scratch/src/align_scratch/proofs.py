"""Claims of this package that anyone can check on their own machine, in seconds and without a test runner.

    from align_scratch import proofs
    for proof in proofs.run():
        print(proof.ok, proof.claim, proof.measured, "<=", proof.tolerance)

Each module named in SOURCES has a function `proofs()` that yields them; the tests call the same functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SOURCES = ("align_scratch.policy_proofs", "align_scratch.ppo_proofs", "align_scratch.preference_proofs")
"""Modules with a function `proofs() -> Iterable[Proof]`, in the order that they are run."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One claim, how far from true it was found, and how far it may be."""

    claim: str
    """One line, without a full stop."""
    measured: float
    """The largest deviation seen; NaN fails."""
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.measured <= self.tolerance


def run() -> Iterator[Proof]:
    """Every proof, computed when it is asked for. Changes neither torch's random state nor its default dtype.

    Until the last one torch has one thread: for tensors this small, more only wait for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for source in SOURCES:
            with torch.random.fork_rng(devices=[]):
                yield from importlib.import_module(source).proofs()
    finally:
        torch.set_num_threads(threads)


def deviation(got: Tensor, wanted: Tensor) -> float:
    """The largest absolute difference; infinite if the shapes differ, NaN if either holds one."""
    return float((got - wanted).abs().max()) if got.shape == wanted.shape else float("inf")
