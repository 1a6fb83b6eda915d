"""Reading answers that are no numbers: expressions in symbols, tuples and intervals, sets, lists, matrices, equations.

What is read has a form in which being equal can be decided, exactly and without a computer algebra system; what is not
(`\\sin x`, `2^x`, `x \\ge 2`) is Unreadable. Where mathematicians differ (`1/2x`), nothing is guessed.

    sum     = product (("+" | "-") product)*
    product = signed (("*" | "/") signed | power)*       two powers side by side are multiplied, but not behind "/"
    signed  = ("-" | "+") signed | power
    power   = value ("^" signed)?
    value   = NUMBER | SYMBOL | "(" sum ")" | "frac" part part | "sqrt" part
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from align_scratch.rewards.arithmetic import DEEPEST, LONGEST, TooLarge, Unreadable
from align_scratch.rewards.polynomials import Quotient, constant, symbol

NEW_ROW = "\1"
"""What stands for the end of a matrix's row, which is written like an escaped space."""
MOST_ITEMS = 16
"""Of a list, a tuple or a matrix."""

_TOKEN = re.compile(r"\s*(?:([0-9]+(?:\.[0-9]+)?|\.[0-9]+)|(\\?[A-Za-z]+)|(\*\*|[-+*/^(){}]))")
_GREEK = frozenset({
    "pi", "alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "nu", "rho", "sigma", "tau", "phi",
    "omega", "infty", "Delta", "Omega",
})  # fmt: skip
_NO_PRODUCTS = frozenset({
    "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "lg", "exp", "mod", "max", "min", "gcd", "lcm", "det",
    "arg", "deg", "lim", "sup", "inf", "nan", "and", "or", "not", "no", "yes", "is", "to", "of", "by", "if", "in",
    "so", "as", "the", "cm", "mm", "km", "kg", "mg", "ml", "ft", "lb", "lbs", "oz", "mph", "hr", "hrs", "am", "pm",
})  # fmt: skip
_FUNCTIONS = frozenset({"symbol f", "symbol g", "symbol h"})
_WORD = re.compile(r"[A-Za-z][A-Za-z' -]*[A-Za-z]\Z")
_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix)\}(.*)\\end\{\1\}\Z", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Several:
    """Answers together: `kind` is "set" for those without an order, else the brackets they stand in, or "equation",
    whose one item is what is zero."""

    kind: str
    items: tuple[Answer, ...]


Answer = Quotient | Several | str
"""A text is a word."""


def read_answer(text: str) -> Answer:
    """What a cleaned text says. Raises Unreadable, Undefined or TooLarge, which are ValueErrors."""
    text = text.strip()
    if len(text) > LONGEST:
        raise TooLarge(f"{len(text)} characters are more than {LONGEST}")
    if _WORD.match(text) and text.lower() not in ("pi", "infty"):
        return " ".join(text.lower().split())
    return _read(text, 0)


def same(left: Answer, right: Answer) -> bool:
    """Whether two answers are equal."""
    if isinstance(left, Quotient) and isinstance(right, Quotient):
        return left.equals(right)
    if not isinstance(left, Several) or not isinstance(right, Several):
        return isinstance(left, str) and left == right
    if left.kind != right.kind or len(left.items) != len(right.items):
        return False
    if left.kind == "equation":
        one, other = left.items[0], right.items[0]
        return isinstance(one, Quotient) and isinstance(other, Quotient) and one.is_multiple_of(other)
    if left.kind != "set":
        return all(map(same, left.items, right.items))
    rest = list(right.items)
    for item in left.items:  # being equal is transitive, so the first match is as good as any
        place = next((at for at, candidate in enumerate(rest) if same(item, candidate)), None)
        if place is None:
            return False
        del rest[place]
    return True


def may_be_same_equation(left: Answer, right: Answer) -> bool:
    """Whether two equations differ at most in what they were multiplied by: y = 1/x and xy = 1 do."""
    if not isinstance(left, Several) or not isinstance(right, Several):
        return False
    one, other = left.items[0], right.items[0]
    if not isinstance(one, Quotient) or not isinstance(other, Quotient):
        return False
    whole = constant(Fraction(1)).bottom
    return Quotient(one.top, whole).is_multiple_of(Quotient(other.top, whole))


def letters_as_product(text: str) -> Quotient | None:
    """What two or three letters are worth as a product of symbols; None if they are a word, or more."""
    if not re.fullmatch("[A-Za-z]{2,3}", text):
        return None
    try:
        return _expression(text)
    except Unreadable:
        return None


def _read(text: str, depth: int) -> Answer:
    text = text.strip()
    if depth > 3:
        raise TooLarge("brackets of tuples within each other")
    if (matrix := _MATRIX.match(text)) is not None:
        rows = [row.split("&") for row in matrix[2].split(NEW_ROW)]
        cells = [cell for row in rows for cell in row]
        made = [Several("row", tuple(_read(cell, depth + 1) for cell in row[:MOST_ITEMS])) for row in rows[:MOST_ITEMS]]
        kind = "determinant" if matrix[1][0] == "v" else "norm" if matrix[1][0] == "V" else "matrix"
        return _few(Several(kind, tuple(made)), cells)
    if text.count("\\pm") == 1 and "," not in text:
        return Several("set", tuple(_read(text.replace("\\pm", sign), depth + 1) for sign in ("+", "-")))
    if text.startswith("\\{") and text.endswith("\\}"):
        return _list(text[2:-2], depth)
    parts = _split(text, ",")
    if len(parts) > 1:
        return _list(text, depth)
    if "\\cup" in text and len(parts := _split(text.replace("\\cup", "\0"), "\0")) > 1:
        return _few(Several("set", tuple(_read(part, depth + 1) for part in parts[:MOST_ITEMS])), parts)
    if len(inside := _bracketed(text)) > 1:
        items = tuple(_read(item, depth + 1) for item in inside[:MOST_ITEMS])
        return _few(Several(text[0] + text[-1], items), inside)
    sides = text.split("=")
    if len(sides) == 2:
        return Several("equation", (_expression(sides[0]) - _expression(sides[1]),))
    return _expression(text)


def _list(text: str, depth: int) -> Several:
    parts = _split(text, ",")
    return _few(Several("set", tuple(_read(part, depth + 1) for part in parts[:MOST_ITEMS])), parts)


def _few(several: Several, parts: Sequence[str]) -> Several:
    if len(parts) > MOST_ITEMS:
        raise TooLarge(f"more than {MOST_ITEMS} answers")
    return several


def _bracketed(text: str) -> list[str]:
    """What stands between the commas of a text in brackets of its own, which (1 + x)(1 - x) is not."""
    if not text or text[0] not in "([" or text[-1] not in ")]":
        return []
    try:
        return _split(text[1:-1], ",")
    except Unreadable:
        return []


def _split(text: str, mark: str) -> list[str]:
    """The parts between the marks that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            raise Unreadable("a bracket is closed that was not opened")
        if character == mark and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _expression(text: str) -> Quotient:
    tokens: list[Fraction | str] = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Unreadable(f"character {at + 1}: got {text[at : at + 20]!r}")
        number, letters, operator = found.groups()
        if number is not None:
            tokens.append(Fraction(number))
        elif letters is not None:
            tokens += _symbols(letters)
        else:
            tokens.append({"**": "^", "{": "(", "}": ")"}.get(operator, operator))
        at = found.end()
    reader = _Reader(tokens)
    value = reader.sum(0)
    if reader.at < len(tokens):
        raise Unreadable(f"got {str(tokens[reader.at])[:20]!r}, expected an operator or the end")
    return value


def _symbols(letters: str) -> list[str]:
    """`\\pi` is one symbol, and so is a letter; two or three letters are a product, if they are no word."""
    name = letters.lstrip("\\")
    if name in ("frac", "sqrt"):
        return [name]
    if name in _GREEK:
        return ["symbol " + name]
    if letters.startswith("\\") or len(name) > 3 or name.lower() in _NO_PRODUCTS:
        raise Unreadable(f"got {letters[:20]!r}")
    return ["symbol " + letter for letter in name]


class _Reader:
    """Recursive descent; `depth` bounds the recursion."""

    def __init__(self, tokens: Sequence[Fraction | str]) -> None:
        self.tokens, self.at = tokens, 0

    def next(self) -> Fraction | str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def sum(self, depth: int) -> Quotient:
        if depth > DEEPEST:
            raise TooLarge(f"more than {DEEPEST} brackets within each other")
        value = self.product(depth)
        while (operator := self.next()) in ("+", "-"):
            self.at += 1
            right = self.product(depth)
            value = value + right if operator == "+" else value - right
        return value

    def product(self, depth: int) -> Quotient:
        value = self.signed(depth)
        divided = False
        while (token := self.next()) is not None:
            if token in ("*", "/"):
                self.at += 1
                right = self.signed(depth)
                value = value * right if token == "*" else value / right
                divided = divided or token == "/"
            elif isinstance(token, str) and token.startswith(("symbol", "(", "frac", "sqrt")):
                if token == "(" and self.tokens[self.at - 1] in _FUNCTIONS:
                    raise Unreadable("whether a function is applied or multiplied is not clear")
                mixed = token == "frac" and isinstance(self.tokens[self.at - 1], Fraction)
                right = self.power(depth)
                if divided or (mixed and right.number is not None):
                    raise Unreadable("what is divided, or whether something is added, is not clear")
                value = value * right
            else:
                break
        return value

    def signed(self, depth: int) -> Quotient:
        if (sign := self.next()) in ("-", "+"):
            if depth > DEEPEST:
                raise TooLarge(f"more than {DEEPEST} signs in a row")
            self.at += 1
            value = self.signed(depth + 1)
            return -value if sign == "-" else value
        return self.power(depth)

    def power(self, depth: int) -> Quotient:
        base = self.value(depth)
        if self.next() == "^":
            self.at += 1
            return base.to_the(self.signed(depth + 1))
        return base

    def value(self, depth: int) -> Quotient:
        token = self.next()
        self.at += 1
        if isinstance(token, Fraction):
            return constant(token)
        if token == "(":
            value = self.sum(depth + 1)
            if self.next() != ")":
                raise Unreadable("a bracket is not closed")
            self.at += 1
            return value
        if token == "frac":
            top = self.part(depth)
            return top / self.part(depth)
        if token == "sqrt":
            return self.part(depth).root()
        if token is not None and token.startswith("symbol "):
            return symbol(token.removeprefix("symbol "))
        raise Unreadable("a number, a symbol or a bracket was expected")

    def part(self, depth: int) -> Quotient:
        token = self.next()
        if token == "(" or (isinstance(token, str) and token.startswith("symbol ")):
            return self.value(depth)
        if isinstance(token, Fraction) and (token in range(10) or self.tokens[self.at - 1] == "sqrt"):
            return self.value(depth)
        raise Unreadable("a bracket was expected")
