"""The leading singular directions of a weight, with signs that do not depend on who computed them.

`W = U S V^T` leaves the sign of each pair (u_i, v_i) free, and LAPACK builds, devices and precisions choose it as they
like. Flipping one pair leaves W as it is and changes an adapter that lives inside these directions altogether. So the
largest entry of every column of U is made positive, the decomposition is always that of the fp32 weight on the CPU, and
a saved adapter carries a fingerprint of its directions, in which a flip shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CLOSE = 1e-3
"""Neighbouring singular values nearer than this share of the largest: their directions may rotate into each other."""
TOLERANCE = 1e-3
"""Fingerprints may differ by this share of a direction's length: rounding is about 1e-6, a flipped sign about 0.5."""


@dataclass(frozen=True, kw_only=True)
class Directions:
    """The r leading singular triples of a weight (out, in), in fp32 on the CPU."""

    u: Tensor
    """(out, r), orthonormal columns."""
    s: Tensor
    """(r,), descending."""
    vh: Tensor
    """(r, in), orthonormal rows."""
    gap: float
    """Smallest (s_i - s_{i+1}) / s_1 over i <= r, with the first value left out; inf if there is nothing to compare."""

    @property
    def r(self) -> int:
        return len(self.s)

    def frame(self, sigma: str) -> tuple[Tensor, Tensor]:
        """A (r, in) and B (out, r), with the change of the weight `B R A`.

        "left": A = V^T, B = U S, as in both papers. "sqrt": A = S^1/2 V^T, B = U S^1/2, as in PEFT's TinyLoRA.
        """
        if sigma == "left":
            return self.vh.clone(), self.u * self.s
        if sigma == "sqrt":
            root = self.s.sqrt()  # (r,)
            return root[:, None] * self.vh, self.u * root
        raise ValueError(f"sigma: got {sigma!r}, must be left or sqrt")


def leading_directions(weight: Tensor, r: int) -> Directions:
    """The `min(r, out, in)` leading singular triples of a weight (out, in).

    Raises ValueError if the decomposition fails or the weight is not finite.
    """
    matrix = weight.detach().to("cpu", torch.float32)
    if not bool(matrix.isfinite().all()):
        raise ValueError("the weight has infinite or NaN values")
    try:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)  # (out, k), (k,), (k, in)
    except RuntimeError as error:  # LinAlgError: no convergence
        raise ValueError(f"the singular value decomposition failed: {error}") from error
    r = min(r, len(s))
    following = s[1 : r + 1]
    gap = float(((s[: len(following)] - following) / s[0]).min()) if len(following) and s[0] > 0 else torch.inf
    u, s, vh = u[:, :r], s[:r], vh[:r]
    largest = u.abs().argmax(0)  # (r,): the first of equals
    sign = torch.where(u[largest, torch.arange(r)] < 0, -1.0, 1.0)  # (r,)
    return Directions(u=u * sign, s=s.clone(), vh=sign[:, None] * vh, gap=gap)


def fingerprint(a: Tensor, b: Tensor) -> list[float]:
    """2 r numbers that tell a frame from another one: A (r, in) and B (out, r), each seen from one fixed vector.

    A flipped sign changes the sign of two of them; rounding hardly changes any. (The product B A would be useless: a
    flip cancels in it.)
    """
    seen = (
        a.detach().to("cpu", torch.float64) @ _probe(a.shape[1]),
        _probe(b.shape[0]) @ b.detach().to("cpu").double(),
    )
    return [float(value) for value in torch.cat(seen)]


def has_fingerprint(a: Tensor, b: Tensor, expected: list[float]) -> bool:
    """Whether a frame, A (r, in) and B (out, r), has the `expected` fingerprint.

    Each number is held against the length of its own direction, so that a flip of a weak one shows beside a strong one;
    a millionth of the longest is rounding.
    """
    found = fingerprint(a, b)
    if len(found) != len(expected):
        return False
    allowed: list[float] = []
    for lengths in (a.detach().double().norm(dim=1), b.detach().double().norm(dim=0)):  # (r,) each
        allowed += (TOLERANCE * lengths + 1e-6 * lengths.max()).tolist()
    return all(abs(f - e) <= most for f, e, most in zip(found, expected, allowed, strict=True))


def _probe(n: int) -> Tensor:
    """A fixed vector (n,) in fp64 with no pattern that a weight could share: the fractions of multiples of sqrt(2)."""
    return (torch.arange(1, n + 1, dtype=torch.float64) * 2**0.5).frac() - 0.5
