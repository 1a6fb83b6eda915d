"""Are two written answers the same? Exactly, over fractions, without running anything or asking an algebra system.

Read as numbers are whole numbers, decimals, thousands commas, powers of ten, percent, fractions, mixed numbers,
`\\frac`, products and powers, signs, currency and trailing units (which are dropped: 5 cm is 5). What is none, such as
`x + 1`, `2\\sqrt{3}`, `[0, 1)`, a word or an equation, is read by `expressions.py`, where being equal can be decided
too. Everything else is equal only to the same text.
"""

from __future__ import annotations

import re
from enum import Enum
from fractions import Fraction

from align_scratch.rewards.arithmetic import LONGEST, TooLarge, Undefined, Unreadable, evaluate, power
from align_scratch.rewards.expressions import (
    NEW_ROW,
    Answer,
    Several,
    letters_as_product,
    may_be_same_equation,
    read_answer,
    same,
)
from align_scratch.rewards.polynomials import constant


class Verdict(Enum):
    EQUAL = "equal"
    NOT_EQUAL = "not equal"
    UNPARSEABLE = "unparseable"


_REPLACED = {
    "\\!": "", "\\,": "", "{,}": ",", "\\;": " ", "\\:": " ", "\\ ": " ", "~": " ", "\\quad": " ", "\\qquad": " ",
    "\\left": "", "\\right": "", "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac",
    "\\cdot": "*", "\\times": "*", "\\div": "/", "\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-",
    "\\%": "%", "\\$": " ", "$": " ", "\u20ac": " ", "\u00a3": " ", "\u00a5": " ",
    "^{\\circ}": " deg", "^\\circ": " deg", "\u00b0": " deg", "\\[": " ", "\\]": " ", "\\(": " ", "\\)": " ",
}  # fmt: skip
_REPLACE = re.compile(
    "|".join(re.escape(old) + "(?![A-Za-z])" * old[-1].isalpha() for old in sorted(_REPLACED, key=len, reverse=True))
)  # \\cdots is no \\cdot
_WORDS = re.compile(r"\\(?:text|mathrm|textbf|mbox|textrm|mathbf)\{([^{}]*)\}")
_BOXED = re.compile(r"\\(?:boxed|fbox)(?=\{)")
_NAMED = re.compile(r"\A([\s({]*)[A-Za-z]\w{0,20}\s*=(?!=)")  # at the start only: 2x = 10 is no 2 10
_NAME = re.compile(r"(\A|,)([\s({]*)([A-Za-z]\w{0,20})\s*=(?!=)")  # also behind commas: x = 1, x = 2
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_PAIR_OR_THOUSANDS = re.compile(r"\A\(\s*[-+]?[0-9]{1,3}(?:,[0-9]{3})+\s*\)\Z")
_SHORT_FRAC = re.compile(r"\\frac\s*([0-9])")
_UNIT = re.compile(
    r"(?<=[0-9)}%.])(?:\s+([A-Za-z]+(?:[\s/*.-]+[A-Za-z]+)*)|(cm|mm|km|kg|mg|ml|ft|in|lbs?|oz|mph|hrs?|min|sec|am|pm))"
    r"(?:\s*\^\{?[0-9]\}?|[0-9\u00b2\u00b3])?\s*$"
)
_NO_UNITS = frozenset(
    {"pi", "tau", "e", "i", "inf", "infinity", "nan", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "mod", "or"}
    | {"and", "to", "plus", "minus", "times", "over", "half", "third", "quarter", "dozen", "hundred", "thousand"}
    | {"million", "billion", "trillion", "halve", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"}
    | {"hundredth", "thousandth", "millionth", "squared", "cubed", "factorial", "choose", "not"}
)
"""Words, also with an s behind them, that make another number of the one before them."""
_SPACE = re.compile(r"(?<![0-9.]) | (?![0-9.])")
_SHORT_UNITS = frozenset("mgshlL")
_TOKEN = re.compile(
    r"\s*(?:([0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]+))?"
    r"|(\*\*|[-+*/^(){}]|\\frac))"
)


def compare(gold: str, got: str, *, loose_percent: bool = False) -> Verdict:
    """Whether `got`, untrusted text of any length, is the answer `gold`.

    What is beyond the limits of `arithmetic.py`, or divides by zero, is not equal. UNPARSEABLE: the texts differ and
    one of them cannot be read, or it cannot be decided what they are worth. loose_percent: 50% is also 50, where only
    one side has the sign.
    """
    gold, got = gold.strip(), got.strip()
    if len(got) > LONGEST:
        return Verdict.NOT_EQUAL
    if _plain(gold) == _plain(got):
        return Verdict.EQUAL if gold else Verdict.UNPARSEABLE
    try:
        want, want_percent = read(gold)
        value, percent = read(got)
    except Unreadable:
        return _compare_expressions(gold, got)
    except (TooLarge, Undefined):
        return Verdict.NOT_EQUAL if readable(gold) else Verdict.UNPARSEABLE
    equal = value == want
    if equal and {len(name) for name in _names(gold) ^ _names(got)} == {1} and _names(gold) and _names(got):
        return Verdict.UNPARSEABLE  # x = 5 and y = 5 are two lines, or one number
    if loose_percent and percent != want_percent:
        equal = equal or (100 * value == want if percent else value == 100 * want)
    return Verdict.EQUAL if equal else Verdict.NOT_EQUAL


def readable(answer: str) -> bool:
    """Whether it can be decided of other answers whether they are this one."""
    try:
        _answer(answer)
    except ValueError:
        return False
    return True


def _compare_expressions(gold: str, got: str) -> Verdict:
    verdict = _compare_read(gold, got)
    if verdict is not Verdict.NOT_EQUAL or not (_THOUSANDS.search(gold) or _THOUSANDS.search(got)):
        return verdict
    # 1,000, 2,000 are two numbers or four, and (1,234) is a pair or a number.
    as_numbers = compare(_THOUSANDS.sub("", gold), _THOUSANDS.sub("", got))
    return Verdict.UNPARSEABLE if as_numbers is Verdict.EQUAL else verdict


def _compare_read(gold: str, got: str) -> Verdict:
    try:
        want = _answer(gold)
    except ValueError:
        return Verdict.UNPARSEABLE
    try:
        value = _answer(got)
        if isinstance(want, str) or isinstance(value, str):
            return _compare_words(want, value, gold, got)
        if same(want, value):
            return Verdict.EQUAL
        if _is_equation(want) and _is_equation(value):
            return Verdict.UNPARSEABLE if may_be_same_equation(want, value) else Verdict.NOT_EQUAL
        if not _has_equation(want) and not _has_equation(value):
            return Verdict.NOT_EQUAL
        # y = 2x + 3 and 2x + 3 are one answer, and so are x = 1, x = 2 and 1, 2; 2x = 6 and 3 are perhaps
        shorter, other = _answer(_unnamed(gold)), _answer(_unnamed(got))
        if _has_equation(shorter) != _has_equation(other):
            return Verdict.UNPARSEABLE
        if not same(shorter, other):  # xy = 1 may be called xy, or be y = 1/x
            products = any(letters_as_product(name) is not None for name in _names(gold) | _names(got))
            return Verdict.UNPARSEABLE if products else Verdict.NOT_EQUAL
        return Verdict.UNPARSEABLE if _names(gold) and _names(got) and _names(gold) != _names(got) else Verdict.EQUAL
    except Unreadable:
        return Verdict.UNPARSEABLE
    except (TooLarge, Undefined):
        return Verdict.NOT_EQUAL


def _compare_words(want: Answer, value: Answer, gold: str, got: str) -> Verdict:
    """Two or three letters are a word, or a product of symbols: xy is yx, but AB is not ab."""
    left = letters_as_product(_clean(gold)) if isinstance(want, str) else want
    right = letters_as_product(_clean(got)) if isinstance(value, str) else value
    same_product = left is not None and right is not None and same(left, right)
    if isinstance(want, str) and isinstance(value, str):
        if want != value:
            return Verdict.UNPARSEABLE if same_product else Verdict.NOT_EQUAL
        capitals = left is not None and right is not None and _clean(gold)[1:] != _clean(got)[1:]
        return Verdict.UNPARSEABLE if capitals else Verdict.EQUAL
    if same_product:
        return Verdict.EQUAL
    return Verdict.UNPARSEABLE if isinstance(value, str) else Verdict.NOT_EQUAL  # "five", or a sentence


def _names(text: str) -> set[str]:
    return {found[3] for found in _NAME.finditer(text)}


def _unnamed(text: str) -> str:
    """Without the one name that everything in it is called."""
    return _NAME.sub(r"\1\2", text) if len(_names(text)) == 1 else text


def _answer(text: str) -> Answer:
    """What an answer of any kind says. Raises Unreadable, Undefined or TooLarge."""
    try:
        return constant(read(text)[0])
    except Unreadable:
        cleaned = _clean(text.replace("\\\\", NEW_ROW))
        return read_answer(_SHORT_FRAC.sub(r"\\frac{\1}", cleaned))


def _is_equation(answer: Answer) -> bool:
    return isinstance(answer, Several) and answer.kind == "equation"


def _has_equation(answer: Answer) -> bool:
    return isinstance(answer, Several) and (answer.kind == "equation" or any(map(_has_equation, answer.items)))


def read(text: str) -> tuple[Fraction, bool]:
    """The exact value of a written number, and whether it has a percent sign (50% is 1/2).

    Raises Unreadable, Undefined or TooLarge, which are ValueErrors.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise TooLarge(f"{len(text)} characters are more than {LONGEST}")
    text = _NAMED.sub(r"\1", _clean(text)).strip()
    if _PAIR_OR_THOUSANDS.match(text):
        raise Unreadable(f"got {text!r}, which may be a pair")
    text, percent = _without_unit(text)
    value = evaluate(_tokens(_SHORT_FRAC.sub(r"\\frac{\1}", text)))
    return (value / 100 if percent else value), percent


def _clean(text: str) -> str:
    text = _WORDS.sub(r" \1 ", _BOXED.sub("", _REPLACE.sub(lambda old: _REPLACED[old.group()], text)))
    return text.strip().removesuffix(".").strip()


def _plain(text: str) -> str:
    """Two texts that differ only in typesetting and in spaces, but for those between digits (1 1/2 is not 11/2), are
    the same answer, whatever it means."""
    return _SPACE.sub("", " ".join(_clean(text).split())) if len(text) <= 2 * LONGEST else text


def _without_unit(text: str) -> tuple[str, bool]:
    unit = _UNIT.search(text)
    percent = False
    if unit is not None:
        words = re.findall("[A-Za-z]+", unit[1] or "")
        if any(_changes_value(word) for word in words):
            raise Unreadable(f"got {unit[1]!r}, which may be more than a unit")
        percent = words[:1] == ["percent"]
        text = text[: unit.start()].strip()
    if text.endswith("%"):
        return text[:-1].strip(), True
    return text, percent


def _changes_value(word: str) -> bool:
    lower = word.lower()
    short = len(word) == 1 and word not in _SHORT_UNITS
    return short or lower in _NO_UNITS or lower.removesuffix("s") in _NO_UNITS


def _tokens(text: str) -> list[Fraction | str]:
    tokens: list[Fraction | str] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Unreadable(f"character {at + 1}: got {text[at : at + 20]!r}, expected a number or an operator")
        number, exponent, operator = found.groups()
        if number is None:
            tokens.append({"**": "^", "{": "(", "}": ")", "\\frac": "frac"}.get(operator, operator))
        else:
            value = Fraction(number.replace(",", "").rstrip("."))
            tokens.append(value if exponent is None else value * power(Fraction(10), _small(exponent)))
        at = found.end()
    return tokens


def _small(exponent: str) -> Fraction:
    if len(exponent.lstrip("+-0")) > 3:
        raise TooLarge("an exponent is beyond all limits")
    return Fraction(int(exponent))
