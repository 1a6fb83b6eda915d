"""Exact arithmetic on untrusted expressions: an own parser over fractions, with limits on everything that could grow.

Nothing is handed to Python's `eval` or to a computer algebra system: those run what a model wrote.

    sum     = product (("+" | "-") product)*
    product = signed (("*" | "/") signed)*
    signed  = ("-" | "+") signed | power
    power   = value ("^" signed)?                   right to left; -2^2 is -4
    value   = NUMBER | MIXED | "(" sum ")" | "frac" part part
    MIXED   = INTEGER INTEGER "/" INTEGER | INTEGER "frac" part part        1 1/2 is 3/2
    part    = "(" sum ")" | one digit
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

LONGEST = 256
"""Characters of an expression."""
DEEPEST = 32
"""Brackets and signs within each other."""
LARGEST_EXPONENT = 64
MOST_DIGITS = 1000
"""Of the numerator and of the denominator of every number on the way."""

_MOST_BITS = int(MOST_DIGITS * 3.3219281)

Token = Fraction | str
"""A number, or one of + - * / ^ ( ) frac."""


class Unreadable(ValueError):
    """Not an expression of this grammar."""


class Undefined(ValueError):
    """An expression without a value: something is divided by zero."""


class TooLarge(ValueError):
    """Beyond the limits above; whatever it is worth, it is not looked into."""


def evaluate(tokens: Sequence[Token], places: Sequence[int] | None = None) -> Fraction:
    """The exact value of an expression. Raises Unreadable, Undefined or TooLarge, naming the symbol.

    places: where each token and the end stand, for messages; counted from 1 if None.
    """
    if len(tokens) > LONGEST:
        raise TooLarge(f"{len(tokens)} symbols are more than {LONGEST}")
    reader = _Reader(tokens, places or range(1, len(tokens) + 2))
    value = reader.sum(0)
    if reader.at < len(tokens):
        raise Unreadable(f"{reader.place()}: got {reader.shown()}, expected an operator or the end")
    return value


def bounded(value: Fraction) -> Fraction:
    """`value`, if it is within the limits."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise TooLarge(f"a number has more than {MOST_DIGITS} digits")
    return value


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """Whole exponents up to 64 on either side of 0, and only if the result has at most 1,000 digits."""
    if exponent.denominator != 1:
        raise Unreadable("the exponent is no whole number, so the value may be no fraction")
    n = abs(exponent.numerator)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if n > LARGEST_EXPONENT or (bits - 1) * n > _MOST_BITS:
        raise TooLarge(f"a power is larger than {MOST_DIGITS} digits or its exponent than {LARGEST_EXPONENT}")
    if base == 0 and exponent < 0:
        raise Undefined("division by zero")
    return bounded(base ** int(exponent))


class _Reader:
    """Recursive descent; `depth` bounds the recursion long before Python does."""

    def __init__(self, tokens: Sequence[Token], places: Sequence[int]) -> None:
        self.tokens, self.places, self.at = tokens, places, 0

    def next(self, ahead: int = 0) -> Token | None:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else None

    def place(self) -> str:
        return f"symbol {self.places[self.at]}"

    def shown(self) -> str:
        token = self.next()
        return "the end" if token is None else repr(str(token)[:40])

    def sum(self, depth: int) -> Fraction:
        if depth > DEEPEST:
            raise TooLarge(f"more than {DEEPEST} brackets within each other")
        value = self.product(depth)
        while (operator := self.next()) in ("+", "-"):
            self.at += 1
            right = self.product(depth)
            value = bounded(value + right if operator == "+" else value - right)
        return value

    def product(self, depth: int) -> Fraction:
        value = self.signed(depth)
        while (operator := self.next()) in ("*", "/"):
            self.at += 1
            right = self.signed(depth)
            if operator == "/" and right == 0:
                raise Undefined("division by zero")
            value = bounded(value * right if operator == "*" else value / right)
        return value

    def signed(self, depth: int) -> Fraction:
        if self.next() in ("-", "+"):
            if depth > DEEPEST:
                raise TooLarge(f"more than {DEEPEST} signs in a row")
            minus = self.next() == "-"
            self.at += 1
            value = self.signed(depth + 1)
            return -value if minus else value
        return self.power(depth)

    def power(self, depth: int) -> Fraction:
        base = self.value(depth)
        if self.next() == "^":
            self.at += 1
            return power(base, self.signed(depth + 1))
        return base

    def value(self, depth: int) -> Fraction:
        token = self.next()
        if isinstance(token, Fraction):
            self.at += 1
            return bounded(token) + self.fraction_behind(token, depth)
        if token == "frac":
            return self.frac(depth)
        if token == "(":
            return self.bracketed(depth)
        raise Unreadable(f"{self.place()}: got {self.shown()}, expected a number or '('")

    def fraction_behind(self, whole: Fraction, depth: int) -> Fraction:
        """The fractional part of a mixed number, or 0."""
        if self.next() == "frac":
            part = self.frac(depth)
        elif isinstance(top := self.next(), Fraction):
            bottom = self.next(2)
            if self.next(1) != "/" or not isinstance(bottom, Fraction) or {top.denominator, bottom.denominator} != {1}:
                raise Unreadable(f"{self.place()}: got {self.shown()} right behind a number, expected an operator")
            if bottom == 0:
                raise Undefined("division by zero")
            self.at += 3
            part = top / bottom
        else:
            return Fraction(0)
        if whole.denominator != 1 or not 0 <= part < 1:
            raise Unreadable(f"{self.place()}: a mixed number is a whole number and a fraction below 1")
        return part

    def frac(self, depth: int) -> Fraction:
        self.at += 1
        top, bottom = self.part(depth), self.part(depth)
        if bottom == 0:
            raise Undefined("division by zero")
        return bounded(top / bottom)

    def part(self, depth: int) -> Fraction:
        token = self.next()
        if isinstance(token, Fraction) and token in range(10):
            self.at += 1
            return token
        if token == "(":
            return self.bracketed(depth)
        raise Unreadable(f"{self.place()}: got {self.shown()}, expected the top or bottom of a fraction")

    def bracketed(self, depth: int) -> Fraction:
        self.at += 1
        value = self.sum(depth + 1)
        if self.next() != ")":
            raise Unreadable(f"{self.place()}: got {self.shown()}, expected ')'")
        self.at += 1
        return value
