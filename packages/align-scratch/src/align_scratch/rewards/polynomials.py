"""Exact quotients of polynomials over the fractions, square roots of whole numbers and the imaginary unit.

A polynomial is a mapping of basis elements to fractions. A basis element is a product of powers of symbols, times the
root of a whole number without square factors, times perhaps i. These are linearly independent, so two polynomials are
equal if and only if their mappings are, and two quotients if and only if they are after multiplying crosswise: no
factor is ever looked for. Symbols stand for nothing: pi is a symbol as x is. Everything that could grow has a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, isqrt

from align_scratch.rewards.arithmetic import LARGEST_EXPONENT, TooLarge, Undefined, Unreadable, bounded, power

Basis = tuple[tuple[tuple[str, int], ...], int, bool]
"""Powers of symbols, by name; the number under the root; whether i is a factor."""
Polynomial = Mapping[Basis, Fraction]

MOST_TERMS = 64
MOST_PRODUCTS = 512
"""Of terms with terms, in one multiplication."""
LARGEST_RADICAND = 10**8

ONE: Basis = ((), 1, False)


@dataclass(frozen=True, slots=True)
class Quotient:
    """`top` / `bottom`, which is not zero."""

    top: Polynomial
    bottom: Polynomial

    def __add__(self, other: Quotient) -> Quotient:
        if self.bottom == other.bottom:
            return Quotient(_sum(self.top, other.top), self.bottom)
        top = _sum(_product(self.top, other.bottom), _product(other.top, self.bottom))
        return Quotient(top, _product(self.bottom, other.bottom))

    def __neg__(self) -> Quotient:
        return Quotient({basis: -value for basis, value in self.top.items()}, self.bottom)

    def __sub__(self, other: Quotient) -> Quotient:
        return self + -other

    def __mul__(self, other: Quotient) -> Quotient:
        return Quotient(_product(self.top, other.top), _product(self.bottom, other.bottom))

    def __truediv__(self, other: Quotient) -> Quotient:
        if not other.top:
            raise Undefined("division by zero")
        return Quotient(_product(self.top, other.bottom), _product(self.bottom, other.top))

    def to_the(self, exponent: Quotient) -> Quotient:
        """Whole exponents, and 1/2 of a number. Raises Unreadable for others, whose powers have no such form."""
        number = exponent.number
        if number == Fraction(1, 2):
            return self.root()
        if number is None or number.denominator != 1:
            raise Unreadable("a power with an exponent that is no whole number")
        if (base := self.number) is not None:
            return constant(power(base, number))
        if abs(number) > LARGEST_EXPONENT:
            raise TooLarge(f"an exponent is larger than {LARGEST_EXPONENT}")
        found = constant(Fraction(1))
        for _ in range(abs(int(number))):
            found = found * self
        return found if number >= 0 else constant(Fraction(1)) / found

    def root(self) -> Quotient:
        """The square root of a number."""
        number = self.number
        if number is None:
            raise Unreadable("a root of what is no number")
        whole = abs(number.numerator) * number.denominator
        if whole > LARGEST_RADICAND and isqrt(whole) ** 2 != whole:
            raise TooLarge(f"a number under a root is larger than {LARGEST_RADICAND}")
        outside, inside = _without_squares(whole)
        value = Fraction(outside, number.denominator)
        return Quotient({((), inside, number < 0): value} if value else {}, {ONE: Fraction(1)})

    @property
    def number(self) -> Fraction | None:
        """Its value, if it is a fraction as it stands."""
        if set(self.top) <= {ONE} and set(self.bottom) == {ONE}:
            return self.top.get(ONE, Fraction(0)) / self.bottom[ONE]
        return None

    def equals(self, other: Quotient) -> bool:
        return _product(self.top, other.bottom) == _product(other.top, self.bottom)

    def is_multiple_of(self, other: Quotient) -> bool:
        """Whether the two are zero together: by a fraction, not 0, as factor."""
        left, right = _product(self.top, other.bottom), _product(other.top, self.bottom)
        if left.keys() != right.keys():
            return False
        return len({left[basis] / right[basis] for basis in left}) <= 1


def constant(value: Fraction) -> Quotient:
    return Quotient({ONE: value} if value else {}, {ONE: Fraction(1)})


def symbol(name: str) -> Quotient:
    """The imaginary unit if the name is `i`."""
    basis: Basis = ((), 1, True) if name == "i" else (((name, 1),), 1, False)
    return Quotient({basis: Fraction(1)}, {ONE: Fraction(1)})


def _sum(left: Polynomial, right: Polynomial) -> Polynomial:
    found = dict(left)
    for basis, value in right.items():
        found[basis] = bounded(found.get(basis, Fraction(0)) + value)
    return _within_limits(found)


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    if len(left) * len(right) > MOST_PRODUCTS:
        raise TooLarge(f"more than {MOST_PRODUCTS} products of terms")
    found: dict[Basis, Fraction] = {}
    for (powers, root, imaginary), value in left.items():
        for (other_powers, other_root, other_imaginary), other_value in right.items():
            shared = gcd(root, other_root)  # sqrt(a) sqrt(b) = gcd(a, b) sqrt(a b / gcd(a, b)^2)
            factor = -shared if imaginary and other_imaginary else shared
            basis = _together(powers, other_powers), root * other_root // shared**2, imaginary != other_imaginary
            found[basis] = bounded(found.get(basis, Fraction(0)) + value * other_value * factor)
    return _within_limits(found)


def _together(left: tuple[tuple[str, int], ...], right: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    if not left or not right:
        return left or right
    powers = dict(left)
    for name, exponent in right:
        powers[name] = powers.get(name, 0) + exponent
    return tuple(sorted(powers.items()))


def _within_limits(terms: Mapping[Basis, Fraction]) -> Polynomial:
    kept = {basis: value for basis, value in terms.items() if value}
    if len(kept) > MOST_TERMS:
        raise TooLarge(f"more than {MOST_TERMS} terms")
    if any(basis[1] > LARGEST_RADICAND for basis in kept):
        raise TooLarge(f"a number under a root is larger than {LARGEST_RADICAND}")
    return kept


def _without_squares(number: int) -> tuple[int, int]:
    """(a, b) with a^2 b = number and no square in b."""
    exact = isqrt(number)
    if exact**2 == number:
        return exact, 1
    outside, inside, divisor = 1, number, 2
    while divisor**2 <= inside:
        while inside % divisor**2 == 0:
            inside //= divisor**2
            outside *= divisor
        divisor += 1
    return outside, inside
